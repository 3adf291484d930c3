"""SIGKILL between every two steps of the worker and the ingester, at random moments, and a full disk."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest
from forked import exit_code

from .cases import DQM_CASE, FAILING, HISTOGRAM_CASE
from .harness import LOGS, Case, Outcome, drain, feed, outcome, play, workers
from .killed import STEPS, main

CASE = FAILING


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return play(CASE, tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def arrays_undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return play(HISTOGRAM_CASE, tmp_path_factory.mktemp("undisturbed"))


def child(folder: Path, count: int, step: str | None = None, case: Case = CASE) -> int:
    return exit_code(main, folder, case.name, count, step)


def result(folder: Path, case: Case = CASE) -> Outcome:
    bus = LOGS["sqlite"](folder)
    drain(workers(bus, case, folder))
    found = outcome(bus, case)
    bus.close()
    return found


@pytest.mark.parametrize("step", [f"{when}:{s}" for s in STEPS for when in ("before", "after")])
def test_sigkill_between_every_two_steps(step: str, arrays_undisturbed: Outcome, tmp_path: Path) -> None:
    codes = [child(tmp_path, count, step, HISTOGRAM_CASE) for count in (1, 2, 9)]
    assert codes == [-signal.SIGKILL] * 3
    assert child(tmp_path, 0, case=HISTOGRAM_CASE) == 0
    assert result(tmp_path, HISTOGRAM_CASE) == arrays_undisturbed


def test_a_story_of_histograms_killed_at_each_step_in_turn(tmp_path: Path) -> None:
    steps = [f"{when}:{step}" for step in STEPS for when in ("before", "after")]
    codes = [child(tmp_path, 2 + at % 3, step, DQM_CASE) for at, step in enumerate(steps)]
    assert codes.count(-signal.SIGKILL) == len(steps)
    assert child(tmp_path, 0, case=DQM_CASE) == 0
    assert result(tmp_path, DQM_CASE) == play(DQM_CASE, tmp_path / "undisturbed")


def random_kills(folder: Path, seed: int, kills: int) -> int:
    """Kills at random steps until `kills` happened or the work was done first; returns how many happened."""
    rng = random.Random(seed)
    for done in range(kills):
        if child(folder, rng.randrange(5, 900)) == 0:
            return done
    assert child(folder, 0) == 0
    return kills


def test_five_random_kills(undisturbed: Outcome, tmp_path: Path) -> None:
    assert random_kills(tmp_path, seed=1, kills=5) >= 3
    assert result(tmp_path) == undisturbed


@pytest.mark.soak
def test_a_hundred_random_kills(undisturbed: Outcome, tmp_path: Path) -> None:
    total = 0
    for seed in range(1000):
        folder = tmp_path / str(seed)
        total += random_kills(folder, seed, kills=100 - total)
        assert result(folder) == undisturbed
        if total >= 100:
            return


@pytest.mark.root
def test_a_full_disk_crashes_the_worker_and_loses_nothing(undisturbed: Outcome, tmp_path: Path) -> None:
    """A tmpfs too small for the run: the write fails loudly; grown, the run ends as if nothing had been."""
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(mount)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {made.stderr.strip()}")
    try:
        failures = 0
        for size in (700, 1000, 1400, 2000, 100_000):
            subprocess.run(["mount", "-o", f"remount,size={size}k", str(mount)], check=True)
            try:
                bus = LOGS["sqlite"](mount)
                team = workers(bus, CASE, mount, batch=16, checkpoint_bytes=4096)
                for _ in feed(bus, CASE):
                    for worker in team:
                        worker.step()
                drain(team)
                bus.close()
            except (OSError, sqlite3.OperationalError) as error:
                failures += any(word in str(error) for word in ("full", "No space", "disk I/O"))
        assert failures >= 2
        assert result(mount) == undisturbed
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)
    assert os.path.exists(mount)
