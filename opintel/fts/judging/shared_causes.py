"""What a whole FTS, or one organisation in it, fails for: an expired authority or proxy, the service itself.

Such a cause fails files at many places at once, and none of them is to blame. `failures` asks here first: what a shared
cause explains is no failure of an endpoint or a link. A cause is shared where its part of the files jumps even when the
places that have most of it are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from opintel.finding import Window
from opintel.fts.causes.families import Family, family_of
from opintel.fts.judging.shared_files import failed_by_family, files_by_vo, files_of, only, without
from opintel.fts.link_windows import LinkWindow
from opintel.stats.counts import Floats, Ints, log_mid_p, shape
from opintel.stats.habits import Habits
from opintel.stats.learned_dispersion import Dispersion

HALF_LIFE: Final = 3 * 86_400 * 10**9
"""ns after which what was learned counts half."""
FORGET: Final = 30 * 86_400 * 10**9
"""ns after which an organisation that has no files is forgotten."""
CAP: Final = 512
"""Families and organisations of one scope; what comes above is not judged."""
LEAST_WINDOWS: Final = 6.0
"""History without which a group is not judged."""
LEFT_OUT, LEFT_OUT_SHARE, LEFT_OUT_MOST = 3, 0.05, 0.25
"""Places that may fail alike by chance: so many, or this share of those that there are; of few at most that share."""
LEAST_SHARE: Final = 0.02
"""Of a group's files, what must fail above the usual to be worth a page."""
WELL: Final = -2.0
"""log10 p above which the other organisations are well, so that it is the one's own cause."""
LEAST_OTHERS: Final = 20
"""Files of others that must be there to say so."""
PAUSE: Final = 3
"""Windows without it after which a cause's next window begins a new story."""
GIVEN_UP: Final = 144
"""Windows (a day of ten minutes) that a shared cause lasts until it is what is usual."""
LEAST_SPREAD: Final = 0.002
"""Over-dispersion of groups at least."""
LEAST_FAILED: Final = 3.0
"""Failures of a group, by what they teach, from which on it teaches how shares vary."""
PRIOR_FAILED, PRIOR_FILES = 0.5, 50.0
"""Files that are assumed before any was seen."""
FAMILY, VO = "family ", "vo "
"""Before the name of a group."""


class SharedCause(NamedTuple):
    """One cause that many places have failures of."""

    vo: str
    """The organisation whose files fail; empty: all."""
    family: str
    """Of its error texts the one that has grown most; the first it had, as long as it lasts."""
    log10_p: float
    """Over all groups."""
    failed: int
    files: int
    """Of the organisation, or all."""
    usual: float
    """Failed share, without the worst places."""
    rho: float
    places: int
    """At which files fail of it."""
    links: list[LinkWindow]
    """Those with failures of it, holding these alone."""


class _Look(NamedTuple):
    """A group of files in a window without its worst places, and what is usual there."""

    failed: int
    files: int
    mean: float
    rho: float
    log10_p: float
    """0 where it is nothing special or there is no history."""

    @property
    def excess(self) -> float:
        return self.failed - self.mean * self.files

    def stands_out(self, least: float) -> bool:
        return self.log10_p <= least and self.excess >= LEAST_SHARE * self.files


Groups = Mapping[str, tuple[Ints, Ints]]
"""Name → (failed, all) files of each of N links."""


