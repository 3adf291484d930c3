"""Files that a domain parses as a whole (`Pipeline.files`), message by message; as a program, the process that does it.

The offset after a message is its number, after the last one the file's size: where a message begins is known from the
place alone, and a file that is there whole is read from any of its messages on. A parser gives the same messages each
time.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from opintel.streams.connectors.child import ChildOutput, pieces, said, serve


class FileRefused(ValueError):
    """Nothing in a file can be read; the message names it."""


Parser = Callable[[BinaryIO, Any], Iterable[bytes | str]]
"""A complete file, and the plain data that its domain's wire has as `parsing` → its messages in order of
time, as that wire takes them; a text says why a part of the file is not read. Whatever it raises: the rest is not."""


def parsed(parser: str, parsing: Any, file: BinaryIO, offset: int, end: int) -> Iterator[tuple[bytes, int, bool]]:
    """(body, offset after it, whether it says what is damaged instead) of each message between two offsets.

    `parser`: `module:function`, a `Parser`, imported only in the process that runs it.
    """
    return pieces(f"{__package__}.parsed", "such", file, offset, end, [parser, json.dumps(parsing)])


def parsed_file(parser: str, parsing: Any, path: Path) -> Iterator[tuple[bytes, bool]]:
    """(body, whether it says what is damaged instead) of each message of a whole file, for those who look at files by
    hand. Raises FileRefused, with one line."""
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise FileRefused(f"{path}: expected a file")
            if not about.st_size:
                raise FileRefused(f"{path}: the file is empty")
            for body, _, damaged in parsed(parser, parsing, file, 0, about.st_size):
                yield body, damaged
    except OSError as error:
        raise FileRefused(f"{path}: {error.strerror or error}") from error


def read(file: BinaryIO, size: int, sink: ChildOutput) -> None:
    """Writes the messages between the offsets of `sink`; the last message waits until it is known to be the last."""
    module, function = sys.argv[6].split(":")
    parse: Parser = getattr(import_module(module), function)
    parsing = json.loads(sys.argv[7])
    if not _written(_told(parse, file, parsing), size, sink):
        sink.offset = 0  # it is in place of another file, or has grown
        _written(_told(parse, file, parsing), size, sink)


def _told(parse: Parser, file: BinaryIO, parsing: Any) -> Iterator[bytes | str]:
    """Its messages; the last says what it raised."""
    try:
        yield from parse(file, parsing)
    except Exception as problem:  # whatever a file makes its parser raise
        yield said(problem)


def _written(messages: Iterator[bytes | str], size: int, sink: ChildOutput) -> bool:
    """Whether the offset was the place of a message."""
    number, before = 0, next(messages, None)
    while before is not None:
        following = next(messages, None)
        number += 1
        if following is None and sink.offset >= number:
            return False
        after = size if following is None else number
        if after > sink.end:
            return True
        if number >= size and following is not None:
            sink.refuse(f"expected at most a message for each of its {size} bytes", size)
            return True
        if after > sink.offset:
            body, damaged = (before.encode(), True) if isinstance(before, str) else (before, False)
            sink.write(body, after, damaged)
        before = following
    if not number:
        sink.refuse("no message in it", size)
    return True


if __name__ == "__main__":
    serve(read, "file", ChildOutput)
