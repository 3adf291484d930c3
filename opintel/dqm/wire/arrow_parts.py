"""Histograms of a lumisection, or published references, as one Arrow IPC stream or file: a row each.

The schema's metadata says of which lumisection they are (`opintel.dqm`, JSON: `heads.SentHead`, and `manifest` where it
brings that too). Columns: `path`, `values` (lists of numbers), `axes` (`elements.axes_text`), and where wanted
`storage`, `variances`, `entries`, `revision`, `cumulative`. Texts may be dictionary-coded. `opintel.dqm.wire` brings
messages here; everything in them is untrusted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.types as kinds
from numpy.typing import NDArray

from opintel.arrow_ipc import FAULTS, is_text, opened, texts
from opintel.columns import MAX_TEXT
from opintel.detector import Decoded
from opintel.dqm.elements import STORAGES
from opintel.dqm.histograms import MANIFEST_PATH, MAX_VALUES, HistogramRow, Histograms, Listing
from opintel.dqm.wire.assembly import Contents, histogram_rows, manifest_rows, wrong_path
from opintel.dqm.wire.heads import MAX_PATH, MAX_REVISION, Head, SentHead
from opintel.dqm.wire.shapes import Shape, Shapes
from opintel.rejects import Rejects, WrongRows
from opintel.rows import Arrays, Batch, TextColumn
from opintel.tables import NOTHING_READ

KEY = b"opintel.dqm"
"""Of the schema's metadata."""
MAX_BYTES = 16 << 20
"""Of a message."""
MAX_RECORDS = 100_000
"""Histograms of a message."""
MAX_HEAD = 1 << 17
"""Bytes of what the metadata say."""
COUNT = STORAGES.index("count")
_REQUIRED = ("path", "values", "axes")
_OPTIONAL = ("storage", "variances", "entries", "revision", "cumulative")
_WIDE = 1 << 26
"""More than a list in a message has values."""
_Ints = NDArray[np.int64]
_Bools = NDArray[np.bool_]


class _SentHead(SentHead):
    manifest: Listing | None = None


def decode(body: bytes, shapes: Shapes) -> Decoded[HistogramRow]:
    """The rows of a message and what is wrong with each bad histogram, or with all of it; never raises.

    The records are the rows of its batches; a manifest in its metadata is the one after the last of them.
    """
    parts: list[Batch[HistogramRow]] = []
    places: list[_Ints] = []
    rejects = Rejects()
    first, columns = 0, NOTHING_READ
    try:
        whole = opened(body, MAX_BYTES)
        head, listing = _head(whole.schema)
        batches, columns = whole.batches(_used(whole.schema), MAX_RECORDS)
        for batch in batches:
            if first == MAX_RECORDS:
                rejects.add(0, first, f"more than {MAX_RECORDS} histograms in a message: the rest was not read")
                break
            rows, n = _rows(head, batch, shapes, WrongRows(batch.num_rows, first, rejects))
            parts.append(rows)
            places.append(first + n)
            first += batch.num_rows
        if parts:
            parts, places = _once(Batch.joined(parts), np.concatenate(places), rejects)
        if listing is not None:
            parts.append(Batch.of(manifest_rows(head, listing), Histograms))
            places.append(np.full(len(parts[-1]), first))
    except FAULTS as problem:
        parts, places, rejects = [], [], Rejects()
        rejects.add(0, 0, f"not an Arrow message of histograms: {' '.join(str(problem).split())[:300]}")
        first = 1
    n = np.concatenate(places) if places else np.empty(0, dtype=np.int64)
    if not first and not len(n):
        rejects.add(0, 0, "no histogram in it")
    rows = Batch.joined(parts) if parts else Batch.of([], Histograms)
    return Decoded(rows, np.zeros(len(n), dtype=np.int64), n, rejects.found(), columns)


def _head(schema: pa.Schema) -> tuple[Head, Listing | None]:
    said = (schema.metadata or {}).get(KEY)
    if said is None:
        raise ValueError(f"expected the metadata {KEY.decode()!r} in the schema, got none")
    if len(said) > MAX_HEAD:
        raise ValueError(f"{KEY.decode()}: expected at most {MAX_HEAD} bytes, got {len(said)}")
    try:
        sent = msgspec.json.decode(said, type=_SentHead)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise ValueError(f"{KEY.decode()}: {error}") from None
    head = sent.checked()
    if head.reference and sent.manifest is not None:
        raise ValueError("expected references without a manifest, got one")
    return head, sent.manifest


