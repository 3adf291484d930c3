"""Links whose successful transfers have become slow, against each link's own habit.

Works on ln(bytes/s), which is close to normal; the records of stage 1 carry count, sum and sum of squares. Slow
links of a site are one finding each: the incident groups them.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any

import msgspec
import numpy as np
from scipy.special import stdtr

from opintel.detector import Closing, Emit, Judge, Most
from opintel.evidence import Band, Series, capped
from opintel.finding import Effect, Finding, Window, clock, finding_id
from opintel.fts.judging.explain import table, who
from opintel.fts.link_windows import SLICES, WITHIN, LinkWindow, link_windows
from opintel.stats.counts import Floats, Ints
from opintel.stats.habits import Habits

FLOOR = -12.0
"""log10 p below which findings tie."""

LEAST_FILES, LEAST_WINDOWS = 3, 6.0
"""Files in the window and windows of history without which a link is not judged."""

DAY = 86_400 * 10**9
HALF_LIFE = DAY
FORGET = 30 * DAY
CAP = 50_000
SEPARATOR = "\x1f"
PRIOR_WINDOWS = 6.0
"""Weight, in windows, of the instance's variance in a link's own."""

MOST_DOF = 30.0
"""Student's tail never becomes normal: rates have outliers that no history excludes."""

CLIP = 2.5
"""Residuals are clipped at so many standard deviations before they teach (Huber)."""

MOST_SPREAD = 25.0
"""Times the usual variance inside windows that a window's own counts for at most: one absurd rate must not hide what
the next day says."""

DRIP = 0.05
"""What a surprising window still teaches, as a share."""

PAUSE = 3
"""Windows without news after which the next news begins a new story."""

DRAWN = 12
"""Windows drawn in the evidence."""

_RING = tuple(f"drawn{i:02d}" for i in range(DRAWN))


class SlowSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of `SlowJudge`."""

    emit: Emit = -4.0
    """Findings with log10 p at most this are emitted."""
    max_findings: Most = 100
    """At most so many a window, the most surprising first."""
    times_slower: Annotated[float, msgspec.Meta(ge=1, le=1e6)] = 1.5
    """Less than this is no finding, however certain."""


class SlowJudge(Judge):
    """One-sided Student-t prediction of a window's mean ln(rate) from the link's earlier windows.

    The variance of a window's mean is tau² (between windows, of the instance) + sigma² / files (within, of the link),
    times a factor that the link's own residuals teach, shrunk to 1. Outliers are clipped before they teach. Means of
    windows are taken as independent and symmetric: p-values below one over the number of windows seen are labelled
    `extrapolated`.

    >>> from opintel.detector import Controls, Record
    >>> judge, found = SlowJudge(), []
    >>> for n, mean in enumerate([16.0] * 30 + [14.0]):
    ...     window = Window(n * 600 * 10**9, (n + 1) * 600 * 10**9)
    ...     link = LinkWindow("a", "b", 50, 0, 0, 50, 0, [], (50, 50 * mean, 50 * (mean**2 + 0.2)), [])
    ...     records = [Record(window, "link", "a|b", "fts1", link)]
    ...     found += judge.judge(Closing(window, "fts1", records, Controls(), SlowSettings(), "", complete=True))
    >>> [finding.summary for finding in found]
    ['a to b is 7.4 times slower since 05:09: 1.2 MB/s a file, usually 8.89 MB/s (50 files)']
    """

    name = "fts.throughput"
    version = 2
    Settings = SlowSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        """Tests of the last window by kind."""
        self._links = Habits(("windows", "mean", "factor", "within", "freedom", "at", "seen", *_RING), CAP)
        self._pooled = {"between": 0.04, "within": 0.25, "weight": 20.0}
        self._news: dict[str, tuple[int, int]] = {}

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of kind `slow`, most surprising first."""
        window, settings = closing.window, closing.settings
        links = [w for w in link_windows(list(closing.records)) if w.log_rate[0] >= LEAST_FILES]
        keys = [w.source + SEPARATOR + w.destination for w in links]
        rows = self._links.rows(keys)
        count, total, squares = np.array([w.log_rate for w in links], dtype=np.float64).reshape(-1, 3).T
        mean = total / count
        spread = np.maximum(squares - total * mean, 0.0)
        faded = 0.5 ** ((window.end - self._links.get(rows, "at")) / HALF_LIFE)
        windows = faded * self._links.get(rows, "windows")
        usual = self._links.get(rows, "mean")
        within = (self._links.get(rows, "within") + self._pooled["within"] * 10.0) / (
            self._links.get(rows, "freedom") + 10.0
        )
        spread = np.minimum(spread, MOST_SPREAD * within * (count - 1.0))
        raw = self._pooled["between"] + within / count
        factor = (windows * self._links.get(rows, "factor") + PRIOR_WINDOWS) / (windows + PRIOR_WINDOWS)
        scale = np.sqrt(raw * factor * (1.0 + 1.0 / np.maximum(windows, 1.0)))
        residual = mean - usual
        p = stdtr(np.minimum(PRIOR_WINDOWS + windows, MOST_DOF), residual / scale)
        log_p = np.maximum(np.log10(np.maximum(p, 1e-300)), FLOOR)
        judged = windows >= LEAST_WINDOWS
        self.tests = {"slow": int(judged.sum())}
        slower = np.exp(-np.clip(residual, -50.0, 50.0))
        hits = np.flatnonzero(judged & (log_p <= settings.emit) & (slower >= settings.times_slower)).tolist()
        hits = sorted(hits, key=lambda i: (log_p[i], keys[i]))[: settings.max_findings]
        findings = [
            self._finding(closing, links[i], keys[i], rows[i], float(log_p[i]), float(windows[i]), float(scale[i]))
            for i in hits
        ]
        clipped = np.clip(residual, -CLIP * scale, CLIP * scale)
        weight = np.where(judged & (log_p <= -3.0), DRIP, 1.0)
        self._learn(rows, windows, faded, clipped, mean, raw, within / count, spread, count, weight, window)
        oldest = window.end - PAUSE * (window.end - window.start)
        self._news = {key: story for key, story in self._news.items() if story[1] >= oldest}
        return findings

    def state(self) -> dict[str, Any]:
        """Plain data."""
        news = [[key, *self._news[key]] for key in sorted(self._news)]
        return {"links": self._links.state(), "pooled": dict(self._pooled), "news": news}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self._links.restore(state["links"])
        self._pooled = dict(state["pooled"])
        self._news = {key: (since, last) for key, since, last in state["news"]}

    def _learn(
        self,
        rows: Ints,
        windows: Floats,
        faded: Floats,
        clipped: Floats,
        mean: Floats,
        raw: Floats,
        of_mean: Floats,
        spread: Floats,
        count: Floats,
        weight: Floats,
        window: Window,
    ) -> None:
        links, new = self._links, windows <= 0.0
        step = weight / (windows + weight)
        square = clipped**2 * windows / (windows + 1.0)
        links.put(
            rows,
            windows=windows + weight,
            mean=np.where(new, mean, links.get(rows, "mean") + step * clipped),
            factor=np.where(new, 1.0, links.get(rows, "factor") * (1.0 - step) + step * square / raw),
            within=faded * links.get(rows, "within") + weight * spread,
            freedom=faded * links.get(rows, "freedom") + weight * (count - 1.0),
            at=np.full(len(rows), float(window.end)),
            seen=np.full(len(rows), float(window.end)),
        )
        for older, newer in pairwise(_RING):
            links.put(rows, **{older: links.get(rows, newer)})
        links.put(rows, **{_RING[-1]: mean})
        old = (windows >= LEAST_WINDOWS) & (weight == 1.0)
        if old.any():
            keep = 0.5 ** ((window.end - window.start) / HALF_LIFE)
            before, more = self._pooled["weight"] * keep, float(old.sum())
            between = max(float(np.mean(square[old] - of_mean[old])), 0.0)
            share = float(spread[old].sum() / (count[old] - 1.0).sum())
            self._pooled = {
                "between": max((before * self._pooled["between"] + more * between) / (before + more), 0.0025),
                "within": max((before * self._pooled["within"] + more * share) / (before + more), 0.0025),
                "weight": before + more,
            }
        if window.start // DAY != window.end // DAY:
            links.forget(window.end - FORGET)

    def _finding(
        self, closing: Closing, link: LinkWindow, key: str, row: np.int64, log10_p: float, windows: float, scale: float
    ) -> Finding:
        window = closing.window
        at = np.array([row])
        usual = float(self._links.get(at, "mean")[0])
        files, total, _ = link.log_rate
        slower = float(np.exp(usual - total / files))
        onset = None if key in self._news else _onset(link, usual, window)
        since = self._news[key][0] if onset is None else onset
        self._news[key] = (since, window.end)
        subject = {"scope": closing.scope, "source": link.source, "destination": link.destination}
        what = f"{link.source} to {link.destination}"
        if link.local:
            subject, what = {"scope": closing.scope, "endpoint": link.source, "role": "both"}, f"{link.source} {WITHIN}"
        now, then = np.exp(total / files) / 1e6, np.exp(usual) / 1e6
        return Finding(
            id=finding_id(self.name, self.version, closing.model, subject, window),
            detector=self.name,
            kind="slow",
            subject=subject,
            window=window,
            log10_p=log10_p,
            basis="exact" if 10.0**log10_p >= 1.0 / (windows + 1.0) else "extrapolated",
            effect=Effect(slower, "times slower"),
            severity="warning",
            summary=(
                f"{what} is {slower:.1f} times slower since {clock(since, window.end)}:"
                f" {now:.3g} MB/s a file, usually {then:.3g} MB/s ({files} files)"
            ),
            evidence=capped([self._drawn(at, window, usual, scale, total / files), *who([link]), table([link])]),
            model=closing.model,
            onset=onset,
        )

    def _drawn(self, at: Ints, window: Window, usual: float, scale: float, now: float) -> Series:
        """The link's last windows with traffic; they are drawn evenly, ending at this one."""
        means = [float(self._links.get(at, column)[0]) for column in _RING]
        values: list[float | None] = [float(np.exp(m)) / 1e6 if m else None for m in means]
        size = window.end - window.start
        times = [window.start - (DRAWN - i) * size for i in range(DRAWN + 1)]
        low, high = float(np.exp(usual - 2.33 * scale)) / 1e6, float(np.exp(usual + 2.33 * scale)) / 1e6
        band = Band([low] * len(times), [high] * len(times), 0.98)
        title = "Rate of a file, typical of each window with traffic"
        return Series(title, times, [*values, float(np.exp(now)) / 1e6], "MB/s", band, (window.start, window.end))


def _onset(link: LinkWindow, usual: float, window: Window) -> int:
    """Start of the slice from which on the mean ln(rate) is lower: maximum likelihood, normal, `usual` before it."""
    count, total = link.by_slice()[::-1, 2:].cumsum(axis=0)[::-1].T
    drop = np.minimum(total - count * usual, 0.0)
    gain = drop**2 / np.maximum(count, 1.0)
    first = int(np.flatnonzero(gain >= gain.max() - 1e-9)[-1])
    return window.start + first * ((window.end - window.start) // SLICES)
