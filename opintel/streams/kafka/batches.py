"""Kafka record batches (format v2, KIP-98), read one record at a time from what a broker sent.

The data come from the fetcher, unparsed; positions and values go to `reader`. Whatever is wrong with a batch, its range
becomes one placeholder that says why, and reading goes on behind it. Aborted transactions are left out, as a topic's
author meant; control records are not data.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import crc32c

from opintel.streams.kafka.inflate import CODECS, LIMIT, TooLarge, inflate
from opintel.streams.log import REFUSED, Stored

Item = Stored
"""Its value is a `Refusal` where it was refused; its time is its batch's largest: in a topic with `LogAppendTime`
when the broker appended that."""
HEADER = struct.Struct(">qiibIhiqqqhii")
"""Base offset, length, leader epoch, magic, CRC, attributes, last offset delta, first and largest time, producer id,
its epoch, sequence, number of records."""
MAX_TIME = (1 << 63) - 1
_LENGTH, _BASE = struct.Struct(">i"), struct.Struct(">q")
_LENGTH_FROM, _CRC_FROM = 12, 21
_SMALLEST_RECORD = 7
_TRANSACTIONAL, _CONTROL, _CODEC = 0x10, 0x20, 0x07


class Refusal(bytes):
    """What stands for a refused value. Of a type of its own: what others write may begin with any byte, Arrow's with
    that of `log.REFUSED`."""


class Batches:
    """What one fetch returned for a partition; `position` is where the next fetch goes on."""

    def __init__(
        self,
        place: str,
        data: bytes,
        position: int,
        end: int,
        aborted: Sequence[tuple[int, int]] = (),
        *,
        limit: int = LIMIT,
    ) -> None:
        """`place` names the partition in reasons; `end` is its end as the broker gave it, a moment before it read;
        `aborted` are (producer id, first offset) of transactions to leave out.
        """
        self.position = position
        self.end = end
        self._place, self._data, self._limit = place, data, limit
        self._next = 0
        self._aborted = sorted((first, producer) for producer, first in aborted)
        self._aborting: set[int] = set()
        self._body, self._at, self._stop, self._left = data, 0, 0, 0
        self._base, self._delta, self._last, self._time = 0, 0, -1, 0
        self._said = ""

    @property
    def held(self) -> int:
        """Bytes that it holds on to."""
        return len(self._data) + (len(self._body) if self._body is not self._data else 0)

    def more(self) -> bool:
        """Whether there may be more to take; if not, `position` is where to go on."""
        if self._left:
            return True
        rest = len(self._data) - self._next
        return rest >= HEADER.size and rest >= _LENGTH_FROM + int(_LENGTH.unpack_from(self._data, self._next + 8)[0])

    def take(self, limit: int, room: int) -> list[Item]:
        """At most `limit` records, stopping behind the one that crosses `room` bytes; empty when all are taken."""
        out: list[Item] = []
        while limit > len(out) and room > 0:
            if self._left:
                try:
                    room -= self._records(out, limit, room)
                except (ValueError, IndexError) as error:
                    self._refuse(out, f"damaged record ({error})")
            elif not self._open(out):
                break
        return out

    def _records(self, out: list[Item], limit: int, room: int) -> int:
        """Takes records of the open batch; returns the bytes of those that it took.

        A record is: length, attributes, time delta, offset delta, key, value, headers; all numbers are zigzag varints.
        What is not needed is stepped over. Short forms are spelled out: this is where a source's CPU goes.
        """
        body, at, stop, left = self._body, self._at, self._stop, self._left
        base, delta, last, time = self._base, self._delta, self._last, self._time
        position, taken, many = self.position, 0, limit - len(out)
        append = out.append
        try:
            while left and many and taken < room:
                n = body[at]
                at += 1
                if n > 127:
                    high = body[at]
                    if high > 127:
                        n, at = _varint(body, at - 1)
                    else:
                        n, at = n & 127 | high << 7, at + 1
                end = at + (n >> 1)
                if n & 1 or end > stop:
                    raise ValueError("it goes beyond the batch")
                at += 1
                while body[at] > 127:
                    at += 1
                n = body[at + 1]
                at += 2
                if n > 127:
                    n, at = _varint(body, at - 1)
                following = (n >> 1) + 1
                if n & 1 or not delta < following <= last - left + 2:
                    raise ValueError("its offset is not in order")
                n = body[at]
                at += 1
                if n != 1:
                    if n > 127:
                        n, at = _varint(body, at - 1)
                    if n & 1:
                        raise ValueError("a negative key length")
                    at += n >> 1
                n = body[at]
                at += 1
                if n > 127:
                    high = body[at]
                    if high > 127:
                        n, at = _varint(body, at - 1)
                    else:
                        n, at = n & 127 | high << 7, at + 1
                many -= 1
                if n & 1:
                    value: bytes = Refusal(REFUSED + b"a record without a value")
                else:
                    start, at = at, at + (n >> 1)
                    if at >= end:
                        raise ValueError("its value goes beyond it")
                    value = body[start:at]
                at, delta, left = end, following, left - 1
                if base + delta > position:
                    append((base + delta - 1, value, time))
                    taken += len(value)
                else:
                    many += 1  # before the position asked for: a batch comes whole
        finally:
            self._at, self._left, self._delta = at, left, delta
            self.position = max(self.position, base + delta)
            if not left:
                self._shut()
        return taken

    def _open(self, out: list[Item]) -> bool:
        """Goes to the next batch; False where there is none."""
        at, data = self._next, self._data
        if at + HEADER.size > len(data):
            return False  # a broker cuts the last batch anywhere
        base, length, _, magic, crc, attributes, last, _, time, producer, _, _, count = HEADER.unpack_from(data, at)
        stop = at + _LENGTH_FROM + length
        if length < HEADER.size - _LENGTH_FROM:
            self._base, self._last, self._delta, self._said = self.position, 0, 0, ""
            self._next = len(data)
            self._refuse(out, f"a batch of {length} bytes")
            return True
        if stop > len(data):
            return False
        self._next, self._time = stop, max(0, min(time * 1_000_000, MAX_TIME))
        following = _BASE.unpack_from(data, stop)[0] if stop + _BASE.size <= len(data) else self.end
        known = magic == 2 and last >= 0
        placed = known and self._fits(base, base + last, following)
        if placed:
            self._base, self._last = base, last
        else:  # what stands here instead: up to the next batch if that can be, else as many as it says it has
            upto = following if self.position < following <= self.end else self.position + (last + 1 if known else 1)
            self._base = self.position
            self._last = max(min(upto, self.end) - 1 - self.position, 0)
        self._delta = 0
        codec = CODECS[attributes & _CODEC] if attributes & _CODEC < len(CODECS) else str(attributes & _CODEC)
        self._said = f", {codec}, {length + _LENGTH_FROM} bytes"
        if magic != 2:
            self._refuse(out, f"batch format {magic}, only 2 is read")
        elif crc32c.crc32c(memoryview(data)[at + _CRC_FROM : stop]) != crc:
            self._refuse(out, "its checksum is wrong")
        elif not placed:
            self._refuse(out, f"its first offset is {base}, its last offset is {last} behind its first")
        elif attributes & _CONTROL:
            if self._is_abort(data, at + HEADER.size):
                self._aborting.discard(producer)
            self._skip()
        elif count == 0 or (attributes & _TRANSACTIONAL and self._is_aborted(producer, base + last)):
            self._skip()
        else:
            self._start(out, codec, at + HEADER.size, stop, count)
        return True

    def _fits(self, first: int, last: int, following: int) -> bool:
        """Whether a batch can stand where it says: no checksum covers its first offset.

        A broker sends, in order, the batch that holds the position asked for, or else the first one behind it. It
        looks up the partition's end before it reads, so that what is appended between the two stands beyond that end.
        """
        if not self._base + self._last < first <= last or last < self.position:
            return False
        return first <= self.position or last < min(following, self.end)

    def _start(self, out: list[Item], codec: str, at: int, stop: int, count: int) -> None:
        try:
            if codec == "none":
                self._body, self._at, self._stop = self._data, at, stop
            else:
                self._body = inflate(codec, self._data[at:stop], self._limit)
                self._at, self._stop = 0, len(self._body)
        except TooLarge as error:
            self._refuse(out, str(error))
            return
        except ValueError as error:
            self._refuse(out, str(error))
            return
        if not 0 < count <= min(self._last + 1, (self._stop - self._at) // _SMALLEST_RECORD):
            self._refuse(out, f"it claims {count} records")
            return
        self._left = count

    def _is_abort(self, data: bytes, at: int) -> bool:
        """A control record's key is (int16 version, int16 type), type 0 is an abort (KIP-98)."""
        try:
            _, at = _varint(data, at)
            at += 1
            for _ in range(3):  # time, offset, the key's length
                _, at = _varint(data, at)
            return data[at + 2 : at + 4] == b"\x00\x00"
        except IndexError:
            return False

    def _is_aborted(self, producer: int, last: int) -> bool:
        while self._aborted and self._aborted[0][0] <= last:
            self._aborting.add(self._aborted.pop(0)[1])
        return producer in self._aborting

    def _refuse(self, out: list[Item], why: str) -> None:
        first, last = max(self._base + self._delta, self.position), max(self._base + self._last, self.position)
        reason = f"{self._place}, records {first} to {last}{self._said}: {why}"
        out.append((last, Refusal(REFUSED + reason.encode()), self._time))
        self.position = last + 1
        self._shut()

    def _skip(self) -> None:
        self.position = self._base + self._last + 1
        self._shut()

    def _shut(self) -> None:
        self.position = max(self.position, self._base + self._last + 1)
        self._body, self._left = self._data, 0


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """An unsigned varint of at most five bytes (ten for times are stepped over elsewhere) and where it ends."""
    n = shift = 0
    for _ in range(10):
        byte = body[at]
        at += 1
        n |= (byte & 127) << shift
        if byte < 128:
            return n, at
        shift += 7
    raise ValueError("a number without end")
