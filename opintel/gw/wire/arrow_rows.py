"""Samples of some channels as one Arrow IPC stream or file: a row is a stretch of one channel.

Columns: `time` (int64, ns GPS, of the first sample), `id` (its channel in the table of the schema's metadata) and
`data` (a list of numbers; null or NaN: not there). A row of a state vector becomes rows of its flags; where one of
them, `DATA`, is not active, samples of strain in the same message are not there. `opintel.gw.wire` brings messages
here; everything in them is untrusted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds
from numpy.typing import NDArray

from opintel.arrow_ipc import FAULTS, opened
from opintel.detector import Decoded
from opintel.finding import NS, parse_rfc3339
from opintel.gw.gps import gps_from_utc, utc_from_gps
from opintel.gw.samples import FLAG, SAMPLES, PieceRow, Pieces, flag_key, scope_of
from opintel.gw.segments import coalesce, contains
from opintel.gw.wire.channels import Channel, ChannelOutput, ChannelTable, ChannelTables
from opintel.gw.wire.gaps import lasting_zeros, sample_times
from opintel.gw.wire.seconds import cut, spans
from opintel.ids import hashed
from opintel.rejects import Rejects, WrongRows
from opintel.rows import Arrays, Batch, TextColumn, coded
from opintel.tables import NOTHING_READ

MAX_BYTES = 16 << 20
"""Of a message."""
MAX_ROWS = 100_000
"""Of a message, and pieces that they are cut into."""
MAX_FLAGGED = 1 << 22
"""Samples of flags in a message: those of a state vector times its flags."""
MAX_SAMPLES = 1 << 24
"""Of a message, and values of flags: those of a state vector times its flags."""
MAX_SECONDS = 64
"""Between the first sample of a row and its last."""
MAX_STATE = 1 << 62
"""Of a state vector that came as a float."""
EARLIEST = gps_from_utc(parse_rfc3339("2000-01-01T00:00:00Z"))
LATEST = gps_from_utc(parse_rfc3339("2100-01-01T00:00:00Z"))
"""ns GPS: times outside are no times."""
STRAIN, DATA = "strain", "DATA"
"""The unit of strain, and the flag without which it is not there."""
_COLUMNS = ("time", "id", "data")
_Ints = NDArray[np.int64]


class _Rows(NamedTuple):
    """Rows of a message that can be taken."""

    n: _Ints
    """Which of its records each is."""
    channel: _Ints
    """Which of the channels."""
    time: _Ints
    """ns GPS."""
    data: Arrays
    """As sent: integers or floats."""


class _Taken(NamedTuple):
    """Of a message so far."""

    pieces: int = 0
    samples: int = 0


def decode(body: bytes, tables: ChannelTables) -> Decoded[PieceRow]:
    """The pieces of a message and what is wrong with each bad row, or with all of it; never raises."""
    rejects, columns = Rejects(), NOTHING_READ
    channels = _Channels()
    found: list[_Rows] = []
    first = 0
    taken = _Taken()
    try:
        whole = opened(body, MAX_BYTES)
        table = tables.of(whole.schema.metadata)
        batches, columns = whole.batches(_used(whole.schema), MAX_ROWS)
        for batch in batches:
            if first == MAX_ROWS or taken.pieces > MAX_ROWS:
                rejects.add(0, first, f"more than {MAX_ROWS} rows in a message: the rest was not read")
                break
            rows, taken = _rows(batch, table, channels, WrongRows(batch.num_rows, first, rejects), taken)
            found.append(rows._replace(n=rows.n + first))
            first += batch.num_rows
    except FAULTS as problem:
        found, rejects = [], Rejects()
        rejects.add(0, 0, f"not an Arrow message of samples: {' '.join(str(problem).split())[:300]}")
        first = 1
    if not first:
        rejects.add(0, 0, "no row in it")
    n, rows_of_stream = _pieces(found, channels)
    return Decoded(rows_of_stream, np.zeros(len(n), dtype=np.int64), n, rejects.found(), columns)


class _Channels:
    """The channels that a message's rows name, numbered as they come."""

    def __init__(self) -> None:
        self.known: list[Channel] = []
        self._places: dict[int, int] = {}

    def places(self, numbers: _Ints, table: ChannelTable) -> tuple[_Ints, _Ints, list[str]]:
        """(n,) the place of each id's channel, −1 where there is none; (n,) which of the reasons says why."""
        distinct, of_row = np.unique(numbers, return_inverse=True)
        place = np.full(len(distinct), -1, dtype=np.int64)
        reasons = [""] * len(distinct)
        for at, number in enumerate(distinct.tolist()):
            if number not in self._places:
                channel = table.channel(number)
                if isinstance(channel, str):
                    reasons[at] = channel
                    continue
                self._places[number] = len(self.known)
                self.known.append(channel)
            place[at] = self._places[number]
        return place[of_row], of_row, reasons

    def rates(self) -> NDArray[np.float64]:
        return np.array([channel.rate for channel in self.known] or [1.0])

    def outputs(self) -> _Ints:
        """How many keys the rows of each channel become."""
        return np.array([len(channel.outputs) for channel in self.known] or [1])


