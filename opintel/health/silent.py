"""Instances that fell silent: no sample of any of their series, where they used to send some in every window.

A machine that is down says nothing, so this is the first thing to know about it. How surprising a silence is, is
measured by the silences that the fleet's steady instances had before; records come from stage 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from opintel.detector import QUARANTINED, Closing, Emit, Judge, Most
from opintel.evidence import Series, capped
from opintel.finding import Basis, Effect, Finding, Severity, clock, finding_id
from opintel.health.refused import refused
from opintel.health.series_names import parts_of, series_parts
from opintel.health.windows import series_windows

FLOOR = -9.0
"""log10 p below which findings tie."""
ENTITY = "instance"
"""The label that names what is silent."""
LEAST_WINDOWS = 30
"""Windows with samples, without which silence is no surprise and is not tested."""
STEADY = 0.02
"""Share of windows followed by a silence above which an instance comes and goes, and is not tested."""
SHORTEST = 2
"""Windows; an empty one alone is what a scrape at the window's edge does."""
TAIL = 4.0
"""Exponent of the silences' tail beyond the longest that was seen."""
GIVEN_UP = 1440
"""Empty windows (a day of minutes) after which an instance is taken to have gone for good."""
CAP = 20_000
"""Instances of a scope; those above it are reported by a finding of kind `refused`."""
DRAWN = 60
DRAWN_AS = "Series with samples, by window"


class SilentInstanceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of `SilentInstanceJudge`."""

    emit: Emit = -4.0
    """Findings with log10 p at most this are emitted."""
    max_findings: Most = 100
    """At most so many a window, the longest silent first."""
    whole: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    """From this share of the steady instances on it is the fleet, or what collects from it, that is silent."""


class _Instance(msgspec.Struct, array_like=True):
    """What is known of one; `counts` are the series that it sent in the last windows, oldest first."""

    windows: int = 0
    """With samples."""
    stopped: int = 0
    """Silences that it came back from."""
    run: int = 0
    """Empty windows since it spoke last."""
    usual: int = 0
    """Series that it sent then."""
    last: int = 0
    """End of the window in which it did, ns UTC: not all windows are judged."""
    counts: list[int] = []
    shared: bool = False
    """Whether its silence was part of the scope's."""


class _Habit(msgspec.Struct):
    """Silences of the past: `ended[r]` how many lasted r windows, of so many `windows` in all."""

    windows: int = 0
    ended: dict[int, int] = {}

    def log10_p(self, run: int) -> tuple[float, Basis]:
        """How often a window is at least the `run`-th of a silence: by rank, beyond the longest by a tail.

        The longest of all does not count: one outage would hide the next.
        """
        most = max(self.ended, default=0)
        usual = {r: n - (r == most) for r, n in self.ended.items()}
        longest = max((r for r, n in usual.items() if n), default=SHORTEST)
        if run <= longest:
            later = sum(n * (r - run + 1) for r, n in usual.items() if r >= run)
            beyond = max(1.0, longest / (TAIL - 1.0))  # windows of silences longer still, as the tail counts them
            return max(math.log10(min(1.0, (beyond + later) / (1 + self.windows))), FLOOR), "ranked"
        tail = TAIL * math.log10(longest / run) + math.log10(max(1.0, run / (TAIL - 1.0)))
        return max(tail - math.log10(1 + self.windows), FLOOR), "extrapolated"


