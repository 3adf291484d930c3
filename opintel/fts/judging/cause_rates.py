"""`Judge`: causes of failure whose share of an FTS's attempts jumps against its own past, and texts of no family.

A cause that many places share (an expired authority, one organisation's credentials, FTS itself) is seen here before
any endpoint stands out. These findings explain; endpoints, links and templates alarm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np

from opintel.detector import Closing, Emit, Judge, Most
from opintel.evidence import Band, Evidence, Series, Table, Texts, capped
from opintel.finding import Effect, Finding, finding_id
from opintel.fts.causes.facets import facet_table
from opintel.fts.causes.families import UNCLASSIFIED, Family, family_of
from opintel.fts.judging.explain import percent
from opintel.fts.link_windows import link_windows
from opintel.stats.counts import log_mid_p, shape
from opintel.stats.dispersion import HealthyFit, fit_healthy

LN10: Final = float(np.log(10.0))
EXAMPLES: Final = 5
PLACES: Final = 10
READ: Final = 100
"""Examples of a family, the most frequent, whose facets are counted."""
SHOWN: Final = 48
"""Windows of the past in the picture."""
KNOWN: Final = 4096
"""Unclassified forms that a scope remembers; later ones are not listed again."""
CERTIFIED: Final = -4.0
"""log10 p down to which the simulator without faults was looked at; below, p is extrapolated."""


class CauseSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which families there are, and when one stands out."""

    families: tuple[Family, ...] = ()
    """`{include: ../models/fts-causes.yaml}` in the shipped stream."""
    past: Most = 144
    """Windows of the past that a share is compared with."""
    least: Most = 24
    """So many of them must be there before a share is judged."""
    emit: Emit = -3.0
    """log10 p of one scope and window, all families together."""
    new: Most = 10
    """Messages from which on a family without any in the past is found, without a p: how it varies is not known."""