def _used(schema: pa.Schema) -> list[int]:
    """The places of the columns that are read; ValueError if they are not what they should be."""
    names = schema.names
    used = [n for n, name in enumerate(names) if name in _COLUMNS]
    if sorted(names[n] for n in used) != sorted(_COLUMNS):
        raise ValueError(f"expected the columns {', '.join(_COLUMNS)}, each once, got {', '.join(names)[:200]!r}")
    for n in used:
        kind = schema.field(n).type
        right = "lists of numbers" if names[n] == "data" else "integers"
        if not (_is_lists(kind) if names[n] == "data" else kinds.is_integer(kind)):
            raise ValueError(f"column {names[n]}: expected {right}, got {str(kind)[:100]}")
    return used


def _is_lists(kind: Any) -> bool:
    lists = kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind)
    return bool(lists and (kinds.is_integer(kind.value_type) or kinds.is_floating(kind.value_type)))


def _rows(
    batch: pa.RecordBatch, table: ChannelTable, channels: _Channels, wrong: WrongRows, before: _Taken
) -> tuple[_Rows, _Taken]:
    """The rows of a batch that are not `wrong`, and what is taken of the message with them and `before`."""
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    time, number = (_integers(name, columns[name], wrong) for name in ("time", "id"))
    data = _lists(columns["data"], wrong)
    wrong.note((time < EARLIEST) | (time >= LATEST), time * 0, lambda _: "time: expected ns GPS of 2000 to 2100")
    place, reason, reasons = channels.places(number, table)
    wrong.note(place < 0, reason, reasons.__getitem__)
    sizes = data.sizes
    wrong.note(sizes == 0, sizes, lambda _: "data: expected samples, got none")
    rate = channels.rates()[np.maximum(place, 0)]
    too_long = (sizes - 1) / rate > MAX_SECONDS
    wrong.note(
        too_long & (sizes > 1), time * 0, lambda _: f"data: expected at most {MAX_SECONDS} s of samples, got more"
    )
    kept = np.flatnonzero(~wrong.rows)
    outputs = channels.outputs()[place[kept]]
    pieces = before.pieces + np.cumsum(spans(time[kept], rate[kept], sizes[kept]) * outputs)
    samples = before.samples + np.cumsum(sizes[kept] * outputs)
    for many, most, what in (
        (pieces, MAX_ROWS, "channel-seconds"),
        (samples, MAX_SAMPLES, "samples and flags' values"),
    ):
        over = np.zeros(len(sizes), dtype=np.bool_)
        over[kept[many > most]] = True
        too_many = f"expected at most {most} {what} in a message, got more"
        wrong.note(over, time * 0, [too_many].__getitem__)
    kept = np.flatnonzero(~wrong.rows)
    if len(kept) < len(sizes):
        data = data.take(kept)
    taken = _Taken(int(pieces[-1]), int(samples[-1])) if len(pieces) else before
    return _Rows(kept, place[kept], time[kept], data), taken


def _integers(name: str, column: Any, wrong: WrongRows) -> _Ints:
    if column.null_count:
        none = np.asarray(column.is_null())
        wrong.note(none, none * 0, lambda _: f"{name}: expected an integer, got None")
    with np.errstate(over="ignore"):
        return np.asarray(column.fill_null(0)).astype(np.int64)


def _lists(column: Any, wrong: WrongRows) -> Arrays:
    """The lists of a column; a row without one is wrong, a number that is null becomes NaN."""
    kind = column.type
    if kinds.is_fixed_size_list(kind):
        start = (np.arange(len(column) + 1) + column.offset) * kind.list_size
    else:
        start = np.asarray(column.offsets, dtype=np.int64)
    inner = column.values
    if inner.null_count:
        inner = inner.cast(pa.float64(), safe=False).fill_null(np.nan)
    if column.null_count:
        none = np.asarray(column.is_null())
        wrong.note(none, none * 0, lambda _: "data: expected a list of numbers, got None")
    return Arrays(np.asarray(inner)[start[0] : start[-1]], start - start[0])


def _pieces(found: list[_Rows], channels: _Channels) -> tuple[_Ints, Batch[PieceRow]]:
    """(pieces,) the record that each is of, and the rows of the stream."""
    found = [rows for rows in found if len(rows.n)]
    if not found:
        return np.empty(0, dtype=np.int64), Batch.of([], Pieces)
    n, channel, time = (np.concatenate([getattr(rows, name) for rows in found]) for name in _Rows._fields[:3])
    data = found[0].data if len(found) == 1 else Arrays.joined([rows.data for rows in found])
    piece = cut(time, channels.rates()[channel], data.sizes)
    row = piece.row
    data = Arrays(data.values, np.append(data.start[row] + piece.first, data.start[-1]))
    n, channel, time = n[row], channel[row], piece.time
    in_leap_second = gps_from_utc(utc_from_gps(time)) != time
    outputs = _Outputs(channels)
    if in_leap_second.any() or outputs.several:
        # 23:59:60 has no place in UTC as integers: a gap
        at, which = outputs.of(channel, ~in_leap_second)
        n, channel, time, data = n[at], channel[at], time[at], data.take(at)
    else:
        which = outputs.first[channel]
    rate = channels.rates()[channel]
    values = _values(data, time, rate, which, outputs)
    words = np.stack([outputs.hash[which], time, rate.view(np.int64), data.sizes], axis=1)
    ids = hashed(np.ascontiguousarray(words).view(np.uint8).reshape(-1), 32 * np.arange(len(words) + 1))
    payload = Pieces(outputs.kind[which], rate, outputs.column("unit", which), Arrays(values, data.start))
    return n, Batch(outputs.column("key", which), utc_from_gps(time), ids, payload)


