"""The batched wire: the same transfers as the single messages say, bad records by their number, nothing inflates."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opintel.detector import Decoded, Message
from opintel.fts.simulated.simulate import FtsSimulator
from opintel.fts.wire import FtsWire
from opintel.fts.wire.arrow import MAX_RECORDS, SCHEMA, packed

GOOD: dict[str, Any] = {
    "_id": "m-1",
    "src_hostname": "se01.a.example",
    "dst_hostname": "se02.b.example",
    "job_id": "job-1",
    "file_id": "7",
    "file_size": 4_000_000,
    "t_final_transfer_state_flag": 1,
    "tr_timestamp_complete": 1772431204000,
}
WIRE = FtsWire()


def decode(*bodies: bytes) -> Decoded[Any]:
    return WIRE.decode([Message(body) for body in bodies])


def stream(batch: pa.RecordBatch, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


@cache
def complete() -> list[dict[str, Any]]:
    """An hour's complete messages of a grid with faults."""
    story = FtsSimulator(seed=5, hours=1.0, rate=1500.0, faults=("endpoint-down",))
    messages = [json.loads(body) for _, body in story.messages()]
    return [m for m in messages if m["metadata"]["type"] == "complete"]


def plain(message: dict[str, Any]) -> dict[str, Any]:
    return {**message["data"], "_id": message["metadata"]["_id"]}


def test_a_file_has_one_hash_in_both_forms() -> None:
    state = {"source_se": "davs://se01.a.example", "dest_se": "davs://se02.b.example", "job_id": "job-1", "file_id": 7}
    said = decode(json.dumps({**state, "file_state": "FINISHED", "timestamp": 1772431204000}).encode(), packed([GOOD]))
    assert len(set(said.rows.payload.file.tolist())) == 1
    assert len(said.rows) == 2


def test_it_says_what_single_messages_say() -> None:
    single = decode(*(json.dumps(m).encode() for m in complete()))
    messages = [plain(m) for m in complete()]
    batched = decode(packed(messages[:700]), packed(messages[700:]))
    assert len(single.rows) == len(batched.rows) > 1000
    assert not batched.rejects
    assert batched.message.tolist() == [0] * 700 + [1] * (len(messages) - 700)
    assert batched.n.tolist() == [*range(700), *range(len(messages) - 700)]
    for one, other in zip(single.rows.rows(), batched.rows.rows(), strict=True):
        other.payload.file, other.id = one.payload.file, one.id  # of another hash
        assert one == other
    # the two hashes tell the same files and messages apart
    for column in ("id", "file"):
        pairs = [(b.rows.id if column == "id" else b.rows.payload.file).tolist() for b in (single, batched)]
        assert len(set(zip(*pairs, strict=True))) == len(set(pairs[0])) == len(set(pairs[1]))


def test_copies_have_one_id_whatever_batch_they_come_in() -> None:
    first = decode(packed([GOOD, {**GOOD, "_id": "m-2"}]))
    again = decode(packed([{**GOOD, "_id": "x"}, {**GOOD, "_id": "x"}, GOOD]))
    assert first.rows.id[0] == again.rows.id[2] != first.rows.id[1]
    assert again.rows.id[0] == again.rows.id[1]
    without = {**GOOD, "_id": None}
    tries = [{**without, "tr_id": "t", "retry": n} for n in (0, 1)]
    bare = [{**without, "retry": n} for n in (0, 1)]
    ids = [decode(packed(records)).rows.id.tolist() for records in (tries, bare, [tries[1], bare[1]])]
    assert len({*ids[0], *ids[1]}) == 4
    assert ids[2] == [ids[0][1], ids[1][1]]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"src_hostname": "a|b"}, "src_hostname: expected a host name, got 'a|b'"),
        ({"dst_hostname": None}, "dst_hostname: expected a host name, got None"),
        ({"endpnt": "fts|x"}, "endpnt: expected a host name, got 'fts|x'"),
        ({"tr_timestamp_complete": 5}, "tr_timestamp_complete: expected ms since 1970"),
        ({"tr_timestamp_complete": -(2**63)}, "tr_timestamp_complete: expected ms since 1970"),
        ({"t_final_transfer_state_flag": 7}, "t_final_transfer_state_flag: expected 1, 0 or -1, got 7"),
        ({"t_final_transfer_state_flag": None}, "t_final_transfer_state_flag: expected 1, 0 or -1, got None"),
        ({"job_id": "x" * 600}, "expected at most 512 bytes, got"),
    ],
)
def test_a_bad_record_is_named_by_its_number_and_the_others_go_on(changes: dict[str, Any], reason: str) -> None:
    found = decode(packed([GOOD, {**GOOD, **changes}, {**GOOD, "_id": "m-3"}]))
    assert found.n.tolist() == [0, 2]
    [reject] = found.rejects
    assert (reject.message, reject.records) == (0, [1])
    assert reason in reject.reason


