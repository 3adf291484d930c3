"""The batched FTS wire: one message is an Arrow IPC stream of many complete records, a column for each field.

Forwarders and archives write it (`packed`), `opintel.fts.wire` brings it here. Everything in it is untrusted: only
plain columns are read, Arrow's own full validation runs on them, and nothing inflates. `docs/wire-formats.md`
describes it for those who write it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from opintel.arrow_ipc import FAULTS, checked, distinct
from opintel.detector import Decoded
from opintel.fts.transfers import ABORTED, OK, Transfer, Transfers
from opintel.fts.wire.fields import MAX_ERROR, MAX_MS, MIN_MS, host, shown
from opintel.fts.wire.message import Messages
from opintel.ids import MAX_BYTES as MAX_ID
from opintel.ids import hashed, natural_ids
from opintel.rejects import Rejects
from opintel.rows import Batch, TextColumn

MAX_MESSAGE = 64 << 20
"""Bytes of a message."""
MAX_RECORDS = 100_000
"""Records of a message."""
TEXTS = (
    *("_id", "activity", "dst_hostname", "endpnt", "file_id", "job_id", "log_link", "src_hostname"),
    *("t__error_message", "t_failure_phase", "tr_error_category", "tr_error_scope", "tr_id", "vo"),
)
WHOLE = (
    *("file_size", "retry", "t_error_code", "t_final_transfer_state_flag", "timestamp_tr_comp", "timestamp_tr_st"),
    *("tr_timestamp_complete", "tr_timestamp_start"),
)
REAL = ("throughput",)
ERROR = ("t__error_message", "tr_error_scope", "t_failure_phase", "t_error_code", "tr_error_category")
REQUIRED = ("dst_hostname", "src_hostname", "t_final_transfer_state_flag", "tr_timestamp_complete")
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in TEXTS),
        *((name, pa.int64()) for name in WHOLE),
        *((name, pa.float64()) for name in REAL),
    ]
)
_MS = 1_000_000
"""ns in a millisecond."""
_Ints = NDArray[np.int64]
_Hosts = tuple[TextColumn, TextColumn, TextColumn]
"""Endpoint, source and destination."""


def packed(records: Iterable[Mapping[str, Any]]) -> bytes:
    """Complete messages' `data` (and their `_id`) as one Arrow message."""
    table = pa.Table.from_pylist([dict(record) for record in records], SCHEMA)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def decode(bodies: Sequence[bytes], instance: str, texts: Messages) -> Decoded[Transfer]:
    """The rows of Arrow messages and what is wrong with each bad record, or with a whole message; never raises.

    `instance`: the scope of records that name none; `texts` makes texts fit to be kept.
    """
    batches: list[pa.RecordBatch] = []
    places: list[tuple[int, int]] = []
    rejects = Rejects()
    for at, body in enumerate(bodies):
        try:
            found = _read(body)
        except FAULTS as problem:
            reason = f"not an Arrow message of transfers: {' '.join(str(problem).split())[:300]}"
            rejects.add(at, 0, reason)
        else:
            batches += found
            places.append((at, sum(batch.num_rows for batch in found)))
    table = pa.Table.from_batches(batches, schema=SCHEMA).combine_chunks()
    message = np.repeat(*np.array(places, dtype=np.int64).reshape(-1, 2).T)
    n = np.concatenate([np.arange(rows) for _, rows in places]) if places else message
    batch = pa.RecordBatch.from_arrays(
        [c.chunk(0) if c.num_chunks else pa.nulls(0, c.type) for c in table.columns], schema=SCHEMA
    )
    hosts = (
        _hosts(batch.column("endpnt"), instance),
        _hosts(batch.column("src_hostname"), ""),
        _hosts(batch.column("dst_hostname"), ""),
    )
    wrong = _wrong(batch, hosts, message, n, rejects)
    if wrong.any():
        kept = np.flatnonzero(~wrong)
        batch, message, n = batch.take(pa.array(kept)), message[kept], n[kept]
        hosts = (hosts[0].take(kept), hosts[1].take(kept), hosts[2].take(kept))
    return Decoded(_rows(batch, hosts, texts), message, n, rejects.found())