class SharedCauses:
    """The usual failed share of each family of texts and each organisation, and the cause that stands out of it.

    The share of a group without its worst places is beta-binomial about its decayed mean, over-dispersed as all groups
    of the scope are. A window with a shared cause does not teach. Where one organisation's files fail and all others'
    do not, the cause is that organisation's.
    """

    def __init__(self) -> None:
        self._habits = Habits(("failed", "files", "windows", "at", "seen"), CAP)
        self._dispersion = Dispersion(start=0.02)
        self._family = ""
        self._quiet = self._lasting = 0

    def judge(
        self, links: Sequence[LinkWindow], families: Sequence[Family], window: Window, emit: float
    ) -> tuple[SharedCause | None, list[LinkWindow]]:
        """The shared cause of a window, if its log10 p is at most `emit`, and the links without its failures.

        Windows come in order of time, and teach.
        """
        by_family = {
            FAMILY + name: (failed, files_of(links)) for name, failed in failed_by_family(links, families).items()
        }
        by_vo = {VO + name: counts for name, counts in files_by_vo(links).items()}
        ends, places = _ends(links)
        looks = self._looks({**by_family, **by_vo}, ends, places, window)
        tests = math.log10(max(len(looks), 1))
        least = emit - tests
        vos = [name for name in by_vo if looks[name].stands_out(least)]
        texts = [name for name in by_family if looks[name].stands_out(least)]
        alone = len(vos) == 1 and self._others_are_well(vos[0], by_vo, ends, places, window)
        if not alone and not texts:
            self._quiet += 1
            if self._quiet >= PAUSE:
                self._family, self._lasting = "", 0
            self._learn(looks, window)
            return None, list(links)
        groups, shown = (by_vo, vos) if alone else (by_family, texts)
        taken = np.sum([groups[name][0] for name in shown], axis=0)
        files = by_vo[vos[0]][1] if alone else files_of(links)
        self._quiet, self._lasting = 0, self._lasting + 1
        if self._lasting >= GIVEN_UP:
            rows = self._habits.rows(shown)
            self._habits.put(rows, **{column: np.zeros(len(rows)) for column in ("failed", "files", "windows")})
            self._lasting = 0
        best = min(shown, key=lambda name: (looks[name].log10_p, name))
        grown = _grown(by_family if alone else {name: by_family[name] for name in texts}, looks, taken)
        if self._family not in grown:
            self._family = grown[0]

        def fits(text: str) -> bool:
            return family_of(text, families) in grown

        counts = taken.tolist()
        cause = SharedCause(
            vo=vos[0].removeprefix(VO) if alone else "",
            family=self._family,
            log10_p=min(0.0, looks[best].log10_p + tests),
            failed=int(taken.sum()),
            files=int(files.sum()),
            usual=looks[best].mean,
            rho=looks[best].rho,
            places=len(np.unique(ends[:, taken > 0])),
            links=[only(link, n, fits) for link, n in zip(links, counts, strict=True) if n],
        )
        return cause, [without(link, n, fits) for link, n in zip(links, counts, strict=True)]

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "habits": self._habits.state(),
            "dispersion": self._dispersion.state(),
            "story": [self._family, self._quiet, self._lasting],
        }

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        self._habits.restore(state["habits"])
        self._dispersion.restore(state["dispersion"])
        self._family, self._quiet, self._lasting = state["story"]

    def _looks(self, groups: Groups, ends: Ints, places: int, window: Window) -> dict[str, _Look]:
        rest = {name: _without_worst(*counts, ends, places) for name, counts in groups.items()}
        return self._judged(list(rest), [r[0] for r in rest.values()], [r[1] for r in rest.values()], window)

    def _judged(self, names: list[str], failed: list[int], files: list[int], window: Window) -> dict[str, _Look]:
        mean, rho, windows = self._usual(names, window)
        k, n = np.array(failed, dtype=np.int64), np.array(files, dtype=np.int64)
        log_p = np.zeros(len(names))
        at = np.flatnonzero((k > n * mean) & (windows >= LEAST_WINDOWS))
        if len(at):
            log_p[at] = log_mid_p(k[at], n[at], *shape(mean[at], rho[at])) / np.log(10.0)
        found = map(_Look, failed, files, mean.tolist(), rho.tolist(), log_p.tolist())
        return dict(zip(names, found, strict=True))

    def _usual(self, names: list[str], window: Window) -> tuple[Floats, Floats, Floats]:
        """Predictive mean, over-dispersion and windows seen of each group."""
        rows = self._habits.rows(names)
        faded = 0.5 ** ((window.end - self._habits.get(rows, "at")) / HALF_LIFE)
        failed = faded * self._habits.get(rows, "failed") + PRIOR_FAILED
        files = faded * self._habits.get(rows, "files") + PRIOR_FILES
        between = self._spread(failed / files)
        return failed / files, between + (1.0 - between) / (files + 1.0), faded * self._habits.get(rows, "windows")

    def _spread(self, mean: Floats) -> Floats:
        """Over-dispersion of groups at these means; groups are few, so it is never believed to be none."""
        return np.maximum(self._dispersion.rho(mean), LEAST_SPREAD)

    def _others_are_well(self, vo: str, by_vo: Groups, ends: Ints, places: int, window: Window) -> bool:
        """Whether the files of all other organisations fail as they usually do."""
        others = [counts for name, counts in by_vo.items() if name != vo]
        if not others:
            return False
        failed, files = np.sum(others, axis=0)
        k, n = _without_worst(failed, files, ends, places)
        names = [name for name in by_vo if name != vo]
        mean, rho, _ = self._usual(names, window)
        share = np.array([counts[1].sum() for counts in others], dtype=np.float64)
        usual, spread = (float(np.average(values, weights=np.maximum(share, 1e-9))) for values in (mean, rho))
        if n < LEAST_OTHERS:
            return False
        return k <= n * usual or float(log_mid_p(k, n, *shape(usual, spread))[0]) / math.log(10.0) > WELL

    def _learn(self, looks: Mapping[str, _Look], window: Window) -> None:
        names = [name for name, look in looks.items() if look.files]
        if not names:
            return
        rows = self._habits.rows(names)
        k = np.array([looks[name].failed for name in names], dtype=np.int64)
        n = np.array([looks[name].files for name in names], dtype=np.int64)
        keep = 0.5 ** ((window.end - window.start) / HALF_LIFE)
        # what has hardly ever failed, or is hardly known, cannot say how its share varies
        seen = self._habits.get(rows, "windows") >= LEAST_WINDOWS
        known = seen & (self._habits.get(rows, "failed") >= LEAST_FAILED)
        mean = np.array([looks[name].mean for name in names])
        # files of one window are not independent: n of them teach as much as n / (1 + (n - 1) rho)
        worth = 1.0 / (1.0 + (n - 1.0) * self._spread(mean))
        faded = 0.5 ** ((window.end - self._habits.get(rows, "at")) / HALF_LIFE)
        self._habits.put(
            rows,
            failed=faded * self._habits.get(rows, "failed") + worth * k,
            files=faded * self._habits.get(rows, "files") + worth * n,
            windows=faded * self._habits.get(rows, "windows") + 1.0,
            at=np.full(len(rows), float(window.end)),
            seen=np.full(len(rows), float(window.end)),
        )
        self._dispersion.learn(k[known], n[known], mean[known], keep)
        if window.start // FORGET != window.end // FORGET:
            self._habits.forget(window.end - FORGET)


