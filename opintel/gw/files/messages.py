"""What a file holds as messages of the stream, in order of time: the parser that `Pipeline.files` names.

A message is a second of all channels, or several of them where a file is long, or of some where it has many. State
vectors stand before strain in it, so that its reader knows when there was none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from opintel.finding import NS
from opintel.gw.files import gwf, hdf5
from opintel.gw.files.series import FileSeries
from opintel.gw.wire.arrow_rows import MAX_SECONDS, STRAIN
from opintel.gw.wire.channels import MAX_CHANNELS, SentChannel
from opintel.gw.wire.encoder import message_in, schema_of

AIM = 4 << 20
"""Bytes of a message, about."""
HELD = 64 << 20
"""Bytes of samples that are read at once, about."""
MESSAGES = 1024
"""Seconds of a file that are a message each; of a longer one several are."""
MAX_BLOCKS = 1_000_000
MAX_UNREAD = 1000
"""Series of a file of which it is said why they are not read."""
_EXACT = 1 << 24
"""Up to here an integer is one in single precision."""


def messages(file: BinaryIO, parsing: dict[str, Any]) -> Iterator[bytes | str]:
    """A file's messages in order of time, and what is not read; `parsing["state"]` are names of state vectors. Raises
    ValueError where nothing can be read.
    """
    unread, nothing, state = 0, True, frozenset(parsing["state"])
    for found in _found(file):
        if isinstance(found, str):
            unread += 1
            if unread <= MAX_UNREAD:
                yield found
        elif found:
            nothing = False
            yield from _messages([one._replace(is_state=bool(one.bits) or one.name in state) for one in found])
    if nothing:
        raise ValueError("no series in it: expected strain/Strain, or datasets with gps_start and fs, or x0 and dx")


def _found(file: BinaryIO) -> Iterator[list[FileSeries] | str]:
    """Series that are read together."""
    file.seek(0)
    begin = file.read(8)
    file.seek(0)
    if begin.startswith(hdf5.BEGIN):
        return hdf5.read(file)
    if begin.startswith(gwf.BEGIN):
        return gwf.read(file)
    raise ValueError(f"expected HDF5 or a frame file; it begins with {begin!r}")


def _messages(found: Sequence[FileSeries]) -> Iterator[bytes]:
    series = sorted(found, key=lambda one: (not one.is_state, one.unit != STRAIN, one.name, one.start))
    if len(series) > MAX_CHANNELS:
        raise ValueError(f"expected at most {MAX_CHANNELS} series, got {len(series)}")
    length = _length(series) * NS
    spans = {(one.start // length, (one.end - 1) // length + 1) for one in series}
    if sum(end - begin for begin, end in spans) > MAX_BLOCKS:
        raise ValueError(f"expected series of at most {MAX_BLOCKS * length // NS} s together")
    blocks = sorted(set[int]().union(*(range(*span) for span in spans)))
    rate = sum(4 * one.rate for one in series)
    several = max(1, int(HELD / (rate * length / NS)))
    tables = _tables(series, length)
    for at in range(0, len(blocks), several):
        some = blocks[at : at + several]
        begin, end = some[0] * length, (some[-1] + 1) * length
        held = [_held(one, begin, end) for one in series]
        for block in some:
            yield from _block(series, held, tables, block * length, (block + 1) * length)


def _length(series: Sequence[FileSeries]) -> int:
    """Seconds of a message."""
    longest = max(one.size / one.rate for one in series)
    most = AIM / max(8 * one.rate for one in series)
    return max(1, int(min(longest / MESSAGES + 1, most, MAX_SECONDS)))


def _held(one: FileSeries, begin: int, end: int) -> tuple[int, NDArray[Any]]:
    """(number of the first, samples) of a series between two times, ns GPS."""
    first, last = one.first(begin), one.first(end)
    if first == last:
        return first, np.empty(0, dtype=np.float32)
    samples = one.read(first, last)
    if not one.is_state:
        with np.errstate(over="ignore"):
            samples = samples.astype(np.float32, copy=False)
    return first, samples


class _Table(NamedTuple):
    """Series that come in one message."""

    numbers: range
    single: pa.Schema
    double: pa.Schema


def _tables(series: Sequence[FileSeries], length: int) -> list[_Table]:
    found, begin, room = [], 0, AIM
    for n, one in enumerate(series):
        size = int(8 * one.rate * length / NS) + 64
        if size > room and n > begin:
            found.append(range(begin, n))
            begin, room = n, AIM
        room -= size
    return [_table(series, numbers) for numbers in (*found, range(begin, len(series)))]


def _table(series: Sequence[FileSeries], numbers: range) -> _Table:
    every = [(n, series[n]) for n in numbers]
    sent = [SentChannel(n, one.name, one.rate, one.unit, one.dtype, list(one.bits)) for n, one in every]
    said = msgspec.json.encode(sent)
    return _Table(numbers, schema_of(said), schema_of(said, pa.float64()))


def _block(
    series: Sequence[FileSeries],
    held: Sequence[tuple[int, NDArray[Any]]],
    tables: Sequence[_Table],
    begin: int,
    end: int,
) -> Iterator[bytes]:
    for table in tables:
        rows = []
        # second by second, so that no row of a file is dated far ahead of those that follow it
        for time in range(begin, end, NS):
            for n in table.numbers:
                one, (base, samples) = series[n], held[n]
                first, last = one.first(time), one.first(time + NS)
                if last > first:
                    rows.append((one.time(first), n, samples[first - base : last - base]))
        if rows:
            exact = all(not series[number].is_state or samples.max() < _EXACT for _, number, samples in rows)
            yield message_in(table.single if exact else table.double, rows)