class CauseJudge(Judge):
    """`Judge`: kind `cause` for a family whose share jumped or that is new, kind `unclassified` for new odd texts.

    The share of a family among all attempts of a window is beta-binomial with mean and over-dispersion of the scope's
    own past, fitted so that earlier outbreaks do not count as usual (`opintel.stats.dispersion`); mid-p, times the
    number of families. State: (attempts, errors by family) of the last `past` windows, unclassified forms seen.

    >>> from opintel.detector import Controls, Record
    >>> from opintel.finding import Window
    >>> from opintel.fts.link_windows import LINK, LinkWindow
    >>> settings = CauseSettings(families=(Family("no-space", concepts=("space",)),), least=5)
    >>> judge, found = CauseJudge(), []
    >>> for at, failed in enumerate([1, 0, 2, 1, 0, 1, 60]):
    ...     forms = [("f1", "disk full", failed, "disk full")]
    ...     link = LinkWindow("a", "b", 100 - failed, failed, 0, 100, 0, [], (0, 0.0, 0.0), forms)
    ...     window = Window(600 * at, 600 * at + 600)
    ...     records = [Record(window, LINK, "a|b", "fts1", link)]
    ...     found += judge.judge(Closing(window, "fts1", records, Controls(), settings, "", complete=True))
    >>> [(f.window.start, f.kind, f.summary) for f in found]
    [(3600, 'cause', 'no-space: 60 of 100 attempts (60 %), usual 1.5 %')]
    """

    name = "fts.causes"
    version = 1
    Settings = CauseSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        self._past: list[tuple[int, dict[str, int]]] = []
        self._odd: set[str] = set()

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of one window; windows come in order of time."""
        settings: CauseSettings = closing.settings
        links = link_windows(closing.records)
        attempts = sum(link.attempts for link in links)
        if not attempts or not settings.families:
            return []
        by_family: dict[str, list[_Error]] = {}
        for link in links:
            for id, text, count, example in link.forms:
                if count:
                    error = _Error(id, text, count, example, link.source, link.destination)
                    by_family.setdefault(family_of(text, settings.families), []).append(error)
        counts = {name: sum(error.count for error in errors) for name, errors in by_family.items()}
        self.tests = {closing.scope: len(settings.families)}
        found = self._jumps(closing, attempts, counts, by_family)
        found += self._unclassified(closing, by_family.get(UNCLASSIFIED, []))
        self._past = [*self._past, (attempts, counts)][-settings.past :]
        return found

    def state(self) -> dict[str, Any]:
        """Plain values."""
        past = [[attempts, sorted(counts.items())] for attempts, counts in self._past]
        return {"past": past, "odd": sorted(self._odd)}

    def restore(self, state: Any) -> None:
        """The inverse of `state`, on a fresh judge."""
        self._past = [(attempts, dict(counts)) for attempts, counts in state["past"]]
        self._odd = set(state["odd"])

    def _jumps(
        self, closing: Closing, attempts: int, counts: dict[str, int], by_family: dict[str, list[_Error]]
    ) -> list[Finding]:
        settings: CauseSettings = closing.settings
        if len(self._past) < settings.least:
            return []
        found = []
        n = np.array([total for total, _ in self._past])
        for family in settings.families:
            now = min(counts.get(family.name, 0), attempts)
            k = np.minimum([before.get(family.name, 0) for _, before in self._past], n)
            if now * n.sum() <= k.sum() * attempts:
                continue
            usual = fit_healthy(k, n)
            log_p = None
            if k.any():
                log_p = float(log_mid_p(now, attempts, *shape(usual.mean, usual.rho))[0]) / LN10
                log_p = min(0.0, log_p + float(np.log10(len(settings.families))))
            if now >= settings.new if log_p is None else log_p <= settings.emit:
                often = "never before" if log_p is None else f"usual {percent(usual.mean)}"
                summary = f"{family.name}: {now} of {attempts} attempts ({percent(now / attempts)}), {often}"
                shares = [*(k / n).tolist(), now / attempts]
                evidence = _evidence(closing, family, by_family[family.name], _history(closing, shares, usual))
                effect = Effect(now / attempts, "share of attempts")
                found.append(_finding(self, closing, "cause", family.name, log_p, effect, summary, evidence))
        return found

    def _unclassified(self, closing: Closing, errors: list[_Error]) -> list[Finding]:
        new = [error for error in errors if error.form not in self._odd]
        if not new or len(self._odd) >= KNOWN:
            return []
        self._odd.update(error.form for error in new)
        texts, count = _texts(new), sum(error.count for error in new)
        block = Texts("Error texts that no family fits", texts[:PLACES])
        summary = f"{len(texts)} new error text{'s' if len(texts) > 1 else ''} of no family, {count} messages"
        effect = Effect(float(count), "messages")
        return [_finding(self, closing, UNCLASSIFIED, UNCLASSIFIED, None, effect, summary, [block])]


class _Error(msgspec.Struct, frozen=True):
    """One masked form on one link in one window."""

    form: str
    text: str
    count: int
    example: str
    source: str
    destination: str


def _evidence(closing: Closing, family: Family, errors: list[_Error], history: Series) -> list[Evidence]:
    links = Counter[tuple[str, str]]()
    for error in errors:
        links[error.source, error.destination] += error.count
    top = sorted(links.items(), key=lambda item: (-item[1], item[0]))[:PLACES]
    examples = Counter[str]()
    for error in errors:
        examples[error.example] += error.count
    what: list[list[str | float | int | None]] = [["meaning", family.meaning], ["first action", family.action]]
    return [
        Table("What it means", ["", family.name], [row for row in what if row[1]]),
        history,
        Texts("Error texts of this family, masked", _texts(errors)[:EXAMPLES]),
        facet_table(sorted(examples.items(), key=lambda item: (-item[1], item[0]))[:READ]),
        Table("Links with most of them", ["source", "destination", "messages"], [[*link, n] for link, n in top]),
    ]


def _history(closing: Closing, shares: list[float], usual: HealthyFit) -> Series:
    """The last windows in which there was traffic, as if they had followed each other."""
    length, shown = closing.window.end - closing.window.start, shares[-SHOWN:]
    times = [closing.window.start - (len(shown) - 1 - at) * length for at in range(len(shown))]
    spread = 2.33 * (usual.mean * (1.0 - usual.mean) * usual.rho) ** 0.5
    low, high = max(0.0, usual.mean - spread), min(1.0, usual.mean + spread)
    band = Band([low] * len(shown), [high] * len(shown), 0.98)
    window = (closing.window.start, closing.window.end)
    return Series("Share of attempts by window", times, [*shown], "share of attempts", band, window)


def _texts(errors: list[_Error]) -> list[tuple[str, int]]:
    counts = Counter[str]()
    for error in errors:
        counts[error.text] += error.count
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _finding(
    judge: CauseJudge,
    closing: Closing,
    kind: str,
    family: str,
    log10_p: float | None,
    effect: Effect,
    summary: str,
    evidence: Sequence[Evidence],
) -> Finding:
    subject = {"scope": closing.scope, "family": family}
    return Finding(
        id=finding_id(judge.name, judge.version, closing.model, subject, closing.window),
        detector=judge.name,
        kind=kind,
        subject=subject,
        window=closing.window,
        log10_p=log10_p,
        basis="none" if log10_p is None else "exact" if log10_p >= CERTIFIED else "extrapolated",
        effect=effect,
        severity="info",
        summary=summary,
        evidence=capped(evidence),
        model=closing.model,
    )
