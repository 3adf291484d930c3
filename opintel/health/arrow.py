"""The batched health wire: one message is an Arrow IPC stream or file of many samples, a row each.

Columns: `timestamp` (an Arrow timestamp, naive ones being UTC; or int64, float64 of s, ms, us, ns), `value` (a number),
`name` (texts), and `labels` (a map of texts, a struct of texts, or JSON) or, where that is left out, a label for each
further column of texts. Texts may be dictionary-coded; nulls among the labels are none; other columns are passed over
unread. `opintel.health.wire` brings messages here; everything in them is untrusted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.types as kinds
from numpy.typing import NDArray

from opintel.arrow_ipc import FAULTS, distinct, is_text, opened, texts
from opintel.detector import Decoded
from opintel.finding import NS
from opintel.health.bounds import EARLIEST, LARGEST, LATEST, MAX_BYTES, MAX_KEY, MAX_LABELS, MAX_RECORDS, UNITS
from opintel.health.samples import Sample, Samples
from opintel.rejects import Rejects, WrongRows
from opintel.rows import Batch, TextColumn, coded
from opintel.tables import NOTHING_READ

MAX_JSON = 16 * MAX_KEY
"""Characters of a series' labels in JSON."""
_NS_IN = {"s": NS, "ms": 10**6, "us": 10**3, "ns": 1}
_json = msgspec.json.Decoder(dict[str, Any])
_Ints = NDArray[np.int64]
_Bools = NDArray[np.bool_]
_Series = Callable[[Any, dict[Any, Any]], str]
"""(name, labels) → a row's key, or ValueError that says what is wrong with them."""


class _Part(NamedTuple):
    """What a column says of the series: rows of one code are of one series, as far as it knows."""

    codes: list[_Ints]
    """(rows,) each."""
    labels: Callable[[int], dict[str, Any]]
    """Row → its labels; ValueError if it has none that can be read."""


def decode(body: bytes, series: _Series) -> Decoded[Sample]:
    """The rows of a message and what is wrong with each bad sample, or with all of it; never raises.

    `series` makes a key of a name and labels; it is asked once for each that differ.
    """
    parts: list[Batch[Sample]] = [Batch.of([], Samples)]
    places: list[_Ints] = [np.empty(0, dtype=np.int64)]
    rejects = Rejects()
    first, columns = 0, NOTHING_READ
    try:
        whole = opened(body, MAX_BYTES)
        batches, columns = whole.batches(_used(whole.schema), MAX_RECORDS)
        for batch in batches:
            if first == MAX_RECORDS:
                rejects.add(0, first, f"more than {MAX_RECORDS} samples in a message: the rest was not read")
                break
            rows, n = _rows(batch, series, WrongRows(batch.num_rows, first, rejects))
            parts.append(rows)
            places.append(first + n)
            first += batch.num_rows
    except FAULTS as problem:
        parts, places, rejects = parts[:1], places[:1], Rejects()
        rejects.add(0, 0, f"not an Arrow message of samples: {' '.join(str(problem).split())[:300]}")
        first = 1
    if not first:
        rejects.add(0, 0, "no sample in it")
    n = np.concatenate(places)
    return Decoded(Batch.joined(parts), np.zeros(len(n), dtype=np.int64), n, rejects.found(), columns)


def _used(schema: pa.Schema) -> list[int]:
    """The places of the columns that are read; ValueError if they are not what they should be."""
    names = schema.names
    labelled = "labels" in names
    used = [
        n
        for n, name in enumerate(names)
        if name in ("timestamp", "value", "name", "labels") or (not labelled and is_text(schema.field(n).type))
    ]
    if len({names[n] for n in used}) < len(used):
        raise ValueError("expected each column once, got one twice")
    if missing := [name for name in ("timestamp", "value") if name not in names]:
        raise ValueError(f"no column {', '.join(missing)}")
    if len(used) > MAX_LABELS + 3:
        raise ValueError(f"expected at most {MAX_LABELS} labels, got {len(used) - 3}")
    for n in used:
        _require(names[n], schema.field(n).type)
    return used


