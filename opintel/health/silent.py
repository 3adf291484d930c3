"""Instances that are down: no sample of any of their series, or `up` = 0, where they used to be up in every window.

A machine that is down says nothing, so this is the first thing to know about it; it is a fact and has no p-value. How
surprising a shorter, or an expected silence is, is measured by the silences that the fleet's steady instances had
before. Records come from stage 1; `lives` says who is there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from opintel.detector import Closing, Emit, Judge, Most
from opintel.evidence import Series, capped
from opintel.finding import Basis, Effect, Finding, Severity, clock, finding_id
from opintel.health.lives import ENTITY, Instance, Lives, Present, present
from opintel.health.refused import refused

FLOOR = -9.0
"""log10 p below which findings tie."""
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
_ABSENT = Present(0, False, False)


class SilentInstanceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of `SilentInstanceJudge`."""

    emit: Emit = -4.0
    """Findings with log10 p at most this are emitted."""
    max_findings: Most = 100
    """At most so many a window, the longest silent first."""
    whole: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    """From this share of the steady instances on it is the fleet, or what collects from it, that is silent."""


class _Habit(msgspec.Struct):
    """Silences of the past: `ended[r]` how many lasted r windows, of so many `windows` in all."""

    windows: int = 0
    ended: dict[int, int] = {}

    def usual(self) -> dict[int, int]:
        """`ended` without the longest of all: one outage would hide the next."""
        most = max(self.ended, default=0)
        return {r: left for r, n in self.ended.items() if (left := n - (r == most))}

    def log10_p(self, run: int) -> tuple[float, Basis]:
        """How often a window is at least the `run`-th of a usual silence: by rank, beyond the longest by a tail."""
        usual = self.usual()
        longest = max(usual, default=SHORTEST)
        if run <= longest:
            later = sum(n * (r - run + 1) for r, n in usual.items() if r >= run)
            beyond = max(1.0, longest / (TAIL - 1.0))  # windows of silences longer still, as the tail counts them
            return max(math.log10(min(1.0, (beyond + later) / (1 + self.windows))), FLOOR), "ranked"
        tail = TAIL * math.log10(longest / run) + math.log10(max(1.0, run / (TAIL - 1.0)))
        return max(tail - math.log10(1 + self.windows), FLOOR), "extrapolated"


