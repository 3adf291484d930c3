"""Complete files as one source in order of time: a file a host, or a day, is read as if all had been one.

`opintel.streams.feeds` reads so what does not grow (`replay`, `run --until-idle`). The file whose next messages have
the earliest time comes first, among equals the one that was given first; messages without a time do not wait. Which
comes next is a function of the files and the position alone, and so is what is looked at beyond a chunk. Memory is
bounded: where files hold more than MAX_HELD, those whose turn is furthest away are read again later. So are open files:
what is parsed as a whole or gzipped is read on where it stood, unless too many others have been read since.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.detector import Message
from opintel.streams.ahead import Ahead
from opintel.streams.connectors.files import MAX_CHUNK, MAX_FILES, FilePosition, FileSource, position_at
from opintel.streams.connectors.framing import ANY_DOMAIN, GZIP, FileForms, Frame, frames, past
from opintel.streams.connectors.identity import File, Place

AHEAD = 1000
"""Rows of a file that are looked at beyond a chunk, …"""
AHEAD_BYTES = 4 << 20
"""… and bytes of messages after which the look ends."""
MAX_HELD = 256 << 20
"""Bytes of messages that are held for all files, about."""
MAX_BLOCK = 32 << 20
"""Bytes of a file that are read at once, about."""
BLOCK = 2000
"""Messages of a file that are read at once."""
KEY_OF = 10
"""Messages of a file by whose times it gets its turn, …"""
KEY_BYTES = 64 << 10
"""… fewer where these have so many bytes."""
MOST_FILES = 100_000
"""Files of a source; where there are more than MAX_FILES, a position says only how many messages were read."""
MOST_PARSED, MOST_UNPACKED = 8, 64
"""Files that are held open: by a process each that parses them, and gzipped ones."""
NO_TIME = -(1 << 63)
_Times = NDArray[np.int64]
TimesOf = Callable[[Sequence[Message]], tuple[NDArray[np.int64], _Times]]
"""Messages → (rows,) which of them each row is in, and (rows,) its time, ns."""


class Chunk(NamedTuple):
    """Messages, the position behind them, and what lies ahead."""

    messages: list[Message]
    after: FilePosition
    ahead: Ahead = Ahead()


class _Held(NamedTuple):
    """A message that was read and has not had its turn."""

    frame: Frame
    times: _Times
    first: int
    """The earliest of them, NO_TIME where there is none."""


class _Lane:
    """A file on its way through the merge."""

    def __init__(self, file: File, place: Place) -> None:
        self.file = file
        self.place = place
        """Of the next message."""
        self.queue: deque[_Held] = deque()
        self.size = 0
        self.ended = False
        self._offset = place.offset
        """Up to where it is held."""
        self._rest: Generator[Frame, None, None] | None = None
        """Of a file that is parsed as a whole, or gzipped: not from its start for each block."""

    @property
    def open(self) -> bool:
        """Whether the file is held open."""
        return self._rest is not None

    def pause(self) -> None:
        """Closes the file; the next block is looked for from its start."""
        if self._rest is not None:
            self._rest.close()
            self._rest = None

    def fill(self, forms: FileForms, times_of: TimesOf, most: int) -> None:
        """Reads a block."""
        whole, packed = self.file.suffix in forms.parsers, self.file.suffix.endswith(GZIP)
        found = self._on(forms, MAX_BLOCK if whole else most) if whole or packed else self._framed(forms, most)
        timed = [n for n, frame in enumerate(found) if frame.form in ("json", "table")]
        messages = [Message(found[n].body, self.file.name, 0, 0, found[n].form, found[n].table) for n in timed]
        message, times = times_of(messages) if messages else (np.empty(0, np.int64), np.empty(0, np.int64))
        of_frame = np.array(timed, dtype=np.int64)[message]
        bounds = np.searchsorted(of_frame, np.arange(len(found) + 1)).tolist()
        first = np.full(len(found), NO_TIME)
        first[of_frame[::-1]] = times[::-1]
        if len(times) > len(np.unique(of_frame)):
            np.minimum.at(first, of_frame, times)
        spans = zip(found, bounds[:-1], bounds[1:], first.tolist(), strict=True)
        self.queue += [_Held(frame, times[begin:end], earliest) for frame, begin, end, earliest in spans]
        self._offset = found[-1].after if found else self._offset
        self.size += sum(len(frame.body) for frame in found)

    def _framed(self, forms: FileForms, most: int) -> list[Frame]:
        found: list[Frame] = []
        size, suffix = 0, self.file.suffix
        with self.file.open() as opened:
            end = self.file.size(opened)
            self._offset, at_line = past(opened, suffix, forms, self._offset, end)
            if not at_line:
                self.ended = self._offset >= end
                return []
            with closing(frames(opened, suffix, forms, self._offset, end, True)) as read:
                for frame in read:
                    found.append(frame)
                    size += len(frame.body)
                    if len(found) >= BLOCK or size >= most:
                        break
                else:
                    after = found[-1].after if found else self._offset
                    self.ended = past(opened, suffix, forms, after, end) == (after, True)  # else a line was cut
        return found

    def _on(self, forms: FileForms, most: int) -> list[Frame]:
        found: list[Frame] = []
        size = 0
        self._rest = self._rest or self._read(forms)
        for frame in self._rest:
            found.append(frame)
            size += len(frame.body)
            if len(found) >= BLOCK or size >= most:
                return found
        self._rest, self.ended = None, True
        return found

    def _read(self, forms: FileForms) -> Generator[Frame, None, None]:
        with self.file.open() as opened:
            yield from frames(opened, self.file.suffix, forms, self._offset, self.file.size(opened), True)

    def pop(self) -> _Held:
        """The next message."""
        held = self.queue.popleft()
        self.size -= len(held.frame.body)
        self.place = self.place._replace(offset=held.frame.after, row=self.place.row + 1, head=0)
        return held

    def key(self) -> int:
        """The earliest time of the next few messages, so that one that is dated far ahead does not hold up the rest."""
        size, earliest = 0, NO_TIME
        for held in islice(self.queue, KEY_OF):
            if held.first != NO_TIME and (held.first < earliest or earliest == NO_TIME):
                earliest = held.first
            size += len(held.frame.body)
            if size >= KEY_BYTES:
                break
        return earliest

    def let_go(self) -> None:
        """Forgets what it holds; it is read again when its turn comes."""
        self.queue.clear()
        self.pause()
        self.size, self._offset, self.ended = 0, self.place.offset, False


class MergedFiles(FileSource):
    """Complete files, merged by time. `times_of` says the times of messages as the domain's wire reads them."""

    complete, most = True, MOST_FILES

    def __init__(self, paths: Sequence[Path], times_of: TimesOf, forms: FileForms = ANY_DOMAIN) -> None:
        super().__init__(paths, forms)
        self._times_of = times_of
        self._at: FilePosition | None = None
        self._merge: _Merge | None = None

    def chunk(self, position: FilePosition | None, limit: int) -> Chunk:
        """At most `limit` messages after `position` (None: from the start). None are left where it gives none."""
        position = position or FilePosition()
        if self._merge is None or self._at != position:
            self._merge = self._begun(position)
        messages, ahead = self._merge.take(position.index, limit)
        last, index = messages[-1].file if messages else position.file, position.index + len(messages)
        self._at = FilePosition(index=index) if self._merge.many else position_at(self._merge.places(), last, index)
        return Chunk(messages, self._at, ahead)

    def again(self, before: FilePosition | None, after: FilePosition) -> Chunk:
        """One earlier chunk once more."""
        found = self.chunk(before, after.index - (before or FilePosition()).index)
        if found.after == after:
            return found
        # it was not merged when it was read first, by an earlier build or while the files were tailed
        self._merge = None
        return Chunk(self.between(before, after), after)

    def progress(self, position: FilePosition | None) -> tuple[int, int]:
        return super().progress(position) if self._merge is None else self._merge.progress()

    def _begun(self, position: FilePosition) -> _Merge:
        files = self.known(position)
        most = max(1, min(MAX_BLOCK, MAX_HELD // max(len(files), 1)))
        merge = _Merge([_Lane(*one) for one in files], self._forms, self._times_of, most)
        if position.index and not position.file:
            merge.skip(position.index)
        return merge


class _Merge:
    """The merge of some files, from some places on to their ends."""

    def __init__(self, lanes: list[_Lane], forms: FileForms, times_of: TimesOf, most: int) -> None:
        self._lanes, self._forms, self._times_of, self._most = lanes, forms, times_of, most
        self._held = 0
        self._heap: list[tuple[int, int]] = []
        self.many = len(lanes) > MAX_FILES
        self._sizes = [lane.file.path.stat().st_size for lane in lanes]
        self._open: dict[bool, OrderedDict[_Lane, None]] = {True: OrderedDict(), False: OrderedDict()}
        """Whether they are parsed as a whole → the files that are held open, the one that was read last at the end."""
        for order in range(len(lanes)):
            self._push(order)

    def take(self, index: int, limit: int) -> tuple[list[Message], Ahead]:
        """At most `limit` messages, numbered from `index`."""
        out: list[Message] = []
        moved = dict[str, _Lane]()
        room, several, floor = MAX_CHUNK, len(self._heap) > 1, None
        while self._heap and len(out) < limit and room > 0:
            key, order = heapq.heappop(self._heap)
            lane = self._lanes[order]
            self._ensure(lane, 1)
            row = lane.place.row
            held = lane.pop()
            self._held -= len(held.frame.body)
            frame = held.frame
            out.append(Message(frame.body, lane.file.name, row, index + len(out), frame.form, frame.table))
            moved[lane.file.name] = lane
            room -= len(frame.body)
            if floor is None and key != NO_TIME:
                floor = key
            self._push(order)
        following = {name: self._next_times(lane) for name, lane in moved.items()}
        for lane in moved.values():
            with lane.file.open() as opened:
                lane.place = lane.place.moved(opened, lane.place.offset, lane.place.row)
        return out, Ahead(floor if several else None, following)

    def skip(self, messages: int) -> None:
        """Passes over so many messages."""
        while messages and self._heap:
            messages -= len(self.take(0, min(messages, BLOCK))[0])

    def progress(self) -> tuple[int, int]:
        """Bytes that had their turn, and bytes there; of gzipped files the former runs ahead."""
        done = (min(lane.place.offset, size) for lane, size in zip(self._lanes, self._sizes, strict=True))
        return sum(done), sum(self._sizes)

    def places(self) -> dict[str, Place]:
        """How far each file was read."""
        return {lane.file.name: lane.place for lane in self._lanes if lane.place.row or lane.place.offset}

    def _push(self, order: int) -> None:
        """Puts a file with its next message in line."""
        lane = self._lanes[order]
        if self._ensure(lane, KEY_OF, KEY_BYTES):
            heapq.heappush(self._heap, (lane.key() if len(self._lanes) > 1 else NO_TIME, order))

    def _ensure(self, lane: _Lane, messages: int, most: int = AHEAD_BYTES) -> bool:
        """Holds so many messages of a file, or `most` bytes, or all that are left; whether there is one."""
        while len(lane.queue) < messages and not lane.ended and not (lane.queue and lane.size >= most):
            before = lane.size
            lane.fill(self._forms, self._times_of, self._most)
            self._held += lane.size - before
            self._hold_open(lane)
            self._let_go(lane)
        return bool(lane.queue)

    def _hold_open(self, lane: _Lane) -> None:
        parsed = lane.file.suffix in self._forms.parsers
        held, most = self._open[parsed], MOST_PARSED if parsed else MOST_UNPACKED
        held.pop(lane, None)
        if lane.open:
            held[lane] = None
            if len(held) > most:
                held.popitem(last=False)[0].pause()

    def _let_go(self, but: _Lane) -> None:
        if self._held <= MAX_HELD:
            return
        for _, order in sorted(self._heap, reverse=True):
            lane = self._lanes[order]
            if lane is not but:
                self._held -= lane.size
                lane.let_go()
                self._hold_open(lane)
            if self._held <= MAX_HELD // 2:
                break

    def _next_times(self, lane: _Lane) -> _Times:
        parts: list[_Times] = []
        rows = size = at = 0
        while rows < AHEAD and size < AHEAD_BYTES:
            self._ensure(lane, at + 1)
            if at >= len(lane.queue):
                break
            held = lane.queue[at]
            parts.append(held.times)
            rows, size, at = rows + len(held.times), size + len(held.frame.body), at + 1
        return np.concatenate([np.empty(0, np.int64), *parts])[:AHEAD]
