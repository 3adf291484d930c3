"""Files are known by what they are, not by name and length: rotated, copied and re-created ones are read whole once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import pytest

from opintel.streams.connectors.files import FilePosition, FileSource, position_of


def lines(begin: int, end: int) -> str:
    return "".join(f'{{"n": "{n:05}"}}\n' for n in range(begin, end))


class Tail:
    """Reads a folder now and then, as a process does that keeps its position in the log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position: FilePosition | None = None
        self.places: list[tuple[str, int]] = []

    def read(self) -> list[int]:
        source = FileSource([self.path])
        plain = msgspec.msgpack.decode(msgspec.msgpack.encode(msgspec.to_builtins(self.position)))
        before = position_of(plain)
        messages, self.position = source.read(before, 10_000)
        assert [m.body for m in FileSource([self.path]).between(before, self.position)] == [m.body for m in messages]
        self.places += [(m.file, m.row) for m in messages]
        assert len(set(self.places)) == len(self.places)
        return [int(msgspec.json.decode(m.body)["n"]) for m in messages]


@pytest.fixture(params=["folder", "file"])
def tail(request: pytest.FixtureRequest, tmp_path: Path) -> Tail:
    (tmp_path / "a.jsonl").write_text(lines(0, 50))
    tail = Tail(tmp_path if request.param == "folder" else tmp_path / "a.jsonl")
    assert tail.read() == list(range(50))
    return tail


@pytest.mark.parametrize("name", ["a.jsonl.1", "a.jsonl-20260101", "a-1.jsonl"])
def test_a_renamed_file_is_read_to_its_end_and_the_new_one_from_its_start(
    tail: Tail, tmp_path: Path, name: str
) -> None:
    if tail.path.is_file() and not name.startswith("a.jsonl"):
        pytest.skip("a file that is given alone is followed to names that begin as its own")
    path = tmp_path / "a.jsonl"
    with path.open("a") as end:
        end.write(lines(50, 60))
    path.rename(tmp_path / name)
    path.write_text(lines(100, 170))
    assert sorted(tail.read()) == [*range(50, 60), *range(100, 170)]
    with (tmp_path / name).open("a") as end:
        end.write(lines(60, 61))
    assert tail.read() == [60]
    assert tail.read() == []


def test_a_file_that_was_copied_and_cut(tail: Tail, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("a") as end:
        end.write(lines(50, 60))
    shutil.copy(path, tmp_path / "a.jsonl.1")
    with path.open("r+") as cut:
        cut.truncate()
        cut.write(lines(100, 170))
    assert sorted(tail.read()) == [*range(50, 60), *range(100, 170)]
    assert tail.read() == []


@pytest.mark.parametrize("count", [20, 50, 70])
def test_a_file_that_was_made_again(tail: Tail, tmp_path: Path, count: int) -> None:
    path = tmp_path / "a.jsonl"
    path.unlink()
    path.write_text(lines(100, 100 + count))
    assert tail.read() == list(range(100, 100 + count))
    assert tail.read() == []


def test_a_file_rewritten_with_more_behind_is_read_on(tail: Tail, tmp_path: Path) -> None:
    (tmp_path / "new").write_text(lines(0, 60))
    os.replace(tmp_path / "new", tmp_path / "a.jsonl")
    assert tail.read() == list(range(50, 60))


def test_a_position_of_an_earlier_build_is_resumed(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines(0, 50))
    (tmp_path / "b.jsonl").write_text(lines(0, 50))
    old = position_of(["b.jsonl", 30 * 15, 30, 50, {"a.jsonl": [20 * 15, 20]}])
    messages, position = FileSource([tmp_path]).read(old, 1000)
    assert [(m.file, m.row) for m in messages] == [
        *(("a.jsonl", n) for n in range(20, 50)),
        *(("b.jsonl", n) for n in range(30, 50)),
    ]
    assert [int(msgspec.json.decode(m.body)["n"]) for m in messages] == [*range(20, 50), *range(30, 50)]
    assert FileSource([tmp_path]).at_end(position)


def test_a_position_is_small(tmp_path: Path) -> None:
    for n in range(100):
        (tmp_path / f"{n:03}.jsonl").write_text(lines(0, 500))
    _, position = FileSource([tmp_path]).read(None, 100_000)
    assert len(msgspec.msgpack.encode(position)) / 100 < 41


def test_links_out_of_the_folder_and_what_is_no_file_are_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "secret.txt").write_text("secret\n")
    (inside / "a.txt").write_text("a\n")
    (inside / "data").write_text("linked\n")
    (inside / "out.txt").symlink_to(tmp_path / "secret.txt")
    (inside / "sub.txt").symlink_to("../secret.txt")
    (inside / "loop.txt").symlink_to("loop.txt")
    (inside / "in.txt").symlink_to("data")
    (inside / "same.txt").symlink_to("a.txt")
    (inside / "device.txt").symlink_to("/dev/zero")
    os.mkfifo(inside / "pipe.txt")
    source = FileSource([inside])
    messages, position = source.read(None, 100)
    assert sorted(m.body for m in messages) == [b"a", b"linked"]
    source.read(position, 100)
    said = [record.message for record in caplog.records]
    assert sorted(line.split("/")[-1].split()[0] for line in said) == [
        "device.txt",
        "loop.txt",
        "out.txt",
        "pipe.txt",
        "sub.txt",
    ]
    with pytest.raises(ValueError, match="expected a file, got a pipe"):
        FileSource([inside / "pipe.txt"])


def test_a_file_that_becomes_a_pipe_or_a_link_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a\n")
    [file] = FileSource([path]).files()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OSError, match="expected a regular file"):
        file.open()
    path.unlink()
    path.symlink_to("/etc/hostname")
    with pytest.raises(OSError):  # noqa: PT011 (the system's own words)
        file.open()
