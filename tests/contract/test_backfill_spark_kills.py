"""A backfill in Spark outlives what runs it: a worker killed in the middle of a task is replaced, and a driver killed
in the middle of a day is followed by one that goes on from the days that are done; findings are those of the live run.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from forked import exit_code

from opintel.backfill.chain import DayOutcome, judged_again
from opintel.backfill.outcomes import Outcomes
from opintel.backfill.spark import InSpark, session
from opintel.backfill.stages import Job
from opintel.detector import Pipeline
from opintel.streams.archive.reader import Archive
from opintel.streams.artefacts import Artefacts

from .archived import live, said
from .cases import CASES

pytestmark = pytest.mark.extras
HEALTH = next(case for case in CASES if case.name == "health")
"""Two days of it."""


def lethal(pipeline: Pipeline, mark: Path, at: int, victim: Callable[[], int]) -> Pipeline:
    """A pipeline whose reducer kills a process at the first window that ends at a time or later, once."""

    def make():  # type: ignore[no-untyped-def]  # of a reducer; local, so that it travels by value
        reducer = pipeline.reducer()
        close = reducer.close

        def closing(rows):  # type: ignore[no-untyped-def]
            if rows.window.end >= at and not mark.exists():
                mark.touch()
                os.kill(victim(), signal.SIGKILL)
            return close(rows)

        reducer.close = closing  # type: ignore[method-assign]
        return reducer

    return pipeline._replace(reducer=make)


def days(folder: Path, pipeline: Pipeline) -> list[DayOutcome]:
    """All days, in a session of their own that tries a task twice."""
    url = str(folder / "archive")
    job = Job(HEALTH.stream, pipeline, Artefacts([f"{url}/_artefacts"]))
    spark = session("local[2,2]", "kills")
    try:
        engine = partial(InSpark, lambda: spark)
        return list(judged_again(job, Archive(url), engine, Outcomes(str(folder / "out"), "health")))
    finally:
        spark.stop()


def driven(folder: Path, at: int) -> None:
    """A driver that one of its own tasks kills."""
    driver = os.getpid()
    days(folder, lethal(HEALTH.pipeline, folder / "killed", at, lambda: driver))


def test_after_kills_of_a_driver_and_a_worker_it_says_what_the_live_run_said(tmp_path: Path) -> None:
    expected = live(HEALTH, tmp_path)
    ends = sorted(end for _, end, _ in expected.judged)
    assert exit_code(driven, tmp_path, ends[-2], seconds=400.0) == -signal.SIGKILL
    mark = tmp_path / "killed once more"
    first, last = days(tmp_path, lethal(HEALTH.pipeline, mark, ends[-2], os.getpid))
    assert mark.exists()
    assert (first.before, last.before) == (True, False)
    found = said([first, last])
    assert (found.findings, found.judged) == (expected.findings, expected.judged)
    assert len(found.findings) > 3
