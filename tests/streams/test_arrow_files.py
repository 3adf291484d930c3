"""Arrow IPC streams and files as a source: batches and their slices, exact resumption, growth, damage by file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opintel.detector import Message
from opintel.streams.connectors.columnar import MAX_SLICE, SLICE
from opintel.streams.connectors.files import FilePosition, FileSource

FORMS = {"stream": pa.ipc.new_stream, "file": pa.ipc.new_file}


@pytest.fixture(params=FORMS)
def new(request: pytest.FixtureRequest) -> Callable[..., pa.RecordBatchWriter]:
    """How a writer is opened."""
    return FORMS[request.param]


def batches(*rows: int) -> list[pa.RecordBatch]:
    starts = np.cumsum([0, *rows[:-1]])
    return [pa.record_batch({"n": pa.array(np.arange(s, s + n))}) for s, n in zip(starts, rows, strict=True)]


def written(path: Path, new: Callable[..., pa.RecordBatchWriter], *rows: int, **options: object) -> Path:
    """Batches of so many rows, numbered through."""
    its = batches(*rows)
    with new(str(path), its[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in its:
            writer.write_batch(batch)
    return path


def read_all(source: FileSource, limit: int = 1000) -> list[Message]:
    out: list[Message] = []
    position: FilePosition | None = None
    while True:
        before = position
        messages, position = source.read(before, limit, final=True)
        assert source.between(before, position) == messages
        if not messages:
            assert source.at_end(position, final=True)
            return out
        out += messages


def content_of(message: Message) -> list[int]:
    assert message.form == "json"
    return pa.ipc.open_stream(message.body).read_all()["n"].to_pylist()


def test_a_batch_is_a_message_and_a_large_one_several(tmp_path: Path, new: Callable[..., pa.RecordBatchWriter]) -> None:
    source = FileSource([written(tmp_path / "a.arrow", new, 5, 0, 2 * SLICE + 1, 3)])
    messages = read_all(source)
    assert [len(content_of(m)) for m in messages] == [5, SLICE, SLICE, 1, 3]
    assert [n for m in messages for n in content_of(m)] == list(range(2 * SLICE + 9))
    assert [(m.file, m.row, m.index) for m in messages] == [("a.arrow", n, n) for n in range(5)]
    for limit in (1, 2, 3):
        assert read_all(source, limit) == messages


def test_compressed_batches_and_dictionaries_come_plain(
    tmp_path: Path, new: Callable[..., pa.RecordBatchWriter]
) -> None:
    texts = [["a", "b", "a"], ["a", "b", "c"], ["d"]]
    columns = [pa.array(text).dictionary_encode() for text in texts]
    options = pa.ipc.IpcWriteOptions(
        compression="zstd", emit_dictionary_deltas=new is FORMS["stream"], unify_dictionaries=new is FORMS["file"]
    )
    table = pa.Table.from_batches([pa.record_batch({"text": column}) for column in columns])
    with new(str(tmp_path / "a.arrow"), table.schema, options=options) as writer:
        writer.write_table(table)
    messages = read_all(FileSource([tmp_path]), 1)
    assert [pa.ipc.open_stream(m.body).read_all()["text"].to_pylist() for m in messages] == texts


def test_a_file_may_hold_streams_one_behind_the_other(tmp_path: Path) -> None:
    """Each with its own schema; what it says under opintel.* goes with the messages, what pandas says does not."""
    path = tmp_path / "a.arrow"
    content = b""
    for n in range(4):
        metadata = {"opintel.x": str(n), "pandas": "x" * 1000}
        sink = pa.BufferOutputStream()
        table = pa.table({f"column{n % 2}": [n, n + 1]}, metadata=metadata)
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        content += sink.getvalue().to_pybytes()
    path.write_bytes(content)
    for limit in (1, 3, 1000):
        tables = [pa.ipc.open_stream(m.body).read_all() for m in read_all(FileSource([path]), limit)]
        assert [table.schema.metadata for table in tables] == [{b"opintel.x": str(n).encode()} for n in range(4)]
        assert [table.to_pydict() for table in tables] == [{f"column{n % 2}": [n, n + 1]} for n in range(4)]
    path.write_bytes(content + b"garbage")
    *good, damaged = read_all(FileSource([path]))
    assert len(good) == 4
    assert (damaged.form, damaged.body) == ("refused", b"after record batch 4: it ends within a message")


def test_messages_stay_below_the_bound(tmp_path: Path) -> None:
    values = np.random.default_rng(1).random(100_000 * 100, dtype="f4")
    counts = pa.ListArray.from_arrays(pa.array(np.arange(0, len(values) + 1, 100, dtype="i4")), pa.array(values))
    table = pa.table({"counts": counts})
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    messages = read_all(FileSource([tmp_path]), 4)
    assert max(len(m.body) for m in messages) < MAX_SLICE
    assert pa.concat_tables([pa.ipc.open_stream(m.body).read_all() for m in messages]) == table


def test_one_that_grows_is_read_as_far_as_it_goes(tmp_path: Path, new: Callable[..., pa.RecordBatchWriter]) -> None:
    content = written(tmp_path / "whole.arrow", new, 5, 6, 7).read_bytes()
    (tmp_path / "whole.arrow").unlink()
    path, source = tmp_path / "a.arrow", FileSource([tmp_path])
    position: FilePosition | None = None
    out: list[list[int]] = []
    for length in [*range(0, len(content), 100), len(content)]:
        path.write_bytes(content[:length])
        messages, position = source.read(position, 10)
        out += map(content_of, messages)
    assert [len(rows) for rows in out] == [5, 6, 7]
    assert source.at_end(position, final=True)


def test_one_in_place_of_another_is_read_from_its_start(
    tmp_path: Path, new: Callable[..., pa.RecordBatchWriter]
) -> None:
    source = FileSource([written(tmp_path / "a.arrow", new, 5)])
    _, position = source.read(None, 10)
    written(tmp_path / "a.arrow", new, 2000)
    assert [len(content_of(m)) for m in source.read(position, 10)[0]] == [2000]


def test_what_ends_within_a_batch_is_told_after_those_before(
    tmp_path: Path, new: Callable[..., pa.RecordBatchWriter]
) -> None:
    path = written(tmp_path / "a.arrow", new, 5, 6, 5000)
    path.write_bytes(path.read_bytes()[:30_000])
    (tmp_path / "b.txt").write_bytes(b"next\n")
    for limit in (1, 100):
        *good, refused, after = read_all(FileSource([tmp_path]), limit)
        assert [len(content_of(m)) for m in good] == [5, 6]
        assert (refused.form, refused.body) == ("refused", b"after record batch 2: it ends within a message")
        assert after.body == b"next"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not Arrow at all", "after record batch 0: no Arrow message at byte 0"),
        (b"ARROW1\x00\x00PAR1PAR1", "after record batch 0: no Arrow message at byte 8"),
        (b"\xff", "after record batch 0: no Arrow: too short"),
        (b"\xff\xff\xff\xff\x00\x00\x00\x00", "after record batch 0: no record batch with rows"),
        (b"\xff\xff\xff\xff\x08\x00\x00\x00" + b"\xff" * 8, "after record batch 0: no Arrow message at byte 0"),
    ],
)
def test_what_is_no_arrow_is_told_once(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.arrow").write_bytes(content)
    (tmp_path / "b.txt").write_bytes(b"next\n")
    [refused, after] = read_all(FileSource([tmp_path]))
    assert (refused.file, refused.form, after.body) == ("a.arrow", "refused", b"next")
    assert refused.body.decode().startswith(said)


def test_a_batch_that_inflates_beyond_the_memory_is_told_and_the_next_is_read(tmp_path: Path) -> None:
    its = [pa.record_batch({"n": pa.array(np.zeros(n, dtype="i8"))}) for n in (200_000_000, 2)]
    with pa.ipc.new_stream(
        str(tmp_path / "a.arrow"), its[0].schema, options=pa.ipc.IpcWriteOptions(compression="zstd")
    ) as writer:
        for batch in its:
            writer.write_batch(batch)
    assert (tmp_path / "a.arrow").stat().st_size < 1_000_000
    [refused, after] = read_all(FileSource([tmp_path]))
    assert refused.body.startswith(b"record batch 1 was not read on from its row 1: ")
    assert content_of(after) == [0, 0]


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.csv"])
@pytest.mark.parametrize(("begin", "suffix"), [("stream", ".arrow"), ("file", ".arrow"), ("parquet", ".parquet")])
def test_arrow_in_a_file_of_lines_is_told_and_not_cut_at_newlines(
    tmp_path: Path, name: str, begin: str, suffix: str
) -> None:
    content = b"PAR1" if begin == "parquet" else written(tmp_path / "x", FORMS[begin], 5).read_bytes()
    (tmp_path / name).write_bytes(content + b"\n\n\n")
    [refused] = read_all(FileSource([tmp_path / name]))
    assert refused.form == "refused"
    assert refused.body.decode() == f"no lines of text; a file that begins so is named *{suffix}"


@given(st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changed_bytes_give_messages_or_are_told(tmp_path: Path, data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(sorted(FORMS)))
    body = bytearray(written(tmp_path / "a.arrow", FORMS[form], 40, 30, compression="lz4").read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "a.arrow").write_bytes(body)
    (tmp_path / "b.txt").write_bytes(b"next\n")
    messages = read_all(FileSource([tmp_path]))
    assert messages[-1].body == b"next"
    assert {m.form for m in messages[:-1]} <= {"json", "refused"}
