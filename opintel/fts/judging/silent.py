"""Instances, endpoints and links that fell silent: no outcome where their own habit says that there should be some.

Links start and stop naturally and in bursts, so each one's own gaps decide: how often an active window is followed by
an empty one, and how long gaps last. Records come from stage 1; a link that fails is not silent.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.detector import QUARANTINED, Closing, Emit, Judge, Most
from opintel.evidence import Band, Series, capped
from opintel.finding import Effect, Finding, Window, clock, finding_id
from opintel.fts.judging.activity import DRAWN, ActiveLinks, Quiet
from opintel.fts.link_windows import WITHIN, LinkWindow, link_windows
from opintel.stats.counts import Floats, Ints, log_zero
from opintel.stats.habits import Habits

FLOOR = -12.0
"""log10 p below which findings tie."""

DAY = 86_400 * 10**9
HALF_LIFE = 3 * DAY
GIVEN_UP = 144
"""Empty windows (a day of ten minutes) after which a subject is taken to have stopped for good and is forgotten."""

LEAST_WINDOWS, LEAST_WINDOWS_OF_LINK = 36.0, 72.0
LEAST_FILES = 1.0
"""History, and files a window, without which silence is no surprise and is not tested; links rest more often."""

STEADINESS = (0.005, 0.02)
"""Classes of how often an active window is followed by an empty one; gaps are compared within a class."""

PRIOR_GAP, TAIL = 1.0, 4.0
"""Mean gap, in windows, assumed of a class before any was seen; exponent of the gaps' tail beyond the longest."""

CAP = 50_000
SEPARATOR = "\x1f"
LINK_PREFIX = "link" + SEPARATOR
_RING = tuple(f"drawn{i:02d}" for i in range(DRAWN))


class SilentLinkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of `SilentLinkJudge`."""

    emit: Emit = -4.0
    """Findings with log10 p at most this are emitted."""
    max_findings: Most = 100
    """At most so many a window, the most surprising first."""


class SilentLinkJudge(Judge):
    """Silence against one's own habit, endpoints first; nothing is said of a window in which the input ended.

    Where most links of the instance rest at once (`activity`), that is one finding about the instance, and none about
    its links: nothing is due from them then.

    A run is measured in windows in which something was due: each counts with 1 − P(0) of a negative binomial (mean and
    dispersion learned, the mean scaled down by how many links of the instance are active), so a quiet night is short.
    A run of length r has p = P(an active window is followed by an empty one) · P(longer than all M earlier gaps) =
    1 / (M + 1), which holds for any distribution of gaps, · (longest / r)^4 beyond it, · r / 3 for the windows in which
    such a run would be seen. `longest` is at least 2 + 4 (mean − 1) windows for the mean gap of subjects that are as
    steady. Bursty links thus have long gaps as their habit. A subject silent for a day is forgotten.

    >>> from opintel.detector import Controls, Record
    >>> judge, found = SilentLinkJudge(), []
    >>> for n in range(220):
    ...     window = Window(n * 600 * 10**9, (n + 1) * 600 * 10**9)
    ...     active = [("a", "b"), ("c", "d"), ("e", "f")][: 3 if n < 200 else 2]
    ...     links = [LinkWindow(s, d, 50, 0, 0, 50, 0, [], (0, 0.0, 0.0), []) for s, d in active]
    ...     records = [Record(window, "link", f"{link.source}|{link.destination}", "fts1", link) for link in links]
    ...     closing = Closing(window, "fts1", records, Controls(), SilentLinkSettings(), "", complete=True)
    ...     found += judge.judge(closing)
    >>> found[0].summary
    'f as destination is silent since 09:20: no file where about 202 were usual'
    """

    name = "fts.silence"
    version = 3
    Settings = SilentLinkSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        """Tests of the last window by kind."""
        learned = ("windows", "files", "squares", "followed", "stopped", "gaps", "longest")
        self._habits = Habits((*learned, "run", "due", "first", "missed", "seen", *_RING), CAP)
        self._active = ActiveLinks()

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of kind `silent`, most surprising first."""
        self.tests = {"silent": 0}
        if not closing.complete:
            return []
        window, settings = closing.window, closing.settings
        links = link_windows(list(closing.records))
        counts, unknown = _counts(links), _unknown(closing)
        active = sum(w.ok + w.failed + w.aborted > 0 for w in links) + sum(
            r.kind == QUARANTINED for r in closing.records
        )
        usual = self._active.usual
        quiet = self._active.judge(active, window, settings.emit)
        level = 0.0 if quiet is not None else min(1.0, active / usual) if usual else 1.0
        self._habits.rows(sorted(counts))
        keys = self._habits.keys()
        rows = self._habits.rows(keys)
        files = np.array([counts.get(key, 0) for key in keys], dtype=np.float64)
        is_link = np.array([key.startswith(LINK_PREFIX) for key in keys], dtype=np.bool_)
        tested = self._follow_runs(rows, files == 0, level, is_link)
        log_p = self._log_p(rows, is_link)
        known = np.array([key not in unknown for key in keys], dtype=np.bool_)
        hits = tested & (files == 0) & (log_p <= settings.emit) & known
        self.tests = {"silent": int(tested.sum()) + 1}
        if quiet is not None:
            findings = [self._of_instance(closing, quiet)]
        else:
            findings = self._findings(closing, links, keys, rows, log_p, hits)
        findings = findings[: settings.max_findings]
        self._learn(rows, files, window)
        return findings

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {"habits": self._habits.state(), "active": self._active.state()}

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        self._habits.restore(state["habits"])
        self._active.restore(state["active"])

    def _follow_runs(
        self, rows: Ints, empty: NDArray[np.bool_], level: float, is_link: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Carries every subject's run of empty windows on; which subjects have a habit to be tested against."""

        def get(column: str) -> Floats:
            return self._habits.get(rows, column)

        windows, run = get("windows"), get("run")
        mean = get("files") / np.maximum(windows, 1.0)
        variance = get("squares") / np.maximum(windows, 1.0) - mean**2
        own = np.maximum(variance - mean, 0.0) / np.maximum(mean, 1e-9) ** 2
        # A few windows say little about dispersion: shrunk to 1 (an exponential rate) with the weight of 20 of them.
        dispersion = np.maximum((own * windows + 20.0) / (windows + 20.0), 0.1)
        zero = np.exp(log_zero(mean * level, dispersion))
        first = np.maximum(zero, (get("stopped") + 0.5) / (get("followed") + 1.0))
        grows = empty & (windows > 0)
        self._habits.put(
            rows,
            run=np.where(grows, run + 1.0, run),
            due=np.where(grows, get("due") + 1.0 - zero, get("due")),
            first=np.where(grows & (run == 0), np.minimum(first, 1.0), get("first")),
            missed=np.where(grows, get("missed") + mean * level, get("missed")),
        )
        enough = windows >= np.where(is_link, LEAST_WINDOWS_OF_LINK, LEAST_WINDOWS)
        return np.asarray(enough & (mean >= LEAST_FILES), dtype=np.bool_)

    def _log_p(self, rows: Ints, is_link: NDArray[np.bool_]) -> Floats:
        """log10 p of each subject's run, floored; 0 where it is not longer than its habit."""
        followed, stopped, gaps, longest, due, first = (
            self._habits.get(rows, c) for c in ("followed", "stopped", "gaps", "longest", "due", "first")
        )
        steady = np.searchsorted(STEADINESS, (stopped + 0.5) / (followed + 1.0))
        steady = np.where(is_link, steady, steady + len(STEADINESS) + 1)
        classes = 2 * (len(STEADINESS) + 1)
        number = np.bincount(steady, stopped, classes) + 1.0
        usual = (np.bincount(steady, gaps, classes) + PRIOR_GAP) / number
        longest = np.maximum(longest, 2.0 + 4.0 * np.maximum(usual[steady] - 1.0, 0.0))
        beyond = due > longest
        r = np.where(beyond, due, 1.0)
        tail = TAIL * np.log(longest / r) + np.log(np.maximum(r / (TAIL - 1.0), 1.0)) - np.log1p(stopped)
        log_p = np.where(beyond, np.log(np.where(beyond, first, 1.0)) + tail, 0.0) / np.log(10.0)
        return np.asarray(np.clip(log_p, FLOOR, 0.0), dtype=np.float64)

    def _learn(self, rows: Ints, files: Floats, window: Window) -> None:
        """Active subjects learn this window and the gap that it ended; silent ones learn when they speak again."""
        habits, active = self._habits, files > 0
        run = habits.get(rows, "run")
        ended = active & (run > 0)
        gap = np.where(ended, np.maximum(habits.get(rows, "due"), 1.0), 0.0)
        keep = np.where(active, _keep(window) ** (1.0 + run), 1.0)
        gains = {
            "windows": active * (1.0 + run),
            "files": files,
            "squares": files**2,
            "followed": active * (habits.get(rows, "windows") > 0),
            "stopped": ended * 1.0,
            "gaps": gap,
        }
        gained = {column: habits.get(rows, column) * keep + gain for column, gain in gains.items()}
        running = {c: np.where(active, 0.0, habits.get(rows, c)) for c in ("run", "due", "first", "missed")}
        seen = np.where(active, float(window.end), habits.get(rows, "seen"))
        longest = np.maximum(habits.get(rows, "longest") * keep, gap)
        habits.put(rows, seen=seen, longest=longest, **gained, **running)
        for older, newer in pairwise(_RING):
            habits.put(rows, **{older: habits.get(rows, newer)})
        habits.put(rows, **{_RING[-1]: files})
        habits.forget(window.end - GIVEN_UP * (window.end - window.start))

    def _findings(
        self,
        closing: Closing,
        links: Sequence[LinkWindow],
        keys: Sequence[str],
        rows: Ints,
        log_p: Floats,
        hits: NDArray[np.bool_],
    ) -> list[Finding]:
        hit = {keys[i]: i for i in np.flatnonzero(hits).tolist()}
        queued = _queued(links)
        out = []
        for key, i in sorted(hit.items(), key=lambda item: (log_p[item[1]], item[0])):
            role, *hosts = key.split(SEPARATOR)
            p = float(log_p[i])
            if role == "link":
                if SEPARATOR.join(["source", hosts[0]]) in hit or SEPARATOR.join(["destination", hosts[1]]) in hit:
                    continue
                subject = {"scope": closing.scope, "source": hosts[0], "destination": hosts[1]}
                what = f"{hosts[0]} to {hosts[1]}"
            elif role == "both":
                if hit.keys() & set(map(SEPARATOR.join, (["source", hosts[0]], ["destination", hosts[0]]))):
                    continue
                subject, what = {"scope": closing.scope, "endpoint": hosts[0], "role": role}, f"{hosts[0]} {WITHIN}"
            else:
                other = SEPARATOR.join(["destination" if role == "source" else "source", hosts[0]])
                if other in hit:
                    if (log_p[hit[other]], other) < (p, key):
                        continue
                    role, p = "both", p + float(np.log10(2.0))
                subject = {"scope": closing.scope, "endpoint": hosts[0], "role": role}
                what = f"{hosts[0]} as {'source and destination' if role == 'both' else role}"
            out.append(self._finding(closing, subject, what, rows[i], p, queued.get(key, 0)))
        return out

    def _of_instance(self, closing: Closing, quiet: Quiet) -> Finding:
        window = closing.window
        size = window.end - window.start
        subject = {"scope": closing.scope}
        since = window.end - quiet.windows * size
        seen = f"{quiet.active or 'no'} link{'s have' if quiet.active > 1 else ' has'} a file"
        times = [window.start - (len(quiet.earlier) - i) * size for i in range(len(quiet.earlier) + 1)]
        drawn = Series(
            "Links with files by window", times, [*quiet.earlier, quiet.active], "links", None, (since, window.end)
        )
        return Finding(
            id=finding_id(self.name, self.version, closing.model, subject, window),
            detector=self.name,
            kind="silent",
            subject=subject,
            window=window,
            log10_p=max(quiet.log10_p, FLOOR),
            basis="extrapolated",
            effect=Effect(1.0 - quiet.active / quiet.usual, "share of links silent"),
            severity="warning" if quiet.active else "critical",
            summary=f"{closing.scope} is silent since {clock(since, window.end)}: {seen} where about"
            f" {quiet.usual:.0f} do usually",
            evidence=capped([drawn]),
            model=closing.model,
            onset=window.start if quiet.windows == 1 else None,
        )

    def _finding(
        self, closing: Closing, subject: dict[str, str], what: str, row: np.int64, log10_p: float, queued: int
    ) -> Finding:
        window = closing.window
        size = window.end - window.start
        at = np.array([row])
        run, missed = int(self._habits.get(at, "run")[0]), float(self._habits.get(at, "missed")[0])
        usual = float(self._habits.get(at, "files")[0] / self._habits.get(at, "windows")[0])
        since = window.end - run * size
        times = [window.start - (DRAWN - i) * size for i in range(DRAWN + 1)]
        values: list[float | None] = [float(self._habits.get(at, column)[0]) for column in _RING]
        band = Band([0.0] * len(times), [usual * 3.0] * len(times), 0.9)
        waiting = f"; {queued} files wait in its queue" if queued else ""
        return Finding(
            id=finding_id(self.name, self.version, closing.model, subject, window),
            detector=self.name,
            kind="silent",
            subject=subject,
            window=window,
            log10_p=min(log10_p, 0.0),
            basis="extrapolated",
            effect=Effect(missed, "files missing"),
            severity="warning",
            summary=f"{what} is silent since {clock(since, window.end)}:"
            f" no file where about {missed:.0f} were usual{waiting}",
            evidence=capped(
                [Series("Files by window", times, [*values, 0.0], "files", band, (max(since, times[0]), window.end))]
            ),
            model=closing.model,
            onset=window.start if run == 1 else None,
        )


def _counts(links: Sequence[LinkWindow]) -> dict[str, int]:
    """Outcomes by subject: each link, and each host in each role."""
    counts: dict[str, int] = {}
    for link in links:
        files = link.ok + link.failed + link.aborted
        if files:
            for key in _subjects(link.source, link.destination):
                counts[key] = counts.get(key, 0) + files
    return counts


def _unknown(closing: Closing) -> set[str]:
    """Subjects whose files were there, but not judged: their link's key is quarantined."""
    unknown: set[str] = set()
    for record in closing.records:
        _, source, destination = ("||" + record.key).rsplit("|", 2)
        if record.kind == QUARANTINED:
            unknown.update(_subjects(source, destination))
    return unknown


def _queued(links: Sequence[LinkWindow]) -> dict[str, int]:
    """Files submitted and waiting, by subject, where the optimiser said so."""
    queued: dict[str, int] = {}
    for link in links:
        if link.submitted > 0:
            for key in _subjects(link.source, link.destination):
                queued[key] = queued.get(key, 0) + link.submitted
    return queued


def _subjects(source: str, destination: str) -> tuple[str, ...]:
    """The link and its endpoints in their roles; an endpoint that stages has one of its own for it."""
    if source == destination:
        return (SEPARATOR.join(["both", source]),)
    roles = (["link", source, destination], ["source", source], ["destination", destination])
    return tuple(map(SEPARATOR.join, roles))


def _keep(window: Window) -> float:
    return float(0.5 ** ((window.end - window.start) / HALF_LIFE))
