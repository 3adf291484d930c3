"""Checkpoints: immutable, checked, the newest three kept, on any fsspec URL."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from traceback import format_exception
from typing import Any, ClassVar
from urllib.parse import unquote

import fsspec
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opintel.streams.checkpoints import FEW, FORMAT, KEPT, LARGE, MAGIC, CheckpointError, Checkpoints
from opintel.streams.log import Entry, LogUnavailable
from opintel.streams.log_sqlite import SqliteLog
from opintel.streams.stage import Output
from opintel.streams.worker import Worker

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "folder" else f"memory://{tmp_path.name}"


def test_the_newest_sound_one_is_found(url: str) -> None:
    kept = Checkpoints(url, "s", "t", 0)
    for position in (5, 10, 200):
        kept.put(position, {"at": position})
    assert kept.newest(1000) == (200, {"at": 200})
    assert kept.newest(199) == (10, {"at": 10})
    assert kept.newest(4) is None
    assert Checkpoints(url, "other", "t", 0).newest(1000) is None
    assert Checkpoints(url, "s", "t", 1).newest(1000) is None


def test_those_of_a_log_that_lost_its_tail_do_not_come_back(url: str) -> None:
    kept = Checkpoints(url, "s", "t", 0)
    for position in (5, 10, 200):
        kept.put(position, {"of": "the old log"})
    assert kept.newest(8) == (5, {"of": "the old log"})
    kept.put(9, {"of": "the log as restored"})
    assert kept.newest(1000) == (9, {"of": "the log as restored"})


def test_the_newest_three_are_kept(url: str) -> None:
    kept = Checkpoints(url, "s", "t", 0)
    for position in range(1, 8):
        kept.put(position, {})
    fs, root = fsspec.core.url_to_fs(url)
    assert len(fs.ls(f"{root}/s/t-0", detail=False)) == KEPT


@pytest.mark.parametrize("damage", [b"", b"opintel-checkpoint\x01short", b"garbage" * 100, "flip", "version"])
def test_a_damaged_one_is_passed_over(url: str, damage: bytes | str, caplog: pytest.LogCaptureFixture) -> None:
    kept = Checkpoints(url, "s", "t", 0)
    kept.put(5, {"at": 5})
    kept.put(9, {"at": 9})
    fs, root = fsspec.core.url_to_fs(url)
    path = f"{root}/s/t-0/{9:016d}"
    whole = fs.cat_file(path)
    if damage == "flip":
        damage = whole[:-1] + bytes([whole[-1] ^ 1])
    elif damage == "version":
        damage = whole[:18] + b"\x63" + whole[19:]
    fs.pipe_file(path, damage)
    assert kept.newest(100) == (5, {"at": 5})
    assert "passed over" in caplog.text


NO_FILES = {
    "folder": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "loop": lambda path: path.symlink_to(path.name),
    "link through a file": lambda path: path.symlink_to(Path(__file__) / "x"),
    "link of a long name": lambda path: path.symlink_to("x" * 300),
    "link to nothing": lambda path: path.symlink_to("nothing"),
}


@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
@pytest.mark.parametrize("at", [1, 8, 20, 500])
def test_what_is_no_file_is_passed_over(
    tmp_path: Path, make: Callable[[Path], None], at: int, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Checkpoints(str(tmp_path), "s", "t", 0)
    folder = tmp_path / "s" / "t-0"
    kept.put(5, {"at": 5})
    kept.put(9, {"at": 9})
    for foreign in range(at, at + KEPT):
        if foreign != 9:
            make(folder / f"{foreign:016d}")
    assert kept.newest(100) == (9, {"at": 9})
    assert "no file, passed over" in caplog.text or make is NO_FILES["link to nothing"]
    for position in range(30, 40):
        kept.put(position, {"at": position})
    assert kept.newest(100) == (39, {"at": 39})
    assert len([path for path in folder.iterdir() if os.path.isfile(path)]) == KEPT


def test_a_folder_of_the_same_name_is_an_error_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    kept = Checkpoints(str(tmp_path), "s", "t", 0)
    folder = tmp_path / "s" / "t-0"
    (folder / f"{5:016d}").mkdir(parents=True)
    with pytest.raises(CheckpointError):
        kept.put(5, {})
    assert [path.name for path in folder.rglob("*")] == [f"{5:016d}"]


def test_folders_elsewhere_are_passed_over(tmp_path: Path) -> None:
    kept = Checkpoints(f"memory://{tmp_path.name}", "s", "t", 0)
    kept.put(5, {"at": 5})
    fs, root = fsspec.core.url_to_fs(f"memory://{tmp_path.name}")
    for foreign in (1, 20, 21, 22, 500):
        fs.pipe_file(f"{root}/s/t-0/{foreign:016d}/x", b"")
    assert kept.newest(100) == (5, {"at": 5})
    for position in range(6, 10):
        kept.put(position, {"at": position})
    assert kept.newest(100) == (9, {"at": 9})


def test_other_names_are_left_alone(tmp_path: Path) -> None:
    kept = Checkpoints(str(tmp_path), "s", "t", 0)
    kept.put(5, {"at": 5})
    names = ["7", "9" * 200, "notes"]
    for name in names:
        (tmp_path / "s" / "t-0" / name).write_text("x")
    for position in range(6, 10):
        kept.put(position, {"at": position})
    assert kept.newest(100) == (9, {"at": 9})
    assert all((tmp_path / "s" / "t-0" / name).exists() for name in names)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x01",
        b"\x90",
        b"\x81\x01\x01",
        b"\x81\xa1\xff\x01",
        b"\x81\xa1a" + b"\x91" * 5000 + b"\x01",
        b"\xdf\xff\xff\xff\xff",
    ],
    ids=["empty", "no msgpack", "a number", "a list", "keys no text", "no UTF-8", "deep", "a long promise"],
)
def test_a_right_checksum_over_no_state_is_passed_over(url: str, body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    kept = Checkpoints(url, "s", "t", 0)
    kept.put(5, {"at": 5})
    fs, root = fsspec.core.url_to_fs(url)
    value = MAGIC + bytes((FORMAT,)) + hashlib.blake2b(body, digest_size=16).digest() + body
    fs.pipe_file(f"{root}/s/t-0/{9:016d}", value)
    assert kept.newest(100) == (5, {"at": 5})
    assert "no state" in caplog.text


def test_a_folder_that_cannot_be_listed_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "t-0").symlink_to("t-0")
    with pytest.raises(LogUnavailable, match="cannot be read"):
        Checkpoints(str(tmp_path), "s", "t", 0).newest(100)


@pytest.mark.parametrize("user", ["k:hunter2", "k:hun/ter2", "k:hunter2@1", "hunter2", "k:hunter%2F2"])
def test_the_users_password_is_never_told(user: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    url = f"memory://{user}@{tmp_path.name}/x"
    kept = Checkpoints(url, "s", "t", 0)
    kept.put(5, {"at": 5})
    kept.put(9, {"at": 9})
    fs, root = fsspec.core.url_to_fs(url)
    fs.pipe_file(f"{root}/s/t-0/{4:016d}", b"foreign")
    fs.pipe_file(f"{root}/s/t-0/{3:016d}/x", b"")
    assert kept.newest(4) is None
    assert "beyond" in caplog.text
    assert "not of format" in caplog.text
    assert "no file" in caplog.text
    told = [caplog.text]
    with pytest.MonkeyPatch.context() as patch:

        def refuse(path: str, *_: object, **__: object) -> None:
            raise OSError(f"no access to {path} for {unquote(user)}@")

        patch.setattr(fs, "open", refuse)
        patch.setattr(fs, "ls", refuse)
        for act in (lambda: kept.put(10, {}), lambda: kept.newest(10)):
            with pytest.raises((CheckpointError, LogUnavailable)) as caught:
                act()
            told.append("".join(format_exception(caught.value)))
    for text in told:
        assert "***@" in text
        assert "hun" not in text
        assert "ter2" not in text


def test_a_torn_write_is_never_seen(tmp_path: Path) -> None:
    kept = Checkpoints(str(tmp_path), "s", "t", 0)
    kept.put(5, {"at": 5})
    torn = tmp_path / "s" / "t-0" / f"{9:016d}.x.part"
    torn.write_bytes(b"half")
    assert kept.newest(100) == (5, {"at": 5})
    for position in (10, 11, 12):
        kept.put(position, {})
    assert not torn.exists()


def test_the_previous_format_is_read_and_a_later_one_passed_over(tmp_path: Path) -> None:
    """A newer build raises FORMAT; it reads what this one wrote, and this one does not read what that one wrote."""
    newer = (
        "import sys; from opintel.streams import checkpoints as c\n"
        "c.FORMAT, c.READABLE = c.FORMAT + 1, (c.FORMAT + 1, c.FORMAT)\n"
        "kept = c.Checkpoints(sys.argv[1], 's', 't', 0)\n"
        "print(kept.newest(10)); kept.put(9, {'at': 9})\n"
    )
    kept = Checkpoints(str(tmp_path), "s", "t", 0)
    kept.put(5, {"at": 5})
    assert subprocess.check_output([sys.executable, "-c", newer, str(tmp_path)], text=True) == "(5, {'at': 5})\n"
    assert kept.newest(10) == (5, {"at": 5})


@settings(max_examples=50, deadline=None)
@given(state=st.dictionaries(st.text(max_size=5), PLAIN, max_size=4))
def test_plain_data_come_back_and_equal_states_are_equal_bytes(
    tmp_path_factory: pytest.TempPathFactory, state: dict
) -> None:
    folders = [tmp_path_factory.mktemp("c") for _ in range(2)]
    for folder, same in zip(folders, (state, dict(reversed(state.items()))), strict=True):
        Checkpoints(str(folder), "s", "t", 0).put(1, same)
    first, second = ((folder / "s/t-0" / f"{1:016d}").read_bytes() for folder in folders)
    assert first == second
    assert first.endswith(msgspec.msgpack.encode(state, order="deterministic"))
    assert Checkpoints(str(folders[0]), "s", "t", 0).newest(1) == (1, state)


@pytest.mark.parametrize("n", [1, 15, 16, FEW, FEW + 1, 70_000])
@pytest.mark.parametrize("size", [3, LARGE])
def test_lists_dicts_and_large_bytes_of_any_length_are_msgpack(tmp_path: Path, n: int, size: int) -> None:
    rows = [bytes(size if k < 20 else 1) for k in range(n)]
    state = {"rows": rows, "by key": {str(k): row for k, row in enumerate(rows)}}
    Checkpoints(str(tmp_path), "s", "t", 0).put(1, state)
    written = (tmp_path / "s/t-0" / f"{1:016d}").read_bytes()
    assert written.endswith(msgspec.msgpack.encode(state, order="deterministic"))
    assert Checkpoints(str(tmp_path), "s", "t", 0).newest(1) == (1, state)


def test_a_heavy_state_is_not_copied_to_be_written_and_once_to_be_read(tmp_path: Path) -> None:
    weight = 64 << 20
    state = {"open": [[window, bytes(weight // 4)] for window in range(4)], "keys": list(range(1000))}
    kept = Checkpoints(str(tmp_path), "s", "t", 0)
    kept.put(1, {})
    tracemalloc.start()
    try:
        kept.put(2, state)
        assert tracemalloc.get_traced_memory()[1] < weight / 4
        tracemalloc.reset_peak()
        assert kept.newest(2) is not None
        assert tracemalloc.get_traced_memory()[1] < 2.3 * weight  # the file and what is made of it
    finally:
        tracemalloc.stop()
    assert kept.size == pytest.approx(weight, rel=0.01)


class Nothing:
    """A stage that puts nothing out."""

    structure: ClassVar[dict[str, Any]] = {"stage": 1}
    pending = may_fail = False

    def process(self, batch: Sequence[tuple[int, bytes]], careful: bool) -> Output:
        return Output()

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to remember."""


def test_a_heavy_state_is_written_the_less_often(tmp_path: Path) -> None:
    written: list[int] = []
    bus = SqliteLog(tmp_path / "log.db")
    bus.create("t", 1)

    class Heavy(Nothing):
        def state(self) -> dict[str, Any]:
            written.append(worker.position)
            return {"rows": bytes(1000)}

    def worked() -> Worker:
        return Worker(bus, "t", 0, Heavy, str(tmp_path / "c"), batch=1, checkpoint_bytes=300)

    worker = worked()
    for _ in range(60):
        bus.append([Entry("t", 0, bytes(100))])
        worker.step()
    # after 300 bytes of input the first, then after twice 1000 bytes
    assert written == [3, 24, 45]
    worker = worked()
    for _ in range(10):
        bus.append([Entry("t", 0, bytes(100))])
    while worker.step():
        pass
    assert (worker.position, written[3:]) == (70, [66])
