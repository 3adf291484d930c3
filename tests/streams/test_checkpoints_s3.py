"""Checkpoints on S3 (moto's server) and on a folder that two machines share; a store that is away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from buckets import Store
from buckets import store as store

from opintel.streams.checkpoints import KEPT, CheckpointError, Checkpoints
from opintel.streams.log import LogUnavailable

URL = "s3://states/opintel"


def test_s3_keeps_the_newest_three_and_every_process_sees_them(store: Store) -> None:
    mine, other = (Checkpoints(URL, "s", "t", 0) for _ in range(2))
    assert other.newest(100) is None
    for position in range(1, 8):
        mine.put(position, {"at": position, "text": "é" * position})
        assert other.newest(100) == (position, {"at": position, "text": "é" * position})
    assert len(store.files().ls("states/opintel/s/t-0/")) == KEPT
    child = (
        f"from opintel.streams.checkpoints import Checkpoints; print(Checkpoints({URL!r}, 's', 't', 0).newest(99)[0])"
    )
    assert subprocess.check_output([sys.executable, "-c", child], env=os.environ) == b"7\n"
    assert other.newest(6) == (6, {"at": 6, "text": "é" * 6})


def test_a_store_that_is_away_is_said_so_and_found_again(store: Store) -> None:
    kept = Checkpoints(URL, "s", "t", 0)
    kept.put(1, {"at": 1})
    store.stop()
    with pytest.raises(CheckpointError, match="could not be written"):
        kept.put(2, {})
    with pytest.raises(LogUnavailable, match="cannot be read"):
        kept.newest(10)
    store.start()  # moto forgets what it had
    kept.put(3, {"at": 3})
    assert kept.newest(10) == (3, {"at": 3})


def test_a_missing_bucket_is_said_so(store: Store) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        Checkpoints("s3://nowhere/opintel", "s", "t", 0).put(1, {})


def test_what_is_swept_while_it_is_listed_has_a_successor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.local import LocalFileSystem

    mine, other = (Checkpoints(str(tmp_path), "s", "t", 0) for _ in range(2))
    for position in range(KEPT):
        mine.put(position, {"at": position})
    listed, sweeps = LocalFileSystem.ls, [range(2 * KEPT, 3 * KEPT), range(KEPT, 2 * KEPT)]

    def ls(self: Any, *args: Any, **more: Any) -> Any:
        """What is there; then the other owner goes on, the first two times."""
        names = listed(self, *args, **more)
        if sweeps:
            monkeypatch.setattr(LocalFileSystem, "ls", listed)
            for position in sweeps.pop():
                other.put(position, {"at": position})
            monkeypatch.setattr(LocalFileSystem, "ls", ls)
        return names

    monkeypatch.setattr(LocalFileSystem, "ls", ls)
    assert mine.newest(99) == (3 * KEPT - 1, {"at": 3 * KEPT - 1})


def test_two_owners_of_a_shared_folder_write_the_same_and_do_not_disturb_each_other(tmp_path: Path) -> None:
    """A zombie and its successor drop each other's old ones all the time; both always find a sound one."""
    code = (
        "import sys; from opintel.streams.checkpoints import Checkpoints\n"
        "kept = Checkpoints(sys.argv[1], 's', 't', 0)\n"
        "for position in range(1, 400):\n"
        "    kept.put(position, {'at': position, 'bulk': [position] * 200})\n"
        "    found = kept.newest(10**9)\n"
        "    assert found is not None and found[1]['at'] == found[0] >= position, (found and found[0], position)\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE) for _ in range(2)]
    for owner in both:
        _, told = owner.communicate(timeout=120)
        assert owner.returncode == 0, told.decode()
    found = Checkpoints(str(tmp_path), "s", "t", 0).newest(10**9)
    assert found is not None
    assert found[0] == 399