def _read(body: bytes) -> list[pa.RecordBatch]:
    """The record batches of a message: the columns in use, validated, those that were left out as nulls."""
    if len(body) > MAX_MESSAGE:
        raise ValueError(f"expected at most {MAX_MESSAGE} bytes, got {len(body)}")
    stream = checked(body)
    schema = pa.ipc.open_stream(stream).schema
    present = schema.names  # a new list at each access
    used = [n for n, name in enumerate(present) if name in SCHEMA.names]
    names = [present[n] for n in used]
    if len(set(names)) < len(names):
        raise ValueError("expected each column once, got one twice")
    if missing := sorted(set(REQUIRED).difference(names)):
        raise ValueError(f"no column {', '.join(missing)}")
    for n in used:
        _require(schema.field(n))
    batches, rows = [], 0
    for batch in pa.ipc.open_stream(stream, options=pa.ipc.IpcReadOptions(included_fields=used)):
        rows += batch.num_rows
        if rows > MAX_RECORDS:
            raise ValueError(f"more than {MAX_RECORDS} records")
        batch.validate(full=True)
        have = dict(zip(names, batch.columns, strict=True))
        columns = [
            have[field.name].cast(field.type) if field.name in have else pa.nulls(batch.num_rows, field.type)
            for field in SCHEMA
        ]
        batches.append(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
    return batches


def _require(field: Any) -> None:
    """Raises ValueError unless a column has the type of its kind."""
    kind, right = field.type, SCHEMA.field(field.name).type
    if pa.types.is_string(right):
        fine = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    elif pa.types.is_integer(right):
        fine = pa.types.is_signed_integer(kind)
    else:
        fine = pa.types.is_float32(kind) or pa.types.is_float64(kind)
    if not fine:
        raise ValueError(f"column {field.name}: expected {right}, got {kind}")


def _wrong(batch: pa.RecordBatch, hosts: _Hosts, message: _Ints, n: _Ints, rejects: Rejects) -> NDArray[np.bool_]:
    """(rows,) which rows cannot be taken; `rejects` learns why."""
    wrong = np.zeros(batch.num_rows, dtype=np.bool_)

    def note(rows: NDArray[np.bool_], name: str, right: str) -> None:
        index = np.flatnonzero(rows & ~wrong)
        wrong[index] = True
        value, code = distinct(batch.column(name).take(pa.array(index)))
        rejects.add_rows(message[index], n[index], code, lambda c: f"{name}: expected {right}, got {shown(value(c))}")

    for name, (values, code) in zip(("endpnt", "src_hostname", "dst_hostname"), hosts, strict=True):
        note(np.array([not value for value in values], dtype=bool)[code], name, "a host name")
    end = _whole(batch.column("tr_timestamp_complete"))
    in_time = (end >= MIN_MS) & (end < MAX_MS)
    note(~in_time, "tr_timestamp_complete", "ms since 1970 in the years 2000 to 2100")
    outcome = _whole(batch.column("t_final_transfer_state_flag"), ABORTED - 1)
    note((outcome < ABORTED) | (outcome > OK), "t_final_transfer_state_flag", "1, 0 or -1")
    for name in ("_id", "tr_id", "job_id", "file_id"):
        note(_lengths(_text(batch.column(name))) > MAX_ID, name, f"at most {MAX_ID} bytes")
    return wrong


def _rows(batch: pa.RecordBatch, hosts: _Hosts, texts: Messages) -> Batch[Transfer]:
    """The rows of records that are all right."""
    whole = {name: _whole(batch.column(name)) for name in WHOLE}
    end, start = whole["tr_timestamp_complete"], whole["tr_timestamp_start"]
    good = whole["t_final_transfer_state_flag"] == OK
    size = np.maximum(whole["file_size"], 0)
    sent = np.nan_to_num(_real(batch.column("throughput")), nan=0.0, posinf=0.0, neginf=0.0)
    begin, stop = whole["timestamp_tr_st"], whole["timestamp_tr_comp"]
    flowed = (begin >= MIN_MS) & (begin < stop) & (stop < MAX_MS)
    reckoned = np.divide(size * 1000.0, stop - begin, out=np.zeros(len(size)), where=flowed)
    known = (start >= MIN_MS) & (start < end)
    none = np.zeros(len(size), dtype=np.int64)
    row_id, failed = _ids(batch, whole), np.flatnonzero(~good)
    logs = [texts.log(*said) for said in _said(batch, failed, ("job_id", "log_link"))]
    jobs, links = ([log[part] for log in logs] for part in (0, 1))
    transfers = Transfers(
        none.astype(np.int8),
        _files(batch, row_id),
        whole["t_final_transfer_state_flag"].astype(np.int8),
        _errors(batch, failed, texts),
        size,
        np.where(good, np.where(sent > 0, sent, reckoned), 0.0),
        np.where(known, (end - start) / 1000.0, 0.0),
        none,
        none,
        _names(batch.column("vo"), texts),
        _names(batch.column("activity"), texts),
        *(TextColumn.among(failed, column, len(size)) for column in (jobs, links)),
    )
    return Batch(_keys(hosts), end * _MS, row_id, transfers)


def _ids(batch: pa.RecordBatch, whole: Mapping[str, _Ints]) -> _Ints:
    """A record's id: of its `_id`, else of `tr_id` and `retry`, else of all that tells it from others."""
    given, by_try = _text(batch.column("_id")), _text(batch.column("tr_id"))
    ids = _hashed(given)
    if (_lengths(given) > 0).all():
        return ids
    ids = np.where(_lengths(given) > 0, ids, _hashed(by_try, whole["retry"]))
    if (_lengths(given) + _lengths(by_try) > 0).all():
        return ids
    of_all = whole["retry"] ^ whole["tr_timestamp_complete"] * 3 + whole["t_final_transfer_state_flag"]
    for name in ("job_id", "file_id", "src_hostname", "dst_hostname"):
        of_all = _hashed(_text(batch.column(name)), of_all)
    return np.where(_lengths(given) + _lengths(by_try) > 0, ids, of_all)


def _files(batch: pa.RecordBatch, row_id: _Ints) -> _Ints:
    """A hash of job and file id, that of other messages about the file; without a file id the row's own, so that
    strangers do not pass for retries."""
    jobs, files = _text(batch.column("job_id")).to_pylist(), _text(batch.column("file_id")).to_pylist()
    ids = natural_ids([f"{job.strip()}\x1f{file.strip()}" for job, file in zip(jobs, files, strict=True)])
    return np.where(np.array([bool(file.strip()) for file in files], dtype=np.bool_), ids, row_id)


def _keys(hosts: _Hosts) -> TextColumn:
    """The rows' keys."""
    (endpoints, e), (sources, s), (destinations, d) = hosts
    joined = pa.array((e.astype(np.int64) * len(sources) + s) * len(destinations) + d).dictionary_encode()
    keys = []
    for code in joined.dictionary.to_pylist():
        rest, destination = divmod(code, len(destinations))
        endpoint, source = divmod(rest, len(sources))
        keys.append(f"{endpoints[endpoint]}|{sources[source]}|{destinations[destination]}")
    return TextColumn(keys, np.asarray(joined.indices, dtype=np.int32)).ordered()


def _hosts(column: pa.StringArray, default: str) -> TextColumn:
    """The hosts of a column; empty where it holds none, `default` where it holds nothing."""
    coded = _text(column).dictionary_encode()
    hosts = [host(text) if text else default for text in coded.dictionary.to_pylist()]
    return TextColumn(hosts, np.asarray(coded.indices, dtype=np.int32))


def _errors(batch: pa.RecordBatch, failed: _Ints, texts: Messages) -> TextColumn:
    """The errors of what failed, nothing for the rest."""
    return TextColumn.among(failed, [texts.error(*said) for said in _said(batch, failed, ERROR)], batch.num_rows)


def _said(batch: pa.RecordBatch, rows: _Ints, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Of these rows the values of the columns of these names; texts are cut."""
    columns = [batch.column(name).take(pa.array(rows)) for name in names]
    cut = [
        pc.utf8_slice_codeunits(_text(column), 0, MAX_ERROR) if pa.types.is_string(column.type) else column
        for column in columns
    ]
    return zip(*(column.to_pylist() for column in cut), strict=True)


def _names(column: pa.StringArray, texts: Messages) -> TextColumn:
    """The VOs or activities of a column."""
    coded = pc.utf8_slice_codeunits(_text(column), 0, MAX_ERROR).dictionary_encode()
    names = [texts.name(name) for name in coded.dictionary.to_pylist()]
    return TextColumn(names, np.asarray(coded.indices, dtype=np.int32)).ordered()


def _text(column: Any) -> pa.StringArray:
    return column.fill_null("") if column.null_count else column


def _whole(column: Any, null: int = 0) -> _Ints:
    return np.asarray(column.fill_null(null) if column.null_count else column, dtype=np.int64)


def _real(column: Any) -> NDArray[np.float64]:
    return np.asarray(column.fill_null(0.0) if column.null_count else column, dtype=np.float64)


def _lengths(column: pa.StringArray) -> _Ints:
    return np.diff(_buffers(column)[1])


def _hashed(column: pa.StringArray, seed: _Ints | int = 0) -> _Ints:
    return hashed(*_buffers(column), seed)


def _buffers(column: pa.StringArray) -> tuple[NDArray[np.uint8], _Ints]:
    """(bytes, offsets) of a column without nulls."""
    _, offsets, data = column.buffers()
    end = column.offset + len(column) + 1
    bounds = np.frombuffer(offsets, dtype=np.int32, count=end)[column.offset :] if offsets else [0]
    return np.frombuffer(data or b"", dtype=np.uint8), np.asarray(bounds, dtype=np.int64)