def _used(schema: pa.Schema) -> list[int]:
    """The places of the columns that are read; ValueError if they are not what they should be."""
    names = schema.names
    used = [n for n, name in enumerate(names) if name in _REQUIRED or name in _OPTIONAL]
    if len({names[n] for n in used}) < len(used):
        raise ValueError("expected each column once, got one twice")
    if missing := [name for name in _REQUIRED if name not in names]:
        raise ValueError(f"no column {', '.join(missing)}")
    for n in used:
        right, fits = _FORMS[names[n]]
        if not fits(schema.field(n).type):
            raise ValueError(f"column {names[n]}: expected {right}, got {str(schema.field(n).type)[:100]}")
    return used


def _is_lists(kind: Any) -> bool:
    lists = kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind)
    return lists and _is_number(kind.value_type)


def _is_number(kind: Any) -> bool:
    return bool(kinds.is_integer(kind) or kinds.is_floating(kind))


_TEXT = ("string", is_text)
_FORMS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "path": _TEXT,
    "axes": _TEXT,
    "storage": _TEXT,
    "values": ("lists of numbers", _is_lists),
    "variances": ("lists of numbers", lambda kind: _is_lists(kind) or kinds.is_null(kind)),
    "entries": ("a number", lambda kind: _is_number(kind) or kinds.is_null(kind)),
    "revision": ("an integer", lambda kind: kinds.is_integer(kind) or kinds.is_null(kind)),
    "cumulative": ("a boolean", lambda kind: kinds.is_boolean(kind) or kinds.is_null(kind)),
}


def _rows(head: Head, batch: pa.RecordBatch, shapes: Shapes, wrong: WrongRows) -> tuple[Batch[HistogramRow], _Ints]:
    """The rows of a batch that are not `wrong`, and their places in it."""
    rows = batch.num_rows
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    for name in _OPTIONAL:
        if name in columns and kinds.is_null(columns[name].type):
            del columns[name]
    path = _paths(columns["path"], wrong)
    axes, x, size = _shapes(columns["axes"], shapes, wrong)
    storage = _storages(columns.get("storage"), rows, wrong)
    values = _arrays("values", columns["values"], wrong)
    _require_sizes("values", values.sizes, size, wrong)
    if "variances" in columns:
        variances = _arrays("variances", columns["variances"], wrong, often_none=True)
    else:
        variances = Arrays(np.empty(0, dtype="<f4"), np.zeros(rows + 1, dtype=np.int64))
    _require_sizes("variances", variances.sizes, np.where(storage == COUNT, 0, size), wrong)
    total = values.sizes + variances.sizes
    wrong.note(total > MAX_VALUES, total, lambda n: f"expected at most {MAX_VALUES} values and variances, got {n}")
    contents = Contents(
        path,
        axes,
        x,
        storage,
        values,
        variances,
        _revisions(columns.get("revision"), head, rows, wrong),
        _flags(columns.get("cumulative"), head, rows),
        _entries(columns.get("entries"), rows),
    )
    found = histogram_rows(head, contents)
    if not wrong.rows.any():
        return found, np.arange(rows)
    n = np.flatnonzero(~wrong.rows)
    return found.take(n), n


def _once(rows: Batch[HistogramRow], n: _Ints, rejects: Rejects) -> tuple[list[Batch[HistogramRow]], list[_Ints]]:
    """The rows of a message without those whose path and revision came before in it."""
    first = np.unique(rows.id, return_index=True)[1]
    if len(first) == len(rows):
        return [rows], [n]
    again = np.ones(len(rows), dtype=np.bool_)
    again[first] = False
    key, code = rows.key, np.where(again, rows.key.code, 0).astype(np.int64)
    index = np.flatnonzero(again)
    places = np.zeros_like(index)
    rejects.add_rows(
        places, n[index], code[index], lambda c: f"expected each histogram once, got {key.values[c]} twice"
    )
    kept = np.flatnonzero(~again)
    return [rows.take(kept)], [n[kept]]


def _paths(column: Any, wrong: WrongRows) -> TextColumn:
    """Wrong ones are empty."""
    values, code = texts(column, MAX_PATH)
    plain = values[:-1]
    joined, longest = "".join(filter(None, plain)), max(map(len, filter(None, plain)), default=0)
    # all at once, where nothing is wrong: a check of each costs as much as all else that is done with a path
    if joined.isprintable() and longest * (1 if joined.isascii() else 4) <= MAX_PATH:
        said = {n: wrong_path(path) for n, path in enumerate(plain) if not path or path == MANIFEST_PATH}
    else:
        said = {n: text for n, path in enumerate(plain) if (text := wrong_path(path))}
    said[len(plain)] = wrong_path(None)
    if len(said) > 1 or column.null_count:
        wrong.note(np.isin(code, list(said)), code, said.__getitem__)
    kept = ["" if path is None or n in said else path for n, path in enumerate(values)]
    return TextColumn(kept, code.astype(np.int32)).compact()


