"""Checkpoints: immutable, checked, the newest three kept, on any fsspec URL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opintel.streams.checkpoints import KEPT, Checkpoints

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
    assert Checkpoints(str(folders[0]), "s", "t", 0).newest(1) == (1, state)