def test_what_is_left_out_is_reckoned_or_nothing() -> None:
    begin = {"timestamp_tr_st": 1772431201000, "timestamp_tr_comp": 1772431203000}
    records = [
        {**GOOD, **begin},
        {**GOOD, **begin, "throughput": 5.0},
        {**GOOD, "throughput": float("nan")},
        {**GOOD, "t_final_transfer_state_flag": 0, "throughput": 5.0, "t__error_message": "in /store/user/jdoe/x\n"},
        {**GOOD, "file_id": None, "endpnt": "FTS3.cern.ch", "tr_timestamp_start": 1772431200000, "file_size": -5},
    ]
    rows = list(decode(packed(records)).rows.rows())
    assert [row.payload.throughput for row in rows] == [2e6, 5.0, 0.0, 0.0, 0.0]
    assert rows[3].payload.error.startswith("in /store/user/user-")
    assert rows[3].payload.error.isprintable()
    assert rows[0].key == "fts.example.org|se01.a.example|se02.b.example"
    assert rows[4].key.startswith("fts3.cern.ch|")
    assert (rows[4].payload.file, rows[4].payload.bytes, rows[4].payload.duration) == (rows[4].id, 0, 4.0)


def required(**columns: pa.Array) -> pa.RecordBatch:
    fields = {name: pa.array([GOOD[name]], SCHEMA.field(name).type) for name in GOOD if name != "_id"} | columns
    return pa.RecordBatch.from_pydict(fields)


def test_other_columns_and_narrow_types_are_taken() -> None:
    batch = required(
        file_metadata=pa.array([["x"]]),
        t_final_transfer_state_flag=pa.array([1], pa.int8()),
        src_hostname=pa.array(["se01.a.example"], pa.large_string()),
        throughput=pa.array([2.0], pa.float32()),
    )
    assert decode(stream(batch)).rows.row(0).payload.throughput == 2.0


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (stream(required(), compression="zstd"), "expected plain buffers"),
        (stream(required(), compression="lz4"), "expected plain buffers"),
        (stream(required(src_hostname=pa.array(["a"]).dictionary_encode())), "dictionary-encoded"),
        (stream(required(src_hostname=pa.array([1]))), "column src_hostname: expected string, got int64"),
        (stream(required(file_size=pa.array([1], pa.uint64()))), "column file_size: expected int64, got uint64"),
        (stream(required().drop_columns(["src_hostname"])), "no column src_hostname"),
        (stream(pa.RecordBatch.from_arrays([pa.array(["a"])] * 2, names=["job_id"] * 2)), "expected each column once"),
        (packed([GOOD] * (MAX_RECORDS + 1)), "more than 100000 records"),
        (b"\xff\xff\xff\xff", "not an Arrow message of transfers"),
        (b"\xff\xff\xff\xff" + b"\xff" * 100, "not an Arrow message of transfers"),
        (packed([GOOD])[:-300], "not an Arrow message of transfers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_message_that_is_not_right_is_refused_whole(body: bytes, reason: str) -> None:
    found = decode(packed([GOOD]), body, packed([GOOD]))
    assert found.message.tolist() == [0, 2]
    [reject] = found.rejects
    assert reject.message == 1
    assert reason in reject.reason


def test_text_that_is_not_utf8_is_refused() -> None:
    body = packed([{**GOOD, "job_id": "job-\u00e9\u00e9"}])
    [reject] = decode(body.replace("é".encode(), b"\xff\xff")).rejects
    assert "UTF8" in reject.reason


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_messages_never_raise(data: st.DataObject) -> None:
    body = bytearray(packed([GOOD, {**GOOD, "t__error_message": "boom", "t_final_transfer_state_flag": 0}]))
    for _ in range(data.draw(st.integers(1, 6))):
        body[data.draw(st.integers(4, len(body) - 1))] = data.draw(st.integers(0, 255))
    found = decode(bytes(body))
    assert len(found.rows) == len(found.message) == len(found.n) <= MAX_RECORDS
    for row in found.rows.rows():
        assert row.key.count("|") == 2
        assert 0 <= row.payload.throughput < np.inf
        row.payload.error.encode()