def _grown(by_family: Groups, looks: Mapping[str, _Look], taken: Ints) -> list[str]:
    """Families with more failures than usual on the links that a cause reaches, most first; one at least."""
    reached = taken > 0
    excess = {
        name.removeprefix(FAMILY): float(failed[reached].sum() - looks[name].mean * files[reached].sum())
        for name, (failed, files) in by_family.items()
    }
    ranked = sorted(excess, key=lambda name: (-excess[name], name))
    return [name for name in ranked if excess[name] > 0.0] or ranked[:1]


def _ends(links: Sequence[LinkWindow]) -> tuple[Ints, int]:
    """The places of each link's two ends (2, N), numbered in order of name, and how many there are.

    A place is a domain: the storages of a site fail together.
    """
    names = [[_place(link.source) for link in links], [_place(link.destination) for link in links]]
    known, number = np.unique(np.array(names or [[], []], dtype=object).astype(str), return_inverse=True)
    return number.reshape(2, len(links)).astype(np.int64), len(known)


def _place(host: str) -> str:
    _, dot, domain = host.partition(".")
    return domain if dot and "." in domain else host


def _without_worst(failed: Ints, files: Ints, ends: Ints, places: int) -> tuple[int, int]:
    """(failed, files) of the links that touch none of the places with most failures, one taken out after the other."""
    free, local = np.ones(len(failed), dtype=np.bool_), ends[0] == ends[1]
    few = max(1, min(LEFT_OUT, int(LEFT_OUT_MOST * places)))
    for _ in range(max(few, math.ceil(LEFT_OUT_SHARE * places))):
        left = np.where(free, failed, 0).astype(np.float64)
        if not left.any():
            break
        here = np.bincount(ends[0], left, places) + np.bincount(ends[1], np.where(local, 0.0, left), places)
        free &= (ends != int(np.argmax(here))).all(axis=0)
    return int(failed[free].sum()), int(files[free].sum())
