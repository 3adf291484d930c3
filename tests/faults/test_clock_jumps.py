"""Clocks that are a day off or jump about: no worker reads one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from .rig import Row, Site, get

pytestmark = pytest.mark.broker

# libfaketime 0.9.10 shifts the deadline of an absolute clock_nanosleep (Python's time.sleep) even where it leaves the
# monotonic clock alone: EINVAL. It sleeps in select here.
SLEEP = "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds) and None\n"
JUMPS = {"+1d": 1, "-1d": -1, "+0": 0, "+400d": 400, "-400d": -400}
"""Offset → days."""


class Clock:
    """What a process believes the time to be, for as long as it lives; its monotonic clock is left alone, as a jump of
    the real one leaves it."""

    def __init__(self, library: Path, file: Path, offset: str) -> None:
        self._file = file
        self.set(offset)
        (file.parent / "sitecustomize.py").write_text(SLEEP)
        self.env = {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(file.parent), os.environ.get("PYTHONPATH")])),
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # with it waits for the interpreter's lock may not end
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "NO_FAKE_STAT": "1",
        }

    def set(self, offset: str) -> None:
        part = self._file.with_suffix(".part")
        part.write_text(f"{offset}\n")
        part.rename(self._file)


def reads(metrics: str, days: int) -> bool:
    """Whether a process believes the last arrival to be so old."""
    age = re.search(r"^opintel_freshness_seconds\S* (\S+)$", get(metrics)[1], re.MULTILINE)
    return age is not None and round(float(age[1]) / 86_400) == days


def days(log: str) -> set[int]:
    """How many days the lines of a log are off."""
    today = datetime.now(tz=UTC)
    stamps = re.findall(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d+ ", log, re.MULTILINE)
    local = [datetime.fromisoformat(stamp).astimezone(UTC) for stamp in stamps]
    return {round((at - today) / timedelta(days=1)) for at in local}


def test_clocks_jump(
    make_site: Callable[..., Site], part: Callable[[str], Path], report: Callable[[Row], None]
) -> None:
    library = part("faketime")
    site = make_site()
    ahead, behind, jumping = (
        Clock(library, site.folder / name, offset)
        for name, offset in (("ahead", "+1d"), ("behind", "-1d"), ("jumping", "+0"))
    )
    site.start("ingest", env=ahead.env)
    site.start("stage1", env=behind.env)
    site.start("rest", "stage2", "alerts", "--metrics-port", "0", env=jumping.env)
    site.start("delivery")
    for name in ("ingest", "stage1", "rest"):
        site.says(name, "are ours")
    metrics = site.says("rest", r"metrics: (\S+)")[0]
    jumps = [*JUMPS.items()] * (6 if site.story.long else 1)
    for n, (jump, off) in enumerate(jumps, 1):
        site.feed(n / (len(jumps) + 1))
        jumping.set(jump)
        # its clock against the arrivals that were stamped a day ahead
        site.until(partial(reads, metrics, off - 1), f"the clock of stage2 and alerts has jumped to {jump}")
        if n == len(jumps) // 2:
            # the next one to own the partitions believes it to be two days later
            assert site.outcome().findings.keys() < site.story.expected.findings.keys()
            assert days(site.services["stage1"].told()) == {-1}
            site.leave("stage1")
            site.start("stage1 later", "stage1", env=ahead.env)
    site.finish()
    assert days(site.services["ingest"].told()) == {1}
    assert days(site.services["stage1 later"].told()) == {1}
    site.settle()
    report(site.check(f"clocks a day ahead, a day behind, {len(jumps)} jumps"))
