"""Lines of a file: one that is too long is cut, and where the next one begins is looked for in pieces, so that no line
holds up the others or fills the memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from opintel.streams.connectors import MAX_BODY, cut

MAX_LINE = 16 << 20
"""Bytes in which a line has to end: it is cut there, whether it may end later or not, and the rest passed over."""
SCAN = 64 << 20
"""Bytes that are passed over in one piece."""


def read(file: BinaryIO, offset: int, end: int, final: bool) -> Iterator[tuple[bytes, int]]:
    """The lines between `offset` and `end` bytes without their newline, and where each one's successor begins.

    One longer than MAX_BODY is cut, its rest read in pieces and thrown away; one that does not end within MAX_LINE is
    the last, and `past` passes its rest over. Unless `final`, a last line without its newline waits.
    """
    file.seek(offset)
    while offset < end:
        line = file.readline(min(MAX_BODY + 1, end - offset))
        after, complete = offset + len(line), line.endswith(b"\n")
        if not line:
            return
        last = min(end, offset + MAX_LINE)
        while not complete and after < last:
            piece = file.readline(min(MAX_BODY, last - after))
            if not piece:
                break
            after, complete = after + len(piece), piece.endswith(b"\n")
        if not complete and after - offset == MAX_LINE:
            yield cut(line), after
            return
        if not complete and not final:
            return
        yield cut(line.removesuffix(b"\n")), after
        offset = after


def past(file: BinaryIO, offset: int, end: int) -> tuple[int, bool]:
    """Where the next line begins behind one that was cut at `offset`, and True; or how far it was looked for, at most
    SCAN bytes, and False. Whether a line was cut there (MAX_LINE or further on) is seen from the bytes before it.
    """
    file.seek(offset - MAX_BODY)
    if b"\n" in file.read(MAX_BODY):
        return offset, True
    last = min(end, offset + SCAN)
    while offset < last:
        piece = file.readline(min(MAX_BODY, last - offset))
        offset += len(piece)
        if piece.endswith(b"\n"):
            return offset, True
    return offset, False
