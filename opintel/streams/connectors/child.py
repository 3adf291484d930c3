"""Another process for what parses files: a limit to its memory and CPU time, and a pipe on which it writes messages.

What is compressed inflates to whatever it likes, and a library may fall over a crafted file: this process holds one
message at a time, and no file can end it.
"""

from __future__ import annotations

import os
import resource
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, TypeVar

MAX_MEMORY = 1 << 30
"""Bytes that reading may take."""
MAX_SECONDS = 300
"""Of CPU time, for what is read at once."""
FRUGAL = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "HDF5_PLUGIN_PRELOAD": "::",
}
"""Environment of the reader: threads and pools reserve memory that counts, on large machines more than the limit; HDF5
loads no filters that it was not built with."""
_HEAD = struct.Struct("<QQ?")
"""Offset after a message, its length, whether it says what is damaged."""

Sink = TypeVar("Sink", bound="ChildOutput")


def pieces(
    program: str, what: str, file: BinaryIO, offset: int, end: int, arguments: Sequence[str] = ()
) -> Iterator[tuple[bytes, int, bool]]:
    """(body, offset after it, whether it says what is damaged instead) of each message between two offsets of a file.

    `program`: a module that calls `serve`. Where it came to its end, the rest of the file is one damage. OSError if it
    cannot be started.
    """
    numbers = (os.fstat(file.fileno()).st_size, offset, end, MAX_MEMORY, MAX_SECONDS)
    reader = subprocess.Popen(
        [sys.executable, "-m", program, *map(str, numbers), *arguments],
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **FRUGAL},
    )
    assert reader.stdout is not None
    try:
        while len(head := reader.stdout.read(_HEAD.size)) == _HEAD.size:
            after, length, damaged = _HEAD.unpack(head)
            body = reader.stdout.read(length)
            if len(body) < length:
                break
            yield body, after, damaged
        code = reader.wait()
        if code > 0:
            raise OSError(f"{what} files cannot be read: the process for it ended with {code}")
        if code < 0:
            limits = f"expected at most {MAX_MEMORY >> 20} MiB and {MAX_SECONDS} s of CPU time"
            yield f"reading it ended with signal {-code}, the rest was not read: {limits}".encode(), end, True
    finally:
        reader.kill()
        reader.wait()
        reader.stdout.close()


class ChildOutput:
    """Where the reader writes what lies between two offsets: messages, and what is damaged."""

    def __init__(self, offset: int, end: int) -> None:
        self.offset, self.end = offset, end

    def refuse(self, reason: str, after: int) -> None:
        """Says why nothing is read up to an offset."""
        if after > self.offset:
            self.write(reason.encode(), after, True)

    def write(self, body: bytes, after: int, damaged: bool) -> None:
        """Writes one message."""
        sys.stdout.buffer.write(_HEAD.pack(after, len(body), damaged))
        sys.stdout.buffer.write(body)
        sys.stdout.buffer.flush()


def serve(read: Callable[[BinaryIO, int, Sink], None], what: str, output: Callable[[int, int], Sink]) -> None:
    """The reader's process: `read` takes the file that is standard input, its size and where its messages go."""
    size, offset, end, memory, seconds = map(int, sys.argv[1:6])
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sink = output(offset, end)
    with open(0, "rb", closefd=False) as file:
        try:
            read(file, size, sink)
        except Exception as problem:  # whatever a file makes its reader raise
            sink.refuse(f"no {what} that can be read: {said(problem)}", end)


def said(problem: BaseException) -> str:
    """An exception in one line."""
    return " ".join(str(problem).split())[:300] or type(problem).__name__
