"""Endpoints and links that fail more than they usually do: `LinkJudge`, on the records of stage 1.

It blames endpoints first: what a failing endpoint explains is no news about its links. `opintel.fts.links` judges a
table of counts without history.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, NamedTuple

import msgspec
import numpy as np
from scipy.special import expit, logit

from opintel.detector import Closing, Emit, Judge, Most
from opintel.finding import Effect, Finding, Severity, Window, clock, finding_id
from opintel.fts.judging.explain import EarlierWindow, Usual, explain_failures, main_error, percent
from opintel.fts.link_windows import SLICES, WITHIN, LinkWindow, link_windows
from opintel.fts.links import endpoints_of
from opintel.stats.counts import Floats, Ints, log_mid_p, shape
from opintel.stats.dispersion import fit_healthy
from opintel.stats.groups import Blame, Bools, MemberScores, blame, scores
from opintel.stats.habits import Dispersion, Habits

FLOOR = -12.0
"""log10 p below which findings tie."""

VALIDATED = -4.0
"""log10 p down to which calibration is tested; beyond it the model is extrapolated, and a finding's basis says so."""

DAY = 86_400 * 10**9
HALF_LIFE = 3 * DAY
"""ns after which what was learned of a link counts half."""

FORGET = 30 * DAY
"""ns after which an unseen link is forgotten."""

CAP = 50_000
SEPARATOR = "\x1f"
SURPRISING = -3.0
"""log10 p below which a window teaches its link almost nothing."""

DRIP = 0.5
"""Files' worth that a surprising window still teaches: a new habit is believed after about a day, a fault is not."""

MEMORY = 12
"""Earlier windows kept for the pictures."""

PAUSE = 3
"""Windows without news after which a subject's next news begins a new story."""


class LinkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of `LinkJudge`."""

    emit: Emit = -4.0
    """Findings with log10 p at most this are emitted."""
    max_findings: Most = 100
    """At most so many a window, the most surprising first."""
    warm_up: Most = 6
    """First windows of a scope, which only teach."""


class LinkJudge(Judge):
    """Endpoints and links that fail more than they usually do, endpoints first.

    Each link has a habit: decayed failed and ok files, shrunk to the instance's Beta prior (empirical Bayes). Failures
    of a window are judged by the beta-binomial posterior predictive whose over-dispersion between windows is learned
    from the whole instance. An endpoint's total is judged against the sum of what its links usually do, with an
    over-dispersion of its own (a site's links have their bad hours together), and is blamed where the failure is not
    one link's (`stats.groups`). So a link that always fails is no news, and a p-value is one of *worse than its habit*.

    Windows that surprise teach almost nothing. It fails where a fault is there from the first sight of a link on:
    that becomes the link's habit within hours.

    >>> from opintel.detector import Controls, Record
    >>> judge, found = LinkJudge(), []
    >>> for n, failed in enumerate([1] * 20 + [40]):
    ...     window = Window(n * 600 * 10**9, (n + 1) * 600 * 10**9)
    ...     link = LinkWindow("a", "b", 50 - failed, failed, 0, 50, 0, [], (0, 0.0, 0.0), [])
    ...     records = [Record(window, "link", "a|b", "fts1", link)]
    ...     found += judge.judge(Closing(window, "fts1", records, Controls(), LinkSettings(), "", complete=True))
    >>> [finding.summary for finding in found]
    ['a to b fails: 40 of 50 files since 03:29 (usual 2.1 %)']
    """

    name = "fts.failures"
    version = 2
    Settings = LinkSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        """Tests of the last window by kind: what an alarm budget needs."""
        self._links = Habits(("ok", "failed", "at", "seen"), CAP)
        self._within, self._endpoint = Dispersion(), Dispersion()
        self._prior = np.zeros(3)
        self._news: dict[str, tuple[int, int]] = {}
        self._past: deque[EarlierWindow] = deque(maxlen=MEMORY)
        self._windows = 0

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of kind `endpoint` and `link`, most surprising first."""
        window, settings = closing.window, closing.settings
        seen = link_windows(list(closing.records))
        links = [link for link in seen if link.ok + link.failed > 0]
        k = np.array([link.failed for link in links], dtype=np.int64)
        n = np.array([link.ok for link in links], dtype=np.int64) + k
        rows = self._links.rows([link.source + SEPARATOR + link.destination for link in links])
        self._learn_prior(k, n, window)
        mean, rho = self._expected(rows, window)
        log_p = np.maximum(log_mid_p(k, n, *shape(mean, rho)) / np.log(10.0), FLOOR)

        names, groups = endpoints_of([w.source for w in links], [w.destination for w in links])
        suspects = self._endpoint_p(groups, np.ones(len(n), dtype=np.bool_), k, n, mean, rho)
        candidates = [g for g in np.flatnonzero(suspects <= settings.emit).tolist() if len(groups[g]) > 1]
        found = self._blame([groups[g] for g in candidates], k, n, mean, rho, settings.emit)
        guilty = [candidates[g] for g in np.flatnonzero(found.blamed).tolist()]
        # a link between two that fail says nothing of either: not since when, nor with which errors
        claims = np.zeros(len(n), dtype=np.int64)
        for g in guilty:
            claims[groups[g]] += 1
        alone = self._endpoint_p(groups, claims < 2, k, n, mean, rho)
        blamed = [_Suspect(*names[g], groups[g][claims[groups[g]] < 2], float(alone[g])) for g in guilty]
        surprising = (log_p <= SURPRISING) | (found.by >= 0)
        self._windows += 1
        self.tests = {"endpoint": len(names), "link": len(links)}
        findings: list[Finding] = []
        if self._windows > settings.warm_up:
            subjects = _merged(blamed, log_p, found.by, links, settings.emit)
            subjects.sort(key=lambda s: (s.log10_p, s.role, s.host, s.members.tolist()))
            view = _View(closing, links, seen, k, n, mean, rho)
            findings = [self._finding(view, subject) for subject in subjects[: settings.max_findings]]
        self._learn(rows, k, n, mean, groups, surprising, window)
        self._past.append(EarlierWindow(window, {(w.source, w.destination): (w.ok, w.failed) for w in links}))
        return findings

    def state(self) -> dict[str, Any]:
        """Plain data; `past` is kept by window, for the pictures."""
        return {
            "links": self._links.state(),
            "within": self._within.state(),
            "endpoint": self._endpoint.state(),
            "prior": self._prior.tolist(),
            "news": [[key, *self._news[key]] for key in sorted(self._news)],
            "past": [
                [p.window.start, p.window.end, [[s, d, *c] for (s, d), c in sorted(p.counts.items())]]
                for p in self._past
            ],
            "windows": self._windows,
        }

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        self._links.restore(state["links"])
        self._within.restore(state["within"])
        self._endpoint.restore(state["endpoint"])
        self._prior = np.array(state["prior"])
        self._news = {key: (since, last) for key, since, last in state["news"]}
        self._past = deque(
            (
                EarlierWindow(Window(a, b), {(s, d): (ok, failed) for s, d, ok, failed in rows})
                for a, b, rows in state["past"]
            ),
            maxlen=MEMORY,
        )
        self._windows = state["windows"]

    def _learn_prior(self, k: Ints, n: Ints, window: Window) -> None:
        """The instance's prior (weight, logit mean, logit rho), decayed; this window's robust fit is part of it."""
        self._prior *= _keep(window)
        if len(n):
            fit = fit_healthy(k, n)
            weight = float(len(n))
            at = logit([fit.mean, fit.rho])
            self._prior[1:] += (at - self._prior[1:]) * weight / (self._prior[0] + weight)
            self._prior[0] += weight

    def _expected(self, rows: Ints, window: Window) -> tuple[Floats, Floats]:
        """Each link's predictive mean and rho: from the instance's for a new link to its own habit."""
        prior_mean, prior_rho = expit(self._prior[1:])
        within = self._within.rho()
        between = max(prior_rho - within, 0.02)
        strength = (1.0 - between) / between
        faded = self._faded(rows, window)
        failed, ok = faded * self._links.get(rows, "failed"), faded * self._links.get(rows, "ok")
        mean = (prior_mean * strength + failed) / (strength + failed + ok)
        return np.clip(mean, 1e-4, 0.9999), within + between * strength / (strength + failed + ok)

    def _faded(self, rows: Ints, window: Window) -> Floats:
        return np.asarray(0.5 ** ((window.end - self._links.get(rows, "at")) / HALF_LIFE), dtype=np.float64)

    def _endpoint_p(self, groups: list[Ints], free: Bools, k: Ints, n: Ints, mean: Floats, rho: Floats) -> Floats:
        """log10 mid-p of each group's free total (G,), floored; 0 where nothing is free."""
        if not groups:
            return np.zeros(0)
        start = np.cumsum([0] + [len(g) for g in groups[:-1]])
        member = np.concatenate(groups)
        open_ = free[member]
        total, failed, expected, spread = (
            np.add.reduceat(np.where(open_, values[member], 0.0), start)
            for values in (n, k, n * mean, n * (n - 1.0) * rho)
        )
        used = total > 0
        safe = np.maximum(total, 2.0)
        usual = np.where(used, expected / np.maximum(total, 1.0), 0.5)
        # Links that vary independently give the least over-dispersion a total can have.
        dispersion = np.clip(np.maximum(self._endpoint.rho(), spread / (safe * (safe - 1.0))), 1e-4, 0.9)
        log_p = log_mid_p(failed.astype(np.int64), total.astype(np.int64), *shape(usual, dispersion)) / np.log(10.0)
        return np.where(used, np.maximum(log_p, FLOOR), 0.0)

    def _blame(self, groups: list[Ints], k: Ints, n: Ints, mean: Floats, rho: Floats, emit: float) -> Blame:
        """Blame among the candidates."""
        if not groups:
            return Blame(np.ones(0), np.ones(0), np.zeros(0, dtype=np.bool_), np.full(len(n), -1))
        touched = np.unique(np.concatenate(groups))
        few = scores(k[touched], n[touched], *shape(mean[touched], rho[touched]))
        local = [np.searchsorted(touched, g) for g in groups]

        def significant(_: Floats, free: Bools) -> Bools:
            everywhere = np.zeros(len(n), dtype=np.bool_)
            everywhere[touched] = free
            return self._endpoint_p(groups, everywhere, k, n, mean, rho) <= emit

        found = blame(local, MemberScores(few.level, few.pmf), significant)
        by = np.full(len(n), -1)
        by[touched] = found.by
        return found._replace(by=by)

    def _learn(
        self, rows: Ints, k: Ints, n: Ints, mean: Floats, groups: list[Ints], surprising: Bools, window: Window
    ) -> None:
        keep = _keep(window)
        # Files of one window are not independent: n of them teach as much as n / (1 + (n - 1) rho).
        worth = 1.0 / (1.0 + (n - 1.0) * self._within.rho())
        worth = np.where(surprising, np.minimum(worth, DRIP / np.maximum(n, 1)), worth)
        faded = self._faded(rows, window)
        self._links.put(
            rows,
            ok=faded * self._links.get(rows, "ok") + worth * (n - k),
            failed=faded * self._links.get(rows, "failed") + worth * k,
            at=np.full(len(rows), float(window.end)),
            seen=np.full(len(rows), float(window.end)),
        )
        self._within.learn(k, n, mean, keep)
        total = np.array([n[g].sum() for g in groups], dtype=np.int64)
        failed = np.array([k[g].sum() for g in groups], dtype=np.int64)
        usual = np.array([np.sum(n[g] * mean[g]) for g in groups]) / np.maximum(total, 1)
        self._endpoint.learn(failed, total, usual, keep)
        if window.start // DAY != window.end // DAY:
            self._links.forget(window.end - FORGET)
        oldest = window.end - PAUSE * (window.end - window.start)
        self._news = {key: story for key, story in self._news.items() if story[1] >= oldest}

    def _finding(self, view: _View, subject: _Suspect) -> Finding:
        closing, window = view.closing, view.closing.window
        own = [view.links[i] for i in subject.members.tolist()]
        n, k = int(view.n[subject.members].sum()), int(view.k[subject.members].sum())
        usual = float(np.sum(view.n[subject.members] * view.mean[subject.members]) / n)
        rho = float(np.mean(view.rho[subject.members]))
        labels = {"scope": closing.scope}
        role = "both" if own[0].local and subject.role == "link" else subject.role
        if own[0].local and subject.role == "link":
            labels |= {"endpoint": subject.host, "role": role}
            what = f"{subject.host} fails {WITHIN}: {k} of {n} files"
        elif subject.role == "link":
            labels |= {"source": own[0].source, "destination": own[0].destination}
            what = f"{own[0].source} to {own[0].destination} fails: {k} of {n} files"
        else:
            labels |= {"endpoint": subject.host, "role": subject.role}
            partners = {host for w in own for host in (w.source, w.destination)} - {subject.host}
            as_what = {"source": "as source", "destination": "as destination", "both": "as source and destination"}
            side = {"source": "to {} destinations", "destination": "from {} sources", "both": "with {} partners"}
            what = f"{subject.host} fails {as_what[role]}: {k} of {n} files"
            what += f" {side[role].format(len(partners))}"
        key = SEPARATOR.join([own[0].source, own[0].destination] if role == "link" else [subject.host])
        onset = None
        if key not in self._news:
            onset = window.start + _onset_slice(own, usual) * ((window.end - window.start) // SLICES)
        since = self._news[key][0] if onset is None else onset
        self._news[key] = (since, window.end)
        mostly = main_error(own)
        return Finding(
            id=finding_id(self.name, self.version, closing.model, labels, window),
            detector=self.name,
            kind="link" if role == "link" else "endpoint",
            subject=labels,
            window=window,
            log10_p=subject.log10_p,
            basis="exact" if subject.log10_p >= VALIDATED else "extrapolated",
            effect=Effect(k / n, "failed share"),
            severity=_severity(role, k, n),
            summary=f"{what} since {clock(since, window.end)} (usual {percent(usual)})"
            + (f"; mostly '{mostly}'" if mostly else ""),
            evidence=explain_failures(own, view.seen, list(self._past), window, Usual(usual, rho)),
            model=closing.model,
            onset=onset,
        )


class _Suspect(NamedTuple):
    role: str
    """`source`, `destination`, `both` or `link`."""
    host: str
    members: Ints
    log10_p: float


class _View(NamedTuple):
    closing: Closing
    links: list[LinkWindow]
    seen: list[LinkWindow]
    k: Ints
    n: Ints
    mean: Floats
    rho: Floats


def _merged(blamed: list[_Suspect], log_p: Floats, by: Ints, links: list[LinkWindow], emit: float) -> list[_Suspect]:
    """Blamed endpoints, one a host (both roles: twice the smaller p), and the surprising links that none explains."""
    hosts: dict[str, list[_Suspect]] = {}
    for suspect in blamed:
        hosts.setdefault(suspect.host, []).append(suspect)
    out = []
    for host, parts in hosts.items():
        members = np.unique(np.concatenate([part.members for part in parts]))
        smallest = min(part.log10_p for part in parts) + math.log10(len(parts))
        out.append(_Suspect("both" if len(parts) > 1 else parts[0].role, host, members, smallest))
    alone = np.flatnonzero((log_p <= emit) & (by < 0)).tolist()
    return out + [_Suspect("link", links[i].source, np.array([i]), float(log_p[i])) for i in alone]


def _onset_slice(own: list[LinkWindow], usual: float) -> int:
    """The slice in which it began: maximum likelihood of a binomial, `usual` before and freely higher after."""
    ok, failed = np.sum([link.by_slice()[:, :2] for link in own], axis=0).T
    after_k, after_n = failed[::-1].cumsum()[::-1], (ok + failed)[::-1].cumsum()[::-1]
    rate = np.clip(np.maximum(after_k / np.maximum(after_n, 1.0), usual), 1e-6, 1.0 - 1e-6)
    after = after_k * np.log(rate) + (after_n - after_k) * np.log1p(-rate)
    before = np.concatenate([[0.0], (failed * np.log(usual) + ok * np.log1p(-usual)).cumsum()[:-1]])
    likelihood = before + after
    return int(np.flatnonzero(likelihood >= likelihood.max() - 1e-9)[-1])


def _severity(role: str, failed: int, files: int) -> Severity:
    return "critical" if role != "link" and files >= 30 and failed >= 0.5 * files else "warning"


def _keep(window: Window) -> float:
    return float(0.5 ** ((window.end - window.start) / HALF_LIFE))
