"""The loss of lock: a change of state that is said once, and the return of science mode.

The flag `LOCKED` says that the interferometer is locked, `DATA` that it is in science mode. Lock that is lost out of
science mode is nobody's loss. Where `LOCKED` is not sent, the end of science mode is said as such, as a notice: it may
have been meant.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np

from opintel.detector import Closing, Judge
from opintel.evidence import Series, Table
from opintel.finding import NS, Effect, Finding, rfc3339
from opintel.gw.gps import gps_from_utc
from opintel.gw.judging.interferometer import SCIENCE, finding_of
from opintel.gw.records import FlagWindow
from opintel.gw.samples import flag_key
from opintel.gw.segments import coalesce, contains, intersection

LOCKED = "LOCKED"
SHOWN = 600 * NS
"""Of the state before, in the picture."""


class LockSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of `LockJudge`."""

    least: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 10.0
    """A state that held for less than so many seconds is none whose end is worth a word."""


class LockJudge(Judge):
    """Findings of kind `lock-loss`: when it was lost, and a notice when science mode is back.

    A state is known from its flag; what is not known changes nothing, so a gap in the flags is no loss of lock.

    >>> from opintel.detector import Controls, Record
    >>> from opintel.finding import Window
    >>> judge, found = LockJudge(), []
    >>> for n in range(20):
    ...     window, span = Window(2 * n * NS, 2 * (n + 1) * NS), (2 * n * NS, 2 * (n + 1) * NS)
    ...     flag = FlagWindow([span] if n < 15 else [], [span])
    ...     records = [Record(window, "flag", f"L1:~{name}", "L1", flag) for name in (SCIENCE, LOCKED)]
    ...     found += judge.judge(Closing(window, "L1", records, Controls(), LockSettings(), "", complete=True))
    >>> [finding.summary for finding in found]
    ['L1 lost lock after 30 s']
    """

    name, version = "gw.lock", 2
    Settings = LockSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        self._since: dict[str, tuple[bool, int]] = {}
        """Flag → whether it is active, and since when, ns."""
        self._lost: int | None = None
        """When science mode or lock was lost that is not back."""

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of a window."""
        science, lock = (self._changes(closing, name) for name in (SCIENCE, LOCKED))
        findings: list[Finding] = []
        known = LOCKED in self._since
        for active, at, held in lock if known else science:
            if active or held < closing.settings.least * NS or (known and not self._in_science(at)):
                continue
            self._lost = at
            text = f"{closing.scope} lost lock" if known else f"science mode of {closing.scope} ended"
            findings.append(self._finding(closing, f"{text} after {_for(held)}", at, held, warning=known))
        for active, at, _ in science:
            if active and self._lost is not None and at > self._lost:
                away = at - self._lost
                self._lost = None
                findings.append(
                    self._finding(closing, f"{closing.scope} is in science mode again after {_for(away)}", at, away, 1)
                )
        return findings

    def _in_science(self, at: int) -> bool:
        """Whether there was science mode until then, or a second before: the flags need not change together."""
        active, since = self._since.get(SCIENCE, (False, 0))
        return active or since >= at - NS

    def _changes(self, closing: Closing, name: str) -> list[tuple[bool, int, int]]:
        """(active now, when, for how long the state before had held) of a flag in the window."""
        key, window = flag_key(closing.scope, name), closing.window
        said = next((r.payload for r in closing.records if r.key == key and isinstance(r.payload, FlagWindow)), None)
        if said is None:
            return []
        here = coalesce([(window.start, window.end)])
        known = intersection(coalesce(said.known), here)
        active = intersection(coalesce(said.active), known)
        edges = sorted({int(t) for t in (*known[:, 0], *active.ravel()) if window.start <= t < window.end})
        found = []
        for at in edges:
            there, now = (bool(contains(spans, np.array([at]))[0]) for spans in (known, active))
            if not there:
                continue
            before = self._since.get(name)
            if before is None or before[0] != now:
                if before is not None:
                    found.append((now, at, at - before[1]))
                self._since[name] = (now, at)
        return found

    def _finding(
        self, closing: Closing, text: str, at: int, held: int, now: int = 0, *, warning: bool = False
    ) -> Finding:
        return finding_of(
            (self.name, self.version),
            closing,
            "lock-loss",
            {"state": "lock"},
            text,
            Effect(held / NS, "s"),
            severity="warning" if warning else "info",
            onset=at,
            evidence=[_steps(closing, at, held, now), _facts(at, held)],
        )

    def state(self) -> Any:
        """Plain values."""
        return [sorted([name, *both] for name, both in self._since.items()), self._lost]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        since, self._lost = state
        self._since = {name: (active, at) for name, active, at in since}


def _steps(closing: Closing, at: int, held: int, now: int) -> Series:
    """The state before, at most `SHOWN` of it, and `now` from its end on."""
    times = [at - min(held, SHOWN), at - 1, at, max(closing.window.end, at + NS)]
    values: list[float | None] = [1.0 - now, 1.0 - now, float(now), float(now)]
    return Series("Held (1) or lost (0)", times, values, "", marked=(at, times[-1]))


def _facts(at: int, held: int) -> Table:
    rows: list[list[str | float | int | None]] = [
        ["state began", rfc3339(at - held), gps_from_utc(at - held) / NS],
        ["state ended", rfc3339(at), gps_from_utc(at) / NS],
    ]
    return Table(f"After {_for(held)}", ["", "UTC", "GPS s"], rows)


def _for(ns: int) -> str:
    seconds = ns / NS
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
