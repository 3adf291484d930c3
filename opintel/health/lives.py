"""Which instances are there, for how long, and which of them only come and go.

`silent` asks it of each window's records. An instance is up in a window with samples of any of its series, unless all
its `up` series (prometheus.io/docs/concepts/jobs_instances) are 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import NamedTuple

import msgspec

from opintel.detector import QUARANTINED, Closing
from opintel.finding import NS
from opintel.health.series_names import parts_of, series_parts
from opintel.health.windows import series_windows

ENTITY = "instance"
"""The label that names what is silent."""
UP = "up"
BRIEF = ("pod", "pod_name", "container", "container_id", "job_name", "job_id", "slurm_job_id", "task_id")
"""Labels of what is planned to end: pods, containers, batch jobs."""
LEAST_WINDOWS = 30
"""Windows in which it was up, without which silence is no surprise and is not tested."""
STEADY = 0.02
"""Share of windows followed by a silence above which an instance comes and goes, and is not tested."""
SHORT = 0.25
"""A life is short below this share of the middle one in the scope …"""
ENDINGS = 0.5
"""… or where lives like it end: so many of late as this share of the steady instances."""
LATE = 7 * 86_400 * NS
KEPT = 1000
"""Ends of lives that are remembered."""


class Present(NamedTuple):
    """An instance in one window."""

    series: int
    """That had samples."""
    up: bool
    brief: bool
    """Whether a label says that it is planned to end."""


class Instance(msgspec.Struct, array_like=True):
    """What is known of one; `counts` are the series that it sent in the last windows, oldest first."""

    windows: int = 0
    """In which it was up."""
    stopped: int = 0
    """Silences that it came back from."""
    run: int = 0
    """Windows since it was up last."""
    usual: int = 0
    """Series that it sent then."""
    last: int = 0
    """End of the window in which it did, ns UTC: not all windows are judged."""
    counts: list[int] = []
    shared: bool = False
    """Whether its silence was part of the scope's."""
    brief: bool = False
    refused: bool = False
    """Whether since then `up` was 0."""
    down: bool = False
    """Whether it was said to be down since then."""

    @property
    def steady(self) -> bool:
        """Whether its silence says anything."""
        return self.windows >= LEAST_WINDOWS and self.stopped <= STEADY * self.windows


class Lives:
    """How long the instances of a scope live. `ended` holds (when, windows) of those that went for good, oldest
    first."""

    def __init__(self, ended: Iterable[tuple[int, int]] = ()) -> None:
        self.ended = [(at, life) for at, life in ended]
        self._middle, self._steady = 0.0, 0

    def note(self, steady: Iterable[Instance], now: int) -> None:
        """What is usual in the window that ends at `now` (ns UTC), by the instances that are still there."""
        self.ended = [(at, life) for at, life in self.ended[-KEPT:] if at >= now - LATE]
        lives = [i.windows for i in steady]
        self._middle, self._steady = (median(lives) if lives else 0.0), len(lives)

    def end(self, instance: Instance, now: int) -> None:
        """It seems to have gone for good."""
        self.ended.append((now, instance.windows))

    def resume(self, instance: Instance) -> None:
        """It had not."""
        mine = [n for n, (_, life) in enumerate(self.ended) if life == instance.windows]
        if mine:
            del self.ended[mine[-1]]

    def passing(self, instance: Instance) -> bool:
        """Whether its end may have been planned: a pod, a job, a life that was short in this scope when it ended, or as
        long as those that end here."""
        if instance.brief or instance.windows < SHORT * (self._middle - instance.run):
            return True
        often = len(self.ended) >= max(3.0, ENDINGS * self._steady)
        return often and instance.windows <= 2.0 * median(life for _, life in self.ended)


def present(closing: Closing) -> dict[str, Present]:
    """Instance → what is there of it; a quarantined series is there, only not judged."""
    found: dict[str, Present] = {}
    answers: dict[str, bool] = {}
    quarantined = (parts_of(r.key)[1] for r in closing.records if r.kind == QUARANTINED)
    windows = series_windows(closing.records)
    for series in [*windows, *quarantined]:
        metric, labels = series_parts(series)
        name = labels.get(ENTITY)
        if not name:
            continue
        if metric == UP and series in windows:
            answers[name] = answers.get(name, False) or windows[series].last.value != 0.0
        count, _, brief = found.get(name, Present(0, True, False))
        found[name] = Present(count + 1, True, brief or any(label in labels for label in BRIEF))
    return {name: one._replace(up=answers.get(name, True)) for name, one in found.items()}