def _shapes(column: Any, shapes: Shapes, wrong: WrongRows) -> tuple[TextColumn, NDArray[np.int32], _Ints]:
    """(axes in their one form, values in x, values in all) of each row."""
    values, code = texts(column, MAX_TEXT)
    found: list[Shape] = []
    said: dict[int, str] = {}
    for n, text in enumerate(values):
        try:
            if text is None:
                raise ValueError("axes: expected a text, got None")
            found.append(shapes.of(text))
        except ValueError as error:
            said[n] = str(error)
            found.append(_NO_SHAPE)
    if len(said) > 1 or column.null_count:
        wrong.note(np.isin(code, list(said)), code, said.__getitem__)
    x = np.array([shape.x for shape in found], dtype=np.int32)
    size = np.array([shape.values for shape in found], dtype=np.int64)
    return TextColumn([shape.text for shape in found], code.astype(np.int32)).compact(), x[code], size[code]


_NO_SHAPE = Shape("", 0, 0)


def _storages(column: Any, rows: int, wrong: WrongRows) -> NDArray[np.int8]:
    if column is None:
        return np.full(rows, COUNT, dtype=np.int8)
    values, code = texts(column, 20)
    known: dict[str | None, int] = {**{name: n for n, name in enumerate(STORAGES)}, None: COUNT}
    number = np.array([known.get(text, -1) for text in values], dtype=np.int8)[code]
    wrong.note(number < 0, code, lambda c: f"storage: expected one of {', '.join(STORAGES)}, got {values[c]!r}")
    return np.maximum(number, 0)


def _arrays(name: str, column: Any, wrong: WrongRows, *, often_none: bool = False) -> Arrays:
    """Lists of numbers in single precision. A row without a list, or with a null in it, is wrong; where none is
    `often_none`, no list is an empty one."""
    kind = column.type
    if kinds.is_fixed_size_list(kind):
        start = (np.arange(len(column) + 1) + column.offset) * kind.list_size
    else:
        start = np.asarray(column.offsets, dtype=np.int64)
    inner = column.values
    if inner.null_count:
        nulls = np.zeros(len(inner) + 1, dtype=np.int64)
        np.cumsum(np.asarray(inner.is_null()), out=nulls[1:])
        wrong.note(
            nulls[start[1:]] > nulls[start[:-1]], start[1:] * 0, lambda _: f"{name}: expected numbers, got a null"
        )
    with np.errstate(over="ignore"):
        flat = np.asarray(inner).astype("<f4", copy=False)
    if column.null_count:
        none = np.asarray(column.is_null())
        if not often_none:
            wrong.note(none, start[1:] * 0, lambda _: f"{name}: expected a list of numbers, got None")
        flat, start = _without(flat, start, none)
    return Arrays(flat[start[0] : start[-1]], start - start[0])


def _without(flat: NDArray[Any], start: _Ints, none: _Bools) -> tuple[NDArray[Any], _Ints]:
    """The same, where rows that are none of a list have no entries."""
    sizes = np.where(none, 0, np.diff(start))
    bounds = np.zeros(len(start), dtype=np.int64)
    np.cumsum(sizes, out=bounds[1:])
    return flat[np.repeat(start[:-1] - bounds[:-1], sizes) + np.arange(bounds[-1])], bounds


def _require_sizes(name: str, sizes: _Ints, right: _Ints, wrong: WrongRows) -> None:
    differ = sizes != right
    if differ.any():
        code = np.minimum(right, MAX_VALUES) * _WIDE + np.minimum(sizes, _WIDE - 1)
        wrong.note(differ, code, lambda c: f"{name}: expected {c // _WIDE}, as the axes say, got {c % _WIDE}")


def _revisions(column: Any, head: Head, rows: int, wrong: WrongRows) -> NDArray[np.int32]:
    if column is None:
        return np.full(rows, head.revision, dtype=np.int32)
    number = np.asarray(column.fill_null(head.revision))
    bad = (number < 1) | (number > MAX_REVISION)
    wrong.note(bad, bad.astype(np.int64), lambda _: f"revision: expected 1 to {MAX_REVISION}, got another")
    return np.where(bad, 1, number).astype(np.int32)


def _flags(column: Any, head: Head, rows: int) -> NDArray[np.int8]:
    if column is None:
        return np.full(rows, head.cumulative, dtype=np.int8)
    return np.asarray(column.fill_null(head.cumulative)).astype(np.int8)


def _entries(column: Any, rows: int) -> NDArray[np.float64]:
    if column is None:
        return np.full(rows, np.nan)
    number = np.asarray(column.cast(pa.float64(), safe=False).fill_null(np.nan))
    return number.astype(np.float64, copy=False)
