"""A folder of Arrow files as a source: complete files, in order of name, each batch a message that a wire takes."""

from __future__ import annotations

import os
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from opintel.arrow_ipc import checked
from opintel.detector import Message
from opintel.streams.connectors import Listened, arrow_dir
from opintel.streams.connectors.arrow_dir import ArrowDir, ArrowDirSettings
from opintel.streams.log import LogUnavailable


def packed(*batches: list[int], file: bool = False, compression: str | None = None) -> bytes:
    """An IPC stream or file of these batches of one column."""
    sink = pa.BufferOutputStream()
    schema = pa.schema([("x", pa.int64())])
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (pa.ipc.new_file if file else pa.ipc.new_stream)(sink, schema, options=options) as writer:
        for values in batches:
            writer.write_batch(pa.record_batch([pa.array(values, pa.int64())], schema=schema))
    return sink.getvalue().to_pybytes()


def values(message: Message) -> list[int]:
    assert message.form == "json"
    return pa.ipc.open_stream(checked(message.body)).read_all()["x"].to_pylist()


def read_all(source: ArrowDir, position: Any = None, limit: int = 100) -> tuple[list[Message], list[Any]]:
    """All messages, and every position on the way."""
    out: list[Message] = []
    positions = [position]
    while True:
        messages, after = source.read(positions[-1], limit, len(out))
        if after == positions[-1]:
            assert messages == []
            return out, positions
        out += messages
        positions.append(after)


def test_batches_come_in_order_of_file_with_their_place(tmp_path: Path) -> None:
    (tmp_path / "b.arrow").write_bytes(packed([3], [4, 5], file=True))
    (tmp_path / "a.arrow").write_bytes(packed([1, 2]))
    (tmp_path / "empty.arrow").write_bytes(packed())
    for other in (".hidden.arrow", "c.txt"):
        (tmp_path / other).write_bytes(packed([9]))
    messages, _ = read_all(ArrowDir(tmp_path))
    assert [values(m) for m in messages] == [[1, 2], [3], [4, 5]]
    assert [(m.file, m.row, m.index) for m in messages] == [("a.arrow", 0, 0), ("b.arrow", 0, 1), ("b.arrow", 1, 2)]


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_it_goes_on_where_it_stood_and_reads_a_stretch_again(tmp_path: Path, limit: int) -> None:
    for n in range(4):
        (tmp_path / f"{n}.arrow").write_bytes(packed([n], [10 + n]))
    whole, positions = read_all(ArrowDir(tmp_path), limit=limit)
    assert len(whole) == 8
    again = [message for before, after in pairwise(positions) for message in ArrowDir(tmp_path).between(before, after)]
    assert [values(m) for m in again] == [values(m) for m in whole]
    for position in positions:
        rest, _ = read_all(ArrowDir(tmp_path), position)
        assert [values(m) for m in rest] == [values(m) for m in whole[len(whole) - len(rest) :]]


@pytest.mark.parametrize("file", [False, True])
def test_a_file_that_is_being_written_is_waited_for(tmp_path: Path, file: bool) -> None:
    whole = packed([1], [2], file=file)
    (tmp_path / "b.arrow").write_bytes(packed([3]))
    source = ArrowDir(tmp_path)
    for size in [*range(0, len(whole), 8), len(whole) - 1]:
        (tmp_path / "a.arrow").write_bytes(whole[:size])
        assert source.read(None, 100) == ([], None)
    (tmp_path / "a.arrow").write_bytes(whole)
    assert [values(m) for m in read_all(source)[0]] == [[1], [2], [3]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"this is a text, and no Arrow", "expected an Arrow IPC file or stream"),
        (packed([1])[:40] + b"\x00" * 40 + packed([1])[-8:], "damaged: "),
        (packed([1] * 1000, compression="zstd"), "damaged: ValueError: expected plain buffers"),
    ],
)
def test_what_cannot_be_read_is_one_refusal_and_the_next_file_follows(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "a.arrow").write_bytes(content)
    (tmp_path / "b.arrow").write_bytes(packed([1]))
    refused, good = read_all(ArrowDir(tmp_path))[0]
    assert (refused.form, refused.file) == ("refused", "a.arrow")
    assert refused.body.decode().startswith(reason)
    assert values(good) == [1]


def test_large_batches_and_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_dir, "MAX_MESSAGE", 8 * 100)
    (tmp_path / "a.arrow").write_bytes(packed(list(range(1000))))
    messages, _ = read_all(ArrowDir(tmp_path))
    assert [len(values(m)) for m in messages] == [100] * 10
    monkeypatch.setattr(arrow_dir, "MAX_FILE", 1000)
    (refused,) = read_all(ArrowDir(tmp_path))[0]
    assert refused.form == "refused"


def test_a_large_dictionary_is_packed_only_with_what_is_asked_for(tmp_path: Path) -> None:
    """Packed at once, 200 messages with one dictionary would be 400 MB."""
    words = pa.array([f"{n:020}" for n in range(100_000)])
    batch = pa.record_batch({"x": pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), words)})
    with pa.ipc.new_stream(tmp_path / "a.arrow", batch.schema) as writer:
        for _ in range(200):
            writer.write_batch(batch)
    tracemalloc.start()
    try:
        first, _ = ArrowDir(tmp_path).read(None, 3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(first) == 3
    assert peak < 5 * len(first[0].body)


def test_a_message_that_is_large_for_its_dictionary_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_dir, "MAX_MESSAGE", 1000)
    words = pa.array([f"{n:020}" for n in range(1000)])
    batch = pa.record_batch({"x": pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), words)})
    with pa.ipc.new_stream(tmp_path / "a.arrow", batch.schema) as writer:
        writer.write_batch(batch)
    (tmp_path / "b.arrow").write_bytes(packed([1]))
    refused, good = read_all(ArrowDir(tmp_path))[0]
    assert refused.form == "refused"
    assert b"expected at most 2000 bytes a message, got 2" in refused.body
    assert values(good) == [1]


def test_what_is_no_file_of_the_folder_is_not_opened(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "secret.arrow").write_bytes(packed([1]))
    (folder / "a.arrow").symlink_to(tmp_path / "secret.arrow")
    (folder / "b.arrow").mkdir()
    os.mkfifo(folder / "c.arrow")
    (folder / "d.arrow").write_bytes(packed([2]))
    assert [values(m) for m in read_all(ArrowDir(folder))[0]] == [[2]]


def test_it_claims_no_time_for_what_waits_behind_a_file_that_is_being_written(tmp_path: Path) -> None:
    (tmp_path / "a.arrow").write_bytes(packed([1]))
    source = ArrowDir(tmp_path)
    _, position = source.read(None, 100)
    assert source.listened(position, 1000) == Listened(1000)
    (tmp_path / "b.arrow").write_bytes(packed([2])[:-8])
    (tmp_path / "c.arrow").write_bytes(packed([3]))
    assert source.read(position, 100) == ([], position)
    until, withheld = source.listened(position, 2000)
    assert (until, "b.arrow" in withheld) == (1000, True)
    (tmp_path / "b.arrow").write_bytes(packed([2]))
    messages, position = source.read(position, 100)
    assert [values(m) for m in messages] == [[2], [3]]
    assert source.listened(position, 3000) == Listened(3000)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="path: there is no folder"):
        ArrowDirSettings(path=str(tmp_path / "no")).open({}, None)  # type: ignore[arg-type]
    with pytest.raises(LogUnavailable, match="No such file or directory"):
        ArrowDir(tmp_path / "no").read(None, 1)
