"""Endpoints and links that fail more than they usually do: `LinkJudge`, on the records of stage 1.

It looks at each window, at the last hour and the last day (`scales`), and blames endpoints first (`suspects`): what a
failing endpoint explains is no news about its links. `opintel.fts.links` judges a table of counts without history.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec
import numpy as np
from scipy.special import expit, logit

from opintel.detector import Closing, Emit, Judge, Most
from opintel.finding import Effect, Finding, Severity, Window, clock, finding_id
from opintel.fts.causes.families import Family
from opintel.fts.judging.delayed import DelayedLessons, Lesson
from opintel.fts.judging.explain import EarlierWindow, Usual, explain_failures, main_error, percent
from opintel.fts.judging.onsets import onset_slice
from opintel.fts.judging.recovery import recovered
from opintel.fts.judging.scales import SEPARATOR, LinkCounts, Trailing
from opintel.fts.judging.shared_causes import SharedCause, SharedCauses
from opintel.fts.judging.shared_files import files_of
from opintel.fts.judging.shared_finding import SHARED, shared_finding, usual_share
from opintel.fts.judging.suspects import LinkLook, LinkVerdict, Suspect, one_each, suspects_of
from opintel.fts.judging.teaching import Teaching, odd_keys
from opintel.fts.link_windows import SLICES, WITHIN, LinkWindow, link_windows
from opintel.fts.links import endpoints_of
from opintel.stats.counts import Floats, Ints
from opintel.stats.dispersion import fit_healthy
from opintel.stats.groups import Bools
from opintel.stats.habits import Habits

VALIDATED = -4.0
"""log10 p down to which calibration is tested; beyond it the model is extrapolated, and a finding's basis says so."""

HOUR = 3600 * 10**9
DAY = 24 * HOUR
HALF_LIFE = 3 * DAY
"""ns after which what was learned of a link counts half."""

FORGET = 30 * DAY
"""ns after which an unseen link is forgotten."""

CAP = 50_000
WINDOW_SHARE, TRAILING_SHARE = 0.5, 0.25
"""Of the false alarm rate: a window's own p counts twice, that of the last hour and that of the last day four times
(Bonferroni: valid however these depend on one another)."""

SURER = 2.0
"""Decades by which the p of an hour or a day must fall before it is told again within that span: sums overlap, and a
second finding from the same files would pass for a second sign."""

SURE = -8.0
"""log10 p below which it is told in every window: that is no chance, and must not look as if it were over."""

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
    families: tuple[Family, ...] = ()
    """Families of causes, of which one may be shared by a whole FTS: `{include: ../models/fts-causes.yaml}` in the
    shipped stream. Without them all error texts are one family."""