class SilentInstanceJudge(Judge):
    """Findings of kind `silent`: instances, or the whole scope where most of them are.

    A run of r empty windows has p = (longest / 3 + windows that were the r-th or a later one of a silence) / (1 + all
    windows), of all steady instances together: its rank, if instances are alike. Beyond the longest silence it is
    1 / (1 + all windows) · (longest / r)^4 · r / 3, the last factor for the windows in which such a run would be seen.
    The scope has a habit of its own; it is silent where most fell silent within `DRAWN` windows. Nothing is said of a
    window in which the input ended.

    >>> from opintel.detector import Controls, Record
    >>> from opintel.finding import Window
    >>> from opintel.health.windows import Point, SeriesWindow
    >>> judge, found = SilentInstanceJudge(), []
    >>> for n in range(1010):
    ...     window, last = Window(n * 60 * 10**9, (n + 1) * 60 * 10**9), Point(n * 60 * 10**9, 1.0, None, None)
    ...     series = SeriesWindow(1, 0, last, None, False, "", 0, last.time)
    ...     there = ["a", "b", "c"][: 3 if n < 1000 else 2]
    ...     records = [Record(window, "series", f'up{{instance="{name}"}}', "site", series) for name in there]
    ...     closing = Closing(window, "site", records, Controls(), SilentInstanceSettings(), "", complete=True)
    ...     found += judge.judge(closing)
    >>> found[0].summary
    'c is silent since 16:40: none of its 1 series has a sample'
    """

    name = "health.silence"
    version = 2
    Settings = SilentInstanceSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        """Tests of the last window by kind."""
        self._known: dict[str, _Instance] = {}
        self._one, self._all = _Habit(), _Habit()
        self._whole_run = 0

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of one closed window, the longest silent first."""
        self.tests = {"silent": 0}
        if not closing.complete:
            return []
        without = self._note(_present(closing), closing.window.end)
        steady = {name: i for name, i in sorted(self._known.items()) if _is_steady(i)}
        silent = {name: i for name, i in steady.items() if i.run >= SHORTEST}
        self.tests = {"silent": len(steady) + 1}
        newest = min((i.run for i in silent.values()), default=0)
        together = {name: i for name, i in silent.items() if i.run <= newest + DRAWN}
        whole = len(together) >= max(2.0, closing.settings.whole * len(steady))
        found = self._scope(closing, whole, together, len(steady))
        if not whole:
            quiet = sorted(silent.items(), key=lambda item: (-item[1].run, item[0]))
            judged = ((name, i, *self._one.log10_p(i.run)) for name, i in quiet)
            found += [self._finding(closing, *one) for one in judged if one[2] <= closing.settings.emit]
        found = found[: closing.settings.max_findings]
        return [*found, refused(self, closing, "instances whose silence is not seen", without)] if without else found

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "known": {name: msgspec.to_builtins(i) for name, i in sorted(self._known.items())},
            "habits": [[h.windows, sorted(h.ended.items())] for h in (self._one, self._all)],
            "whole": self._whole_run,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self._known = {name: msgspec.convert(plain, _Instance) for name, plain in state["known"].items()}
        self._one, self._all = (_Habit(windows, dict(map(tuple, ended))) for windows, ended in state["habits"])
        self._whole_run = state["whole"]

    def _note(self, present: Mapping[str, int], end: int) -> dict[str, str]:
        """Carries every instance on by a window, which ends at `end`; those for which there is no room, and why."""
        new = sorted(present.keys() - self._known.keys())
        room = max(0, CAP - len(self._known))
        self._known |= {name: _Instance() for name in new[:room]}
        for name, i in list(self._known.items()):
            count = present.get(name, 0)
            i.counts = [*i.counts[-(DRAWN - 1) :], count]
            self._one.windows += _is_steady(i)
            if count == 0:
                i.run, i.shared = i.run + 1, i.shared or self._whole_run > 0
                if i.run > GIVEN_UP:
                    del self._known[name]
                continue
            if i.run >= SHORTEST and not (i.shared or self._whole_run):  # of the fleet's silence no instance learns
                if _is_steady(i):
                    self._one.ended[i.run] = self._one.ended.get(i.run, 0) + 1
                i.stopped += 1
            i.windows, i.run, i.usual, i.last, i.shared = i.windows + 1, 0, count, end, False
        return dict.fromkeys(new[room:], f"more than {CAP} instances in a scope: split it")

    def _scope(self, closing: Closing, whole: bool, silent: Mapping[str, _Instance], steady: int) -> list[Finding]:
        """The finding about the whole scope, if most of it is silent."""
        self._all.windows += steady > 0
        if not whole:
            if self._whole_run:
                self._all.ended[self._whole_run] = self._all.ended.get(self._whole_run, 0) + 1
            self._whole_run = 0
            return []
        self._whole_run += 1
        log10_p, basis = self._all.log10_p(self._whole_run)
        if log10_p > closing.settings.emit:
            return []
        since = min(i.last for i in silent.values())
        counts = [sum(column) for column in zip(*(_filled(i) for i in silent.values()), strict=True)]
        text = f"{len(silent)} of {steady} instances are silent: what collects from them, or their network"
        subject = {"scope": closing.scope}
        return [self._made(closing, subject, text, counts, self._whole_run, since, log10_p, basis, "critical")]

    def _finding(self, closing: Closing, name: str, instance: _Instance, log10_p: float, basis: Basis) -> Finding:
        since = clock(instance.last, closing.window.end)
        text = f"{name} is silent since {since}: none of its {instance.usual} series has a sample"
        subject = {"scope": closing.scope, ENTITY: name}
        counts, run = _filled(instance), instance.run
        return self._made(closing, subject, text, counts, run, instance.last, log10_p, basis, "warning")

    def _made(
        self,
        closing: Closing,
        subject: dict[str, str],
        text: str,
        counts: list[int],
        run: int,
        since: int,
        log10_p: float,
        basis: Basis,
        severity: Severity,
    ) -> Finding:
        window = closing.window
        size = window.end - window.start
        times = [window.start - (DRAWN - 1 - n) * size for n in range(DRAWN)]
        silence = (max(since, times[0]), window.end)
        return Finding(
            id=finding_id(self.name, self.version, closing.model, subject, window),
            detector=self.name,
            kind="silent",
            subject=subject,
            window=window,
            log10_p=log10_p,
            basis=basis,
            effect=Effect(float(run), "windows without a sample"),
            severity=severity,
            summary=text[:400],
            evidence=capped([Series(DRAWN_AS, times, [float(n) for n in counts], "series", None, silence)]),
            model=closing.model,
        )


def _present(closing: Closing) -> dict[str, int]:
    """Instance → how many of its series had samples; a quarantined series is there, only not judged."""
    found: dict[str, int] = {}
    quarantined = (parts_of(r.key)[1] for r in closing.records if r.kind == QUARANTINED)
    for series in [*series_windows(closing.records), *quarantined]:
        name = series_parts(series)[1].get(ENTITY)
        if name:
            found[name] = found.get(name, 0) + 1
    return found


def _is_steady(instance: _Instance) -> bool:
    return instance.windows >= LEAST_WINDOWS and instance.stopped <= STEADY * instance.windows


def _filled(instance: _Instance) -> list[int]:
    return [0] * (DRAWN - len(instance.counts)) + instance.counts