def _require(name: str, kind: Any) -> None:
    """Raises ValueError unless a column is of a kind that is read."""
    if name == "timestamp":
        fine = kinds.is_timestamp(kind) or kinds.is_signed_integer(kind) or kinds.is_float64(kind)
        right = "a timestamp, int64 or float64"
    elif name == "value":
        fine = kinds.is_integer(kind) or kinds.is_float32(kind) or kinds.is_float64(kind)
        right = "float64 or an integer"
    elif name == "labels":
        fine = is_text(kind) or (kinds.is_map(kind) and is_text(kind.key_type) and is_text(kind.item_type))
        if kinds.is_struct(kind):
            fields = [kind.field(n) for n in range(kind.num_fields)]
            fine = len(fields) <= MAX_LABELS and all(is_text(field.type) for field in fields)
        right = f"a map of texts, a struct of at most {MAX_LABELS} texts, or JSON"
    else:
        fine, right = is_text(kind), "string"
    if not fine:
        raise ValueError(f"column {name}: expected {right}, got {str(kind)[:100]}")


def _rows(batch: pa.RecordBatch, series: _Series, wrong: WrongRows) -> tuple[Batch[Sample], _Ints]:
    """The rows of a batch that are not `wrong`, and their places in it."""
    key = _keys(batch, series, wrong)
    column = batch.column("timestamp")
    time, given = _times(column)
    if not given.all():
        shown, code = distinct(column.cast(pa.int64()) if kinds.is_timestamp(column.type) else column)
        right = "a time is s, ms, us, ns in 2000 to 2100"
        wrong.note(~given, code, lambda c: f"{right}, got {str(shown(c))[:100]}")
    column = batch.column("value")
    missing = _nulls(column)
    wrong.note(missing, missing.astype(np.int64), lambda _: "value: expected a number, got None")
    value = _real(column)
    missing = ~(np.abs(value) <= LARGEST)
    samples = Samples(np.where(missing, 0.0, value), missing.astype(np.int8))
    rows: Batch[Sample] = Batch(key, time, time, samples)
    n = np.arange(batch.num_rows)
    if not wrong.rows.any():
        return rows, n
    n = np.flatnonzero(~wrong.rows)
    return rows.take(n), n


