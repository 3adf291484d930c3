"""Parsers of whole files for tests: a toy format of `TOY`, then a message a line; `?` says that a part is not read, `!`
is where the parser breaks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import BinaryIO


def lines(file: BinaryIO, parsing: object) -> Iterator[bytes | str]:
    file.seek(0)
    heading, *rest = file.read().decode().split("\n")
    if heading != "TOY":
        raise ValueError("expected TOY")
    for line in rest:
        if line == "nothing":
            return
        if line == "!":
            raise RuntimeError("broken here")
        if line == "memory":
            bytearray(4 << 30)
        if line == "parsing":
            line = json.dumps(parsing)
        yield line.removeprefix("?") if line.startswith("?") else line.encode()
