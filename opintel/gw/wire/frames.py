"""Whole frames (GWF) that came as messages: another process makes Arrow messages of them."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from typing import Any

from opintel.streams.connectors.child import FRUGAL, MAX_MEMORY

BEGIN = b"IGWD"
MAX_BYTES = 64 << 20
"""Of a frame."""
MAX_ANSWER = 512 << 20
"""Bytes of the messages that a frame becomes."""
SECONDS = 60
"""Of CPU time, for a frame."""
LENGTH = struct.Struct("<Q")
"""What stands before a frame on its way to the process, …"""
ANSWER = struct.Struct("<BQ")
"""… and before each message on the way back: which kind it is, and its length."""
MESSAGE, DAMAGED, END = range(3)


class FrameParser:
    """The process that parses frames. It starts with the first; where one ends it, the next one starts another."""

    def __init__(self, parsing: Any) -> None:
        self._arguments = [sys.executable, "-m", "opintel.gw.files.served", json.dumps(parsing)]
        self._process: subprocess.Popen[bytes] | None = None

    def parse(self, frame: bytes) -> tuple[list[bytes], list[str]]:
        """(messages, what is not read) of a frame. OSError if the process cannot be started."""
        if len(frame) > MAX_BYTES:
            return [], [f"expected a frame of at most {MAX_BYTES} bytes, got {len(frame)}"]
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **FRUGAL},
            )
        found: list[bytes] = []
        unread: list[str] = []
        try:
            self._ask(self._process, frame, found, unread)
        except (EOFError, BrokenPipeError):
            self._end()
            limits = f"expected at most {MAX_MEMORY >> 20} MiB and {SECONDS} s of CPU time"
            unread.append(f"reading a frame ended its process: {limits}")
        return found, unread

    def _ask(self, process: subprocess.Popen[bytes], frame: bytes, found: list[bytes], unread: list[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(LENGTH.pack(len(frame)))
        process.stdin.write(frame)
        process.stdin.flush()
        room = MAX_ANSWER
        while True:
            kind, length = ANSWER.unpack(_exactly(process.stdout, ANSWER.size))
            room -= length
            if kind == END:
                return
            if room < 0:
                self._end()
                unread.append(f"expected a frame of at most {MAX_ANSWER >> 20} MiB of samples: the rest was not read")
                return
            body = _exactly(process.stdout, length)
            if kind == DAMAGED:
                unread.append(body.decode("utf-8", "replace"))
            else:
                found.append(body)

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _exactly(source: Any, size: int) -> bytes:
    found: bytes = source.read(size)
    if len(found) < size:
        raise EOFError
    return found
