"""Parquet files as a source: row groups and their slices, exact resumption, damage and bombs reported by file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opintel.detector import Message
from opintel.streams.connectors.columnar import MAX_SLICE, SLICE
from opintel.streams.connectors.files import FilePosition, FileSource


def read_all(source: FileSource, limit: int = 1000) -> list[Message]:
    out: list[Message] = []
    position: FilePosition | None = None
    while True:
        messages, position = source.read(position, limit, final=True)
        if not messages:
            return out
        out += messages


def file(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def numbers(*groups: int) -> pa.Table:
    return pa.table({"n": pa.array(np.arange(sum(groups))), "text": pa.array(["x"] * sum(groups))})


def parquet(path: Path, *groups: int) -> Path:
    """A file of row groups of so many rows, numbered through."""
    table, at = numbers(*groups), 0
    with pq.ParquetWriter(path, table.schema) as writer:
        for rows in groups:
            writer.write_table(table.slice(at, rows), row_group_size=max(rows, 1))
            at += rows
    return path


def content_of(message: Message) -> list[int]:
    assert message.form == "json"
    return pa.ipc.open_stream(message.body).read_all()["n"].to_pylist()


def test_parquet_is_a_message_a_row_group_and_several_of_a_large_one(tmp_path: Path) -> None:
    messages = read_all(FileSource([parquet(tmp_path / "a.parquet", 5, 2 * SLICE + 1, SLICE, 7)]))
    assert [len(content_of(m)) for m in messages] == [5, SLICE, SLICE, 1, SLICE, 7]
    assert [n for m in messages for n in content_of(m)] == numbers(5, 2 * SLICE + 1, SLICE, 7)["n"].to_pylist()
    assert [(m.file, m.row, m.index) for m in messages] == [("a.parquet", n, n) for n in range(6)]


@pytest.mark.parametrize("limits", [[1], [2, 3], [100]])
def test_parquet_read_in_any_pieces_gives_the_same(tmp_path: Path, limits: list[int]) -> None:
    path = parquet(tmp_path / "a.parquet", SLICE + 5, 3, SLICE + 1)
    parquet(tmp_path / "b.parquet", 2)
    source = FileSource([tmp_path])
    whole = read_all(source)
    out: list[Message] = []
    position: FilePosition | None = None
    while True:
        before = position
        messages, position = source.read(before, limits[len(out) % len(limits)], final=True)
        assert source.between(before, position) == messages
        if not messages:
            break
        out += messages
    assert out == whole
    assert source.at_end(position)
    assert source.progress(position) == (source.progress(None)[1],) * 2
    assert path.stat().st_size + (tmp_path / "b.parquet").stat().st_size == source.progress(position)[0]


def test_parquet_that_is_being_written_waits_for_its_end(tmp_path: Path) -> None:
    whole = parquet(tmp_path / "whole.parquet", 5).read_bytes()
    (tmp_path / "whole.parquet").unlink()
    path = file(tmp_path, "a.parquet", b"")
    source = FileSource([tmp_path])
    position: FilePosition | None = None
    for length in (0, 2, 4, 6, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        messages, position = source.read(position, 10)
        assert messages == []
    path.write_bytes(whole)
    messages, position = source.read(position, 10)
    assert [content_of(m) for m in messages] == [[0, 1, 2, 3, 4]]
    assert source.at_end(position)


def test_what_does_not_begin_as_parquet_is_not_waited_for(tmp_path: Path) -> None:
    [refused], position = FileSource([file(tmp_path, "a.parquet", b"garbage")]).read(None, 10)
    assert refused.form == "refused"
    assert FileSource([tmp_path]).at_end(position)


def test_parquet_in_place_of_another_is_read_from_its_start(tmp_path: Path) -> None:
    source = FileSource([parquet(tmp_path / "a.parquet", 5)])
    _, position = source.read(None, 10)
    parquet(tmp_path / "a.parquet", *[3] * 20)
    assert len(source.read(position, 100)[0]) == 20


def test_a_damaged_row_group_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", SLICE + 1, 50, 3)
    group = pq.ParquetFile(path).metadata.row_group(1)
    begin = group.column(0).dictionary_page_offset or group.column(0).data_page_offset
    body = bytearray(path.read_bytes())
    body[begin : begin + group.column(0).total_compressed_size] = b"\xff" * group.column(0).total_compressed_size
    path.write_bytes(body)
    messages = read_all(FileSource([path]))
    assert [m.form for m in messages] == ["json", "json", "refused", "json"]
    assert messages[2].body.startswith(b"row group 2 was not read on from its row 1: ")
    assert content_of(messages[3]) == [SLICE + 51, SLICE + 52, SLICE + 53]
    assert read_all(FileSource([path]), limit=1) == messages


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PAR1" + b"\x00" * 100 + b"PAR1", "no Parquet file that can be read"),
        (b"not Parquet at all", "no Parquet file that can be read"),
        (b"PAR1", "no Parquet file that can be read"),
    ],
)
def test_what_is_no_parquet_is_told_once(tmp_path: Path, content: bytes, said: str) -> None:
    path = file(tmp_path, "a.parquet", content)
    source = FileSource([path, file(tmp_path, "b.txt", b"next\n")])
    [refused, after] = read_all(source)
    assert (refused.file, refused.form) == ("a.parquet", "refused")
    assert said in refused.body.decode()
    assert after.body == b"next"


def test_parquet_without_rows_is_told(tmp_path: Path) -> None:
    [refused] = read_all(FileSource([parquet(tmp_path / "a.parquet", 0)]))
    assert b"0 rows" in refused.body


def histograms(n: int, bins: int = 100) -> pa.Table:
    """Rows that do not compress."""
    values = np.random.default_rng(1).random(n * bins, dtype="f4")
    counts = pa.ListArray.from_arrays(pa.array(np.arange(0, n * bins + 1, bins, dtype="i4")), pa.array(values))
    return pa.table({"n": pa.array(np.arange(n)), "counts": counts})


@pytest.mark.parametrize("limit", [1, 1000])
def test_row_groups_of_any_size_are_messages_below_the_bound(tmp_path: Path, limit: int) -> None:
    table = histograms(52_000)
    pq.write_table(table, tmp_path / "a.parquet")  # one row group
    messages = read_all(FileSource([tmp_path]), limit)
    assert {m.form for m in messages} == {"json"}
    assert max(len(m.body) for m in messages) < MAX_SLICE
    assert pa.concat_tables([pa.ipc.open_stream(m.body).read_all() for m in messages]) == table


def test_rows_that_are_larger_than_the_file_says_are_cut_smaller(tmp_path: Path) -> None:
    text = ["x" * 100_000] * 1000  # a dictionary holds it once
    pq.write_table(pa.table({"text": pa.array(text)}), tmp_path / "a.parquet")
    messages = read_all(FileSource([tmp_path]), 3)
    assert max(len(m.body) for m in messages) < MAX_SLICE
    assert [t for m in messages for t in pa.ipc.open_stream(m.body).read_all()["text"].to_pylist()] == text


@given(st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_parquet_with_changed_bytes_gives_messages_or_is_told(tmp_path: Path, data: st.DataObject) -> None:
    body = bytearray(parquet(tmp_path / "a.parquet", 40, 30).read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    messages = read_all(FileSource([file(tmp_path, "a.parquet", bytes(body)), file(tmp_path, "b.txt", b"next\n")]))
    assert messages[-1].body == b"next"
    assert {m.form for m in messages[:-1]} <= {"json", "refused"}
    assert 1 <= len(messages) - 1 <= 2


def test_parquet_that_inflates_beyond_the_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """120 MB in a file of some kB: with 100 MiB it is refused, with the usual limit the same file is read."""
    path = tmp_path / "a.parquet"
    table = pa.table({"text": pa.array(["x" * 120_000_000, "y"])})
    pq.write_table(table, path, compression="zstd", use_dictionary=False, write_statistics=False)
    del table
    assert path.stat().st_size < 100_000
    source = FileSource([path, file(tmp_path, "b.txt", b"next\n")])
    [too_much, other, _] = read_all(source)
    assert too_much.body.startswith(b"row group 1, row 1: expected at most 16777216 bytes a message, got 1200")
    assert pa.ipc.open_stream(other.body).read_all()["text"].to_pylist() == ["y"]
    monkeypatch.setattr("opintel.streams.connectors.child.MAX_MEMORY", 100 << 20)
    [refused, after] = read_all(source)
    assert refused.form == "refused"
    assert b"at most 16777216" not in refused.body
    assert after.body == b"next"


def test_parquet_that_takes_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opintel.streams.connectors.child.MAX_SECONDS", 0)
    source = FileSource([parquet(tmp_path / "a.parquet", 5), file(tmp_path, "b.txt", b"next\n")])
    [refused, after] = read_all(source)
    assert b"the rest was not read" in refused.body
    assert after.body == b"next"


def test_without_a_reader_of_parquet_nothing_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opintel.streams.connectors.columnar.__package__", "opintel.nowhere")
    with pytest.raises(OSError, match="cannot be read"):
        FileSource([parquet(tmp_path / "a.parquet", 5)]).read(None, 10)