def _times(column: Any) -> tuple[_Ints, _Bools]:
    """(ns UTC, whether it is a time) of each row, as the JSON wire takes numbers."""
    found = np.zeros(len(column), dtype=np.int64)
    good = np.zeros(len(column), dtype=np.bool_)
    units: Sequence[int] = UNITS
    if kinds.is_timestamp(column.type):
        units, column = [_NS_IN[column.type.unit]], column.cast(pa.int64())
    given = ~_nulls(column)
    if kinds.is_floating(column.type):
        real = _real(column)
        for unit in units:
            with np.errstate(over="ignore", invalid="ignore"):
                fits = given & (real * unit >= EARLIEST) & (real * unit < LATEST)
            whole = np.trunc(real[fits])
            thousandths = np.rint((real[fits] - whole) * 1000).astype(np.int64)
            found[fits] = whole.astype(np.int64) * unit + thousandths * unit // 1000
            good |= fits
    else:
        number = np.asarray(column.fill_null(0), dtype=np.int64)
        for unit in units:
            fits = given & (number >= EARLIEST // unit) & (number < LATEST // unit)
            found[fits] = number[fits] * unit
            good |= fits
    return found, good


def _keys(batch: pa.RecordBatch, series: _Series, wrong: WrongRows) -> TextColumn:
    """The rows' keys; empty where `wrong` says why there is none."""
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    names, of_name = texts(columns["name"] if "name" in columns else pa.nulls(batch.num_rows, pa.string()), MAX_KEY)
    if "labels" not in columns:
        part = _fields(
            [(name, column) for name, column in columns.items() if name not in ("timestamp", "value", "name")]
        )
    elif kinds.is_map(columns["labels"].type):
        part = _mapped(columns["labels"], wrong)
    elif kinds.is_struct(kind := columns["labels"].type):
        part = _fields([(kind.field(n).name, c) for n, c in enumerate(columns["labels"].flatten())])
    else:
        part = _parsed(columns["labels"])
    code, first = _joint([of_name, *part.codes])
    keys, said = [], {}
    for n, row in enumerate(first.tolist()):
        try:
            keys.append(series(names[of_name[row]], part.labels(row)))
        except ValueError as error:
            keys.append("")
            said[n] = str(error)[:300]
    if said:
        wrong.note(np.isin(code, list(said)), code, said.__getitem__)
    values, places = coded(keys)  # labels in another order make the same key
    return TextColumn(values, places[code])


def _fields(columns: Sequence[tuple[str, Any]]) -> _Part:
    """Labels with a column each."""
    found = [(name, *texts(column, MAX_KEY)) for name, column in columns]

    def labels(row: int) -> dict[str, Any]:
        here = ((name, values[code[row]]) for name, values, code in found)
        return {name: value for name, value in here if value is not None}

    return _Part([code for _, _, code in found], labels)


def _mapped(column: Any, wrong: WrongRows) -> _Part:
    """Labels in a map; a row with more of them than MAX_LABELS goes into `wrong` and passes for one with none."""
    keys, of_key = texts(column.keys, MAX_KEY)
    items, of_item = texts(column.items, MAX_KEY)
    start = np.asarray(column.offsets, dtype=np.int64)
    length = np.where(_nulls(column), 0, np.diff(start))
    wrong.note(length > MAX_LABELS, length, lambda labels: f"{labels} labels; at most {MAX_LABELS}")
    length[length > MAX_LABELS] = 0
    pair = of_key * len(items) + of_item + 1
    codes = []
    for n in range(int(length.max(initial=0))):
        code = np.zeros(len(length), dtype=np.int64)
        there = np.flatnonzero(length > n)
        code[there] = pair[start[there] + n]
        codes.append(code)

    def labels(row: int) -> dict[str, Any]:
        here = slice(start[row], start[row] + length[row])
        pairs = zip(of_key[here].tolist(), of_item[here].tolist(), strict=True)
        return {str(keys[k]): items[i] for k, i in pairs if items[i] is not None}

    return _Part(codes, labels)


def _parsed(column: Any) -> _Part:
    """Labels in JSON."""
    values, code = texts(column, MAX_JSON)
    found: list[dict[str, Any] | None] = []
    for text in values:
        try:
            found.append(_json.decode(text) if text else {})
        except (msgspec.DecodeError, RecursionError):
            found.append(None)

    def labels(row: int) -> dict[str, Any]:
        here: dict[str, Any] | None = found[code[row]]
        if here is None:
            raise ValueError(f"labels: expected a mapping of texts, in JSON, got {str(values[code[row]])[:100]!r}")
        return here

    return _Part([code], labels)


def _joint(codes: Iterable[_Ints]) -> tuple[_Ints, _Ints]:
    """((rows,) one code for all of these together, (codes,) the first row of each)."""
    joint: _Ints = np.zeros(0, dtype=np.int64)
    for n, code in enumerate(codes):
        both = joint * (int(code.max(initial=0)) + 1) + code if n else code
        joint = np.asarray(pa.array(both).dictionary_encode().indices, dtype=np.int64)
    first = np.empty(int(joint.max(initial=-1)) + 1, dtype=np.int64)
    first[joint[::-1]] = np.arange(len(joint))[::-1]  # of several writes to one place the last one stays
    return joint, first


def _nulls(column: Any) -> _Bools:
    return np.asarray(column.is_null()) if column.null_count else np.zeros(len(column), dtype=np.bool_)


def _real(column: Any) -> NDArray[np.float64]:
    filled = column.fill_null(0) if column.null_count else column
    return np.asarray(filled.cast(pa.float64(), safe=False), dtype=np.float64)