class SilentInstanceJudge(Judge):
    """Findings of kinds `down` and `silent`: instances, or the whole scope where most of them are silent.

    An instance is down once it was not up for `SHORTEST` windows and longer than silences usually are here; that it is
    back is a finding of severity `info`. What may have ended as planned (a pod, a job, what lives shortly here) is not
    down where it has no samples any more, only where `up` is 0. Of any other silence it is asked how surprising it is.
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
    'c is down since 16:40: none of its 1 series has a sample'
    """

    name = "health.silence"
    version = 3
    Settings = SilentInstanceSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        """Tests of the last window by kind."""
        self._known: dict[str, Instance] = {}
        self._one, self._all = _Habit(), _Habit()
        self._whole_run = 0
        self._lives = Lives()

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of one closed window, the longest silent first."""
        self.tests = {"silent": 0}
        if not closing.complete:
            return []
        back, without = self._note(closing, present(closing))
        steady = {name: i for name, i in sorted(self._known.items()) if i.steady}
        self._lives.note((i for i in steady.values() if i.run < DRAWN), closing.window.end)
        silent = {name: i for name, i in steady.items() if i.run >= SHORTEST}
        self.tests = {"silent": len(steady) + 1}
        newest = min((i.run for i in silent.values()), default=0)
        together = {name: i for name, i in silent.items() if i.run <= newest + DRAWN}
        whole = len(together) >= max(2.0, closing.settings.whole * len(steady))
        found = self._scope(closing, whole, together, len(steady))
        if not whole:
            quiet = sorted(silent.items(), key=lambda item: (-item[1].run, item[0]))
            found += [finding for name, i in quiet if (finding := self._finding(closing, name, i)) is not None]
        found = [*found, *back][: closing.settings.max_findings]
        return [*found, refused(self, closing, "instances whose silence is not seen", without)] if without else found

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "known": {name: msgspec.to_builtins(i) for name, i in sorted(self._known.items())},
            "habits": [[h.windows, sorted(h.ended.items())] for h in (self._one, self._all)],
            "whole": self._whole_run,
            "lives": self._lives.ended,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self._known = {name: msgspec.convert(plain, Instance) for name, plain in state["known"].items()}
        self._one, self._all = (_Habit(windows, dict(map(tuple, ended))) for windows, ended in state["habits"])
        self._whole_run = state["whole"]
        self._lives = Lives((at, life) for at, life in state["lives"])

    def _note(self, closing: Closing, there: Mapping[str, Present]) -> tuple[list[Finding], dict[str, str]]:
        """Carries every instance on by a window: findings about those that are back; those without room, and why."""
        end, back = closing.window.end, []
        new = sorted(there.keys() - self._known.keys())
        room = max(0, CAP - len(self._known))
        self._known |= {name: Instance() for name in new[:room]}
        for name, i in list(self._known.items()):
            count, up, brief = there.get(name, _ABSENT)
            i.counts = [*i.counts[-(DRAWN - 1) :], count]
            self._one.windows += i.steady
            if not up:
                i.run, i.shared = i.run + 1, i.shared or self._whole_run > 0
                i.refused = i.refused or count > 0
                if i.run == DRAWN and i.steady and not i.shared:
                    self._lives.end(i, end)
                if i.run > GIVEN_UP:
                    del self._known[name]
                continue
            if i.run >= DRAWN:
                self._lives.resume(i)
            if i.down:
                back.append(self._back(closing, name, i))
            if i.run >= SHORTEST and not (i.shared or self._whole_run):  # of the fleet's silence no instance learns
                if i.steady:
                    self._one.ended[i.run] = self._one.ended.get(i.run, 0) + 1
                i.stopped += 1
            i.windows, i.run, i.usual, i.last, i.brief = i.windows + 1, 0, count, end, brief
            i.shared = i.refused = i.down = False
        return back, dict.fromkeys(new[room:], f"more than {CAP} instances in a scope: split it")

    def _scope(self, closing: Closing, whole: bool, silent: Mapping[str, Instance], steady: int) -> list[Finding]:
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
        return [self._made(closing, None, "silent", "critical", text, counts, self._whole_run, since, log10_p, basis)]

    def _finding(self, closing: Closing, name: str, i: Instance) -> Finding | None:
        """What is to be said of a steady instance that is not up."""
        since = clock(i.last, closing.window.end)
        why = "up is 0" if i.counts[-1] else f"none of its {i.usual} series has a sample"
        if i.run > max(self._one.usual(), default=1) and (i.refused or not self._lives.passing(i)):
            i.down = True
            text = f"{name} is down since {since}: {why}"
            return self._made(closing, name, "down", "critical", text, _filled(i), i.run, i.last)
        log10_p, basis = self._one.log10_p(i.run)
        if log10_p > closing.settings.emit:
            return None
        text = f"{name} is silent since {since}: {why}"
        return self._made(closing, name, "silent", "warning", text, _filled(i), i.run, i.last, log10_p, basis)

    def _back(self, closing: Closing, name: str, i: Instance) -> Finding:
        text = f"{name} is back, it was down since {clock(i.last, closing.window.end)}"
        return self._made(closing, name, "down", "info", text, _filled(i), i.run, i.last)

    def _made(
        self,
        closing: Closing,
        name: str | None,
        kind: str,
        severity: Severity,
        text: str,
        counts: list[int],
        run: int,
        since: int,
        log10_p: float | None = None,
        basis: Basis = "none",
    ) -> Finding:
        """About an instance, or (None) the scope."""
        window = closing.window
        size = window.end - window.start
        subject = {"scope": closing.scope} | ({} if name is None else {ENTITY: name})
        times = [window.start - (DRAWN - 1 - n) * size for n in range(DRAWN)]
        silence = (max(since, times[0]), window.end)
        return Finding(
            id=finding_id(self.name, self.version, closing.model, subject, window),
            detector=self.name,
            kind=kind,
            subject=subject,
            window=window,
            log10_p=log10_p,
            basis=basis,
            effect=Effect(float(run), "windows not up"),
            severity=severity,
            summary=text[:400],
            evidence=capped([Series(DRAWN_AS, times, [float(n) for n in counts], "series", None, silence)]),
            model=closing.model,
        )


def _filled(instance: Instance) -> list[int]:
    return [0] * (DRAWN - len(instance.counts)) + instance.counts