class _Outputs:
    """What the rows of a message's channels become, as columns."""

    def __init__(self, channels: _Channels) -> None:
        every = [(channel, output) for channel in channels.known for output in channel.outputs]
        self.every: list[ChannelOutput] = [output for _, output in every]
        self.number = channels.outputs()
        self.first = np.cumsum(self.number) - self.number
        """Of each channel."""
        self.several = bool((self.number != 1).any())
        self.kind = np.array([output.kind for output in self.every], dtype=np.int8)
        self.mask = np.array([output.mask for output in self.every], dtype=np.int64)
        self.hash = np.array([output.hash for output in self.every], dtype=np.int64)
        self.real = np.array([channel.real and output.kind == SAMPLES for channel, output in every])
        units = ["" if output.kind == FLAG else channel.unit for channel, output in every]
        self.text = {"key": coded(output.key for output in self.every), "unit": coded(units)}
        self.strain = np.array([unit == STRAIN for unit in units])
        self.scope = coded(scope_of(output.key) for output in self.every)[1]
        self.data = np.array([output.key == flag_key(scope_of(output.key), DATA) for output in self.every])

    def of(self, channel: _Ints, kept: NDArray[np.bool_]) -> tuple[_Ints, _Ints]:
        """The places of pieces of these channels, those that are kept, once for each output, and which one that is."""
        number = np.where(kept, self.number[channel], 0)
        at = np.repeat(np.arange(len(channel)), number)
        nth = np.arange(len(at)) - np.repeat(np.cumsum(number) - number, number)
        return at, self.first[channel[at]] + nth

    def column(self, name: str, which: _Ints) -> TextColumn:
        values, place = self.text[name]
        return TextColumn(values, place[which]).compact()


def _values(
    data: Arrays, time: _Ints, rate: NDArray[np.float64], which: _Ints, outputs: _Outputs
) -> NDArray[np.float32]:
    """The samples of the pieces in single precision, NaN where there are none; of flags 1, 0 or NaN."""
    sent, sizes = data.values, data.sizes
    floating = sent.dtype.kind == "f"
    with np.errstate(over="ignore"):
        values = sent.astype("<f4", copy=False)
    if floating:
        none = ~np.isfinite(values)
        real = outputs.real[which]
        if real.any() and (zeros := lasting_zeros(values, data.start)).any():
            none |= zeros & np.repeat(real, sizes)
        if none.any():
            values = np.where(none, np.float32(np.nan), values)
    flags = np.flatnonzero(outputs.kind[which] == FLAG)
    values = values if values.flags.writeable or not len(flags) else values.copy()
    for at in flags.tolist():
        here = slice(int(data.start[at]), int(data.start[at + 1]))
        bits, mask = sent[here], outputs.mask[which[at]]
        known = np.abs(bits) < MAX_STATE if floating else np.ones(len(bits), dtype=np.bool_)
        values[here] = np.where(known, (np.where(known, bits, 0).astype(np.int64) & mask) == mask, np.nan)
    gives_data = outputs.data[which]
    if gives_data.any():
        _without_data(values, data.start, time, rate, which, outputs)
    return values


def _without_data(
    values: NDArray[np.float32],
    start: _Ints,
    time: _Ints,
    rate: NDArray[np.float64],
    which: _Ints,
    outputs: _Outputs,
) -> None:
    """Strain while its interferometer gives no data becomes NaN, in place."""
    sizes, scope, flag, strain = np.diff(start), outputs.scope[which], outputs.data[which], outputs.strain[which]
    inactive = values[np.repeat(flag, sizes)] == 0
    if not strain.any() or not inactive.any():
        return
    begin, piece = sample_times(time[flag], rate[flag], sizes[flag])
    begin, piece = begin[inactive], piece[inactive]
    end, of = begin + np.rint(NS / rate[flag][piece]).astype(np.int64), scope[flag][piece]
    for interferometer in np.unique(scope[strain]):
        here = of == interferometer
        spans = coalesce(np.stack([begin[here], end[here]], axis=1))
        for at in np.flatnonzero(strain & (scope == interferometer)).tolist():
            times, _ = sample_times(time[at : at + 1], rate[at : at + 1], sizes[at : at + 1])
            values[start[at] : start[at + 1]][contains(spans, times)] = np.nan
