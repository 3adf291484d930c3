"""What a gzip file holds, as a file that is read forward: as much of it as can be had, and what is wrong behind that.

Memory is bounded whatever it inflates to. Going back further than `BACK` bytes reads it from its start again.
"""

from __future__ import annotations

import gzip
import zlib
from typing import BinaryIO

PIECE = 1 << 16
"""Bytes that are inflated at once."""
BACK = 5 << 18
"""Bytes that are kept behind the place that is read: more than a record of CSV and the line that ends it."""


class Unpacked:
    """A gzip file of any number of members.

    >>> import io
    >>> whole = gzip.compress(b"one\\ntwo\\n")
    >>> file = Unpacked(io.BytesIO(whole[:-4]))
    >>> file.readline(9), file.readline(9), file.readline(9), file.wrong
    (b'one\\n', b'two\\n', b'', 'the gzip file ends early: what follows is missing')
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._begin()

    def _begin(self) -> None:
        self._file.seek(0)
        self._inside = gzip.GzipFile(fileobj=self._file, mode="rb")
        self._kept = bytearray()
        self._first = self._at = 0
        """Offsets of what is kept, and of what is read next."""
        self._ended = False
        self.wrong = ""
        """Why it could not be read to its end."""

    def seek(self, offset: int) -> None:
        """Goes to an offset of what it holds, or to its end where that is nearer."""
        if offset < self._first:
            self._begin()
        self._at = min(offset, self._first + len(self._kept))
        while self._at < offset and self._more():
            self._at = min(offset, self._first + len(self._kept))

    def read(self, size: int) -> bytes:
        """At most `size` bytes, fewer at its end."""
        while self._ahead < size and self._more():
            pass
        return self._take(min(size, self._ahead))

    def readline(self, size: int) -> bytes:
        """The rest of the line, `size` bytes of it at most."""
        looked = 0
        while True:
            here = self._at - self._first
            end = self._kept.find(b"\n", here + looked, here + size)
            if end >= 0:
                return self._take(end + 1 - here)
            looked = min(size, self._ahead)
            if looked == size or not self._more():
                return self._take(looked)

    @property
    def _ahead(self) -> int:
        """Bytes that are held and were not read."""
        return self._first + len(self._kept) - self._at

    def _take(self, size: int) -> bytes:
        begin = self._at - self._first
        self._at += size
        return bytes(self._kept[begin : begin + size])

    def _more(self) -> bool:
        """Inflates a piece more; forgets what lies far behind. Whether there was one."""
        if self._ended:
            return False
        behind = self._at - self._first
        if behind > 2 * BACK:
            del self._kept[: behind - BACK]
            self._first += behind - BACK
        try:
            piece = self._inside.read1(PIECE)
        except EOFError:
            piece, self.wrong = b"", "the gzip file ends early: what follows is missing"
        except (OSError, zlib.error) as error:
            found = self._first + len(self._kept)
            what = "no gzip file" if not found else f"the gzip file is damaged behind its {found} bytes"
            piece, self.wrong = b"", f"{what}: {' '.join(str(error).split())[:200]}"
        self._ended = not piece
        self._kept += piece
        return bool(piece)
