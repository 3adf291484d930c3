"""Files of samples for those who look at them as arrays: read by another process, within limits of memory and time.

They are read as the stream reads them: strain is NaN where its detector gave no data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.detector import Message
from opintel.finding import NS
from opintel.gw.gps import gps_from_utc
from opintel.gw.samples import FLAG, FLAG_MARK
from opintel.gw.segments import SegmentFlag, coalesce
from opintel.gw.wire import GwWire
from opintel.streams.connectors.parsed import FileRefused, parsed_file

PARSER = "opintel.gw.files.messages:messages"
MAX_SAMPLES = 1 << 29
"""Of all that is held: 2 GiB."""
BRIDGED = 60 * NS
"""A longer gap ends a stretch; a shorter one is NaN in it."""


class FileStretch(NamedTuple):
    """A channel over some time without a long gap."""

    channel: str
    unit: str
    rate: float
    """Hz."""
    start: int
    """ns GPS, of the first sample."""
    samples: NDArray[np.float32]
    """NaN where there is none."""

    @property
    def end(self) -> int:
        """ns GPS, after the last sample."""
        return self.start + round(len(self.samples) * NS / self.rate)


class OpenedFiles(NamedTuple):
    """What files hold together."""

    stretches: list[FileStretch]
    """By channel and time."""
    flags: list[SegmentFlag]
    """Of detectors' states, in ns GPS, by name: `L1:DATA`."""
    unread: list[str]
    """What was not read, and why; each with its file."""


class _Piece(NamedTuple):
    start: int
    rate: float
    unit: str
    values: NDArray[np.float32]


def opened(paths: Sequence[Path]) -> OpenedFiles:
    """The channels of some files, what several of them have counted once. Raises FileRefused, with one line."""
    wire, unread, held = GwWire(), list[str](), 0
    pieces: dict[str, list[_Piece]] = {}
    active: dict[str, list[tuple[int, int]]] = {}
    known: dict[str, list[tuple[int, int]]] = {}
    for path in paths:
        for body, damaged in parsed_file(PARSER, wire.parsing, path):
            if damaged:
                unread.append(f"{path}: {body.decode('utf-8', 'replace')}")
                continue
            decoded = wire.decode([Message(body)])
            unread += [f"{path}: {reject.reason}" for reject in decoded.rejects]
            rows = decoded.rows
            held += len(rows.payload.values.values)
            if held > MAX_SAMPLES:
                raise FileRefused(f"{path}: expected at most {MAX_SAMPLES >> 20} Mi samples in all files together")
            starts = gps_from_utc(rows.time).tolist()
            for n, start in enumerate(starts):
                key, row = rows.key.values[rows.key.code[n]], rows.payload
                rate, values = float(row.rate[n]), row.values.at(n)
                if row.kind[n] != FLAG:
                    unit = row.unit.values[row.unit.code[n]]
                    pieces.setdefault(key, []).append(_Piece(start, rate, unit, np.array(values)))
                    continue
                name = key.replace(FLAG_MARK, "", 1)
                spans = [(start + round(k * NS / rate), start + round((k + 1) * NS / rate)) for k in range(len(values))]
                known.setdefault(name, []).extend(s for s, value in zip(spans, values, strict=True) if value == value)
                active.setdefault(name, []).extend(s for s, value in zip(spans, values, strict=True) if value == 1)
    flags = [SegmentFlag(name, coalesce(active.get(name, ())), coalesce(known[name])) for name in sorted(known)]
    return OpenedFiles([one for key in sorted(pieces) for one in _stretches(key, pieces[key])], flags, unread)


def _stretches(channel: str, pieces: list[_Piece]) -> Iterator[FileStretch]:
    """The pieces of a channel, put together: of times that two files have the first one counts."""
    pieces.sort(key=lambda one: (one.start, -len(one.values)))
    together: list[_Piece] = []
    end = 0
    for one in pieces:
        if together and (one.rate != together[0].rate or one.start - end > BRIDGED):
            yield _together(channel, together)
            together = []
        if not together or one.start > together[-1].start:
            together.append(one)
            end = one.start + round(len(one.values) * NS / one.rate)
    yield _together(channel, together)


def _together(channel: str, pieces: Sequence[_Piece]) -> FileStretch:
    first, last = pieces[0], pieces[-1]
    rate = first.rate
    places = [round((one.start - first.start) * rate / NS) for one in pieces]
    samples = np.full(places[-1] + len(last.values), np.nan, dtype=np.float32)
    for place, one in zip(places, pieces, strict=True):
        samples[place : place + len(one.values)] = one.values
    return FileStretch(channel, last.unit, rate, first.start, samples)