class LinkJudge(Judge):
    """Endpoints and links that fail more than they usually do, endpoints first.

    Each link has a habit: decayed failed and ok files, shrunk to the instance's Beta prior (empirical Bayes). Failures
    of a window are judged by the beta-binomial posterior predictive whose over-dispersion between windows is learned
    from the whole instance. An endpoint's total is judged against the sum of what its links usually do, with an
    over-dispersion of its own (a site's links have their bad hours together), and is blamed where the failure is not
    one link's (`stats.groups`). So a link that always fails is no news, and a p-value is one of *worse than its habit*.

    A subject's p-value is the least of three, each divided by its share of the false alarm rate: of the window, of the
    last hour, of the last day, whose counts are held against what was expected in each window at the time. So half of a
    small endpoint's files show within some windows, and a slow drip within a day.

    What a whole FTS or one organisation in it fails for is a finding of its own (`shared_causes`), and no failure of
    its endpoints and links.

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
    ['a to b fails: 40 of 50 files since 03:20 (usual 2.2 %)']
    """

    name = "fts.failures"
    version = 4
    Settings = LinkSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        """Tests of the last window by kind: what an alarm budget needs."""
        self._links = Habits(("ok", "failed", "at", "seen"), CAP)
        self._trailing = {"the last hour": Trailing(HOUR // 6, 6), "the last day": Trailing(HOUR, 24)}
        self._teaching = {span: Teaching() for span in ("", *self._trailing)}
        self._lessons = DelayedLessons()
        self._told: dict[str, tuple[float, int]] = {}
        """Subject → log10 p of its hour or day, and end of the window, when that was told last."""
        self._prior = np.zeros(3)
        self._news: dict[str, tuple[int, int]] = {}
        self._past: deque[EarlierWindow] = deque(maxlen=MEMORY)
        self._shared = SharedCauses()
        self._windows = 0

    def judge(self, closing: Closing) -> list[Finding]:
        """The finding of kind `shared-cause`, if any; then those of `endpoint` and `link`, most surprising first."""
        window, settings = closing.window, closing.settings
        everything = [link for link in link_windows(closing.records) if link.ok + link.failed > 0]
        cause, links = self._shared.judge(everything, settings.families, window, settings.emit)
        k = np.array([link.failed for link in links], dtype=np.int64)
        # a file that a shared cause failed might have failed of its link too: it stays among the files
        n = files_of(everything)
        keys = [link.source + SEPARATOR + link.destination for link in links]
        rows = self._links.rows(keys)
        self._learn_prior(k, n, window)
        mean, unsure = self._expected(rows, window)
        counts = LinkCounts(keys, k, n, n * mean, n * unsure)
        rho = self._within(mean) + unsure
        looks = [LinkLook("", WINDOW_SHARE, counts, mean, rho, self._teaching[""].endpoint.rho, k > 0)]
        for name, trailing in self._trailing.items():
            trailing.add(window, counts)
            if trailing.longer:
                looks.append(self._look(name, trailing, counts))
        verdicts = [suspects_of(look, settings.emit) for look in looks]
        shorter = [look.counts for look in looks[:2]]
        subjects = self._to_tell([one for one in one_each(verdicts) if not recovered(one, shorter)], window)
        involved = {key for one in subjects for key in one.keys}
        # not by the day: what is over would be in doubt for hours
        for look, verdict in zip(looks[:2], verdicts[:2], strict=True):
            involved.update(odd_keys(look, verdict))
        shared = k < [link.failed for link in everything]
        surprising = np.array([key in involved for key in keys], dtype=np.bool_) | shared
        names, _ = endpoints_of([w.source for w in links], [w.destination for w in links])
        self.tests = {"endpoint": len(names), "link": len(links), SHARED: 1}
        self._windows += 1
        findings: list[Finding] = []
        if self._windows > settings.warm_up:
            subjects.sort(key=lambda one: (one.log10_p, one.role, one.host, one.keys))
            findings = [self._finding(closing, links, one) for one in subjects[: settings.max_findings]]
            if cause is not None:
                findings.insert(0, self._shared_finding(closing, cause, everything))
        self._learn(counts, mean, surprising, window)
        first = int(shared.any())  # a window without what a shared cause took from it is no measure of chance
        self._learn_spread(looks[first:], verdicts[first:], window)
        self._past.append(EarlierWindow(window, {(w.source, w.destination): (w.ok, w.failed) for w in everything}))
        return findings

    def state(self) -> dict[str, Any]:
        """Plain data; `past` is kept by window, for the pictures."""
        return {
            "links": self._links.state(),
            "teaching": [teaching.state() for teaching in self._teaching.values()],
            "trailing": [trailing.state() for trailing in self._trailing.values()],
            "lessons": self._lessons.state(),
            "told": [[key, *self._told[key]] for key in sorted(self._told)],
            "prior": self._prior.tolist(),
            "news": [[key, *self._news[key]] for key in sorted(self._news)],
            "past": [
                [p.window.start, p.window.end, [[s, d, *c] for (s, d), c in sorted(p.counts.items())]]
                for p in self._past
            ],
            "windows": self._windows,
            "shared": self._shared.state(),
        }

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        self._links.restore(state["links"])
        for teaching, plain in zip(self._teaching.values(), state["teaching"], strict=True):
            teaching.restore(plain)
        for trailing, plain in zip(self._trailing.values(), state["trailing"], strict=True):
            trailing.restore(plain)
        self._lessons.restore(state["lessons"])
        self._told = {key: (log10_p, at) for key, log10_p, at in state["told"]}
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
        self._shared.restore(state["shared"])

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
        """Each link's mean, and the rho of not knowing it: from the instance's for a new link to its own habit."""
        prior_mean, prior_rho = expit(self._prior[1:])
        between = max(prior_rho - self._within(np.array([prior_mean])).item(), 0.02)
        strength = (1.0 - between) / between
        faded = self._faded(rows, window)
        failed, ok = faded * self._links.get(rows, "failed"), faded * self._links.get(rows, "ok")
        mean = (prior_mean * strength + failed) / (strength + failed + ok)
        return np.clip(mean, 1e-4, 0.9999), between * strength / (strength + failed + ok)

    def _within(self, mean: Floats) -> Floats:
        """Over-dispersion of a link's windows, were its habit known."""
        return self._teaching[""].link.rho(mean)

    def _faded(self, rows: Ints, window: Window) -> Floats:
        return np.asarray(0.5 ** ((window.end - self._links.get(rows, "at")) / HALF_LIFE), dtype=np.float64)

    def _to_tell(self, suspects: list[Suspect], window: Window) -> list[Suspect]:
        """Those that are news: an hour or a day speaks again when it is surer than it was."""
        told = []
        self._told = {key: last for key, last in self._told.items() if last[1] > window.end - DAY}
        for one in suspects:
            if one.look.span:
                before, at = self._told.get(one.key, (0.0, 0))
                again = at > window.end - self._trailing[one.look.span].span
                if again and one.log10_p > max(SURE, before - SURER):
                    continue
                self._told[one.key] = (one.log10_p, window.end)
            told.append(one)
        return told

    def _learn(self, counts: LinkCounts, mean: Floats, surprising: Bools, window: Window) -> None:
        # Files of one window are not independent: n of them teach as much as n / (1 + (n - 1) rho).
        worth = 1.0 / (1.0 + (counts.files - 1.0) * self._within(mean))
        self._lessons.add(Lesson(window, counts.keys, counts.failed, counts.files, worth))
        self._lessons.doubt({key for key, odd in zip(counts.keys, surprising.tolist(), strict=True) if odd})
        for lesson in self._lessons.due(window.end):
            rows = self._links.rows(lesson.keys)
            faded = self._faded(rows, lesson.window)
            self._links.put(
                rows,
                ok=faded * self._links.get(rows, "ok") + lesson.worth * (lesson.files - lesson.failed),
                failed=faded * self._links.get(rows, "failed") + lesson.worth * lesson.failed,
                at=np.full(len(rows), float(lesson.window.end)),
                seen=np.full(len(rows), float(lesson.window.end)),
            )
        if window.start // DAY != window.end // DAY:
            self._links.forget(window.end - FORGET)
        oldest = window.end - PAUSE * (window.end - window.start)
        self._news = {key: story for key, story in self._news.items() if story[1] >= oldest}

    def _learn_spread(self, looks: list[LinkLook], verdicts: list[LinkVerdict], window: Window) -> None:
        for look, verdict in zip(looks, verdicts, strict=True):
            span = self._trailing[look.span].span if look.span else window.end - window.start
            if not look.span or self._trailing[look.span].whole(window):
                self._teaching[look.span].learn(look, verdict, window.end, span)

    def _look(self, name: str, trailing: Trailing, now: LinkCounts) -> LinkLook:
        """At what an hour or a day held: what was expected is the sum of what was expected in each window. It varies at
        most as its windows do, which is known sooner."""
        counts = trailing.total()
        files = np.maximum(counts.files, 1)
        mean = np.clip(counts.expected / files, 1e-4, 0.9999)
        own, short = self._teaching[name], self._teaching[""]
        rho = np.minimum(own.link.rho(mean), short.link.rho(mean)) + counts.unsure / files
        failing = {key for key, failed in zip(now.keys, now.failed.tolist(), strict=True) if failed}
        fresh = np.array([key in failing for key in counts.keys], dtype=np.bool_)

        def endpoint(usual: Floats) -> Floats:
            return np.minimum(own.endpoint.rho(usual), short.endpoint.rho(usual))

        return LinkLook(name, TRAILING_SHARE, counts, mean, np.minimum(rho, 0.9), endpoint, fresh)

    def _shared_finding(self, closing: Closing, cause: SharedCause, seen: list[LinkWindow]) -> Finding:
        window, key, past = closing.window, SEPARATOR + cause.vo, list(self._past)
        onset = None
        if key not in self._news:
            # slices do not say whose files failed, or of what; links chosen by their failures would put it too early
            onset = window.start + onset_slice(seen, usual_share(past)) * ((window.end - window.start) // SLICES)
        since = self._news[key][0] if onset is None else onset
        self._news[key] = (since, window.end)
        return shared_finding((self.name, self.version), closing, cause, seen, past, since, onset, VALIDATED)

    def _finding(self, closing: Closing, seen: list[LinkWindow], subject: Suspect) -> Finding:
        window, mine = closing.window, set(subject.keys)
        own = [w for w in seen if w.source + SEPARATOR + w.destination in mine and w.ok + w.failed > 0]
        k, n, usual, rho = subject.files
        labels = {"scope": closing.scope}
        role = "both" if own[0].local and subject.role == "link" else subject.role
        files = f"{k} of {n} files" + (f" in {subject.look.span}" if subject.look.span else "")
        if own[0].local and subject.role == "link":
            labels |= {"endpoint": subject.host, "role": role}
            what = f"{subject.host} fails {WITHIN}: {files}"
        elif subject.role == "link":
            labels |= {"source": own[0].source, "destination": own[0].destination}
            what = f"{own[0].source} to {own[0].destination} fails: {files}"
        else:
            labels |= {"endpoint": subject.host, "role": subject.role}
            partners = {host for key in mine for host in key.split(SEPARATOR)} - {subject.host}
            as_what = {"source": "as source", "destination": "as destination", "both": "as source and destination"}
            side = {"source": "to {} destinations", "destination": "from {} sources", "both": "with {} partners"}
            what = f"{subject.host} fails {as_what[role]}: {files} {side[role].format(len(partners))}"
        key = SEPARATOR.join([own[0].source, own[0].destination] if role == "link" else [subject.host])
        onset = None
        if key not in self._news:
            onset = window.start + onset_slice(own, usual) * ((window.end - window.start) // SLICES)
        since = self._news[key][0] if onset is None else onset
        if onset is not None and subject.look.span:
            earlier = self._trailing[subject.look.span].onset(mine)
            if earlier < window.start:
                since, onset = earlier, window.start
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
            evidence=explain_failures(own, seen, list(self._past), window, Usual(usual, rho)),
            model=closing.model,
            onset=onset,
        )


def _severity(role: str, failed: int, files: int) -> Severity:
    return "critical" if role != "link" and files >= 30 and failed >= 0.5 * files else "warning"


def _keep(window: Window) -> float:
    return float(0.5 ** ((window.end - window.start) / HALF_LIFE))
