"""Who fails more than usual in one look at links' counts: endpoints first, then the links that none explains.

`failures` looks at a window, at the last hour and at the last day through this; what is usual comes with the counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from opintel.fts.judging.scales import SEPARATOR, LinkCounts
from opintel.fts.links import endpoints_of
from opintel.stats.counts import Floats, Ints, log_mid_p, shape
from opintel.stats.groups import Blame, Bools, MemberScores, blame, scores

FLOOR = -12.0
"""log10 p below which findings tie."""
NOTABLE = 1.5
"""Standard deviations above the mean from which on a tail is worth computing: no p below 3e-4 lies nearer."""


class LinkLook(NamedTuple):
    """The counts of N links in a time, and what was usual."""

    span: str
    """`the last hour`; empty: the window."""
    share: float
    """Of the false alarm rate, what this look may spend: a p-value is divided by it."""
    counts: LinkCounts
    mean: Floats
    rho: Floats
    """(N,) predictive of each link."""
    endpoint_rho: Callable[[Floats], Floats]
    """Over-dispersion of endpoints' totals, by what is usual for them, were the habits known."""
    fresh: Bools
    """(N,) whether the link has failed in the window that closes: nothing else is news."""


class Suspect(NamedTuple):
    """An endpoint or link that fails more than usual."""

    role: str
    """`source`, `destination`, `both` or `link`."""
    host: str
    members: Ints
    """Places of its links in the look."""
    log10_p: float
    look: LinkLook

    @property
    def keys(self) -> list[str]:
        """Its links."""
        return [self.look.counts.keys[n] for n in self.members.tolist()]

    @property
    def key(self) -> str:
        """What it is, whatever its role."""
        return self.keys[0] if self.role == "link" else self.host

    @property
    def files(self) -> tuple[int, int, float, float]:
        """(failed, files, usual share, over-dispersion)."""
        counts = self.look.counts
        n = int(counts.files[self.members].sum())
        usual = float(np.sum(counts.files[self.members] * self.look.mean[self.members]) / n)
        return int(counts.failed[self.members].sum()), n, usual, float(np.mean(self.look.rho[self.members]))


class LinkVerdict(NamedTuple):
    suspects: list[Suspect]
    surprise: Floats
    """(N,) log10 p of each link by itself, 0 where it is nothing special."""
    explained: Bools
    """(N,) whether an endpoint explains the link."""


def suspects_of(look: LinkLook, emit: float) -> LinkVerdict:
    """Everyone whose p-value, divided by the look's share, is at most 10^emit."""
    k, n = look.counts.failed, look.counts.files
    least = emit + math.log10(look.share)
    log_p = _tails(k, n, look.mean, look.rho, look.fresh)
    ends = [key.split(SEPARATOR) for key in look.counts.keys]
    names, groups = endpoints_of([end[0] for end in ends], [end[1] for end in ends])
    p = _totals(look, groups, np.ones(len(n), dtype=np.bool_))
    several = (g for g in np.flatnonzero(p <= least).tolist() if len(groups[g]) > 1)
    candidates = [g for g in several if look.fresh[groups[g]].any()]
    found = _blame(look, [groups[g] for g in candidates], least)
    guilty = [candidates[g] for g in np.flatnonzero(found.blamed).tolist()]
    # a link between two that fail says nothing of either: not since when, nor with which errors
    claims = np.zeros(len(n), dtype=np.int64)
    for g in guilty:
        claims[groups[g]] += 1
    alone = _totals(look, groups, claims < 2)
    spent = math.log10(look.share)
    blamed = [Suspect(*names[g], groups[g][claims[groups[g]] < 2], float(alone[g]) - spent, look) for g in guilty]
    links = np.flatnonzero((log_p <= least) & (found.by < 0)).tolist()
    by_link = [Suspect("link", ends[i][0], np.array([i]), float(log_p[i]) - spent, look) for i in links]
    return LinkVerdict([*_one_a_host(blamed), *by_link], log_p, found.by >= 0)


def one_each(verdicts: Sequence[LinkVerdict]) -> list[Suspect]:
    """Each subject once, as the look has it that is the most surprised; no link that an endpoint explains in any."""
    explained = {key for verdict in verdicts for one in verdict.suspects if one.role != "link" for key in one.keys}
    best: dict[str, Suspect] = {}
    for verdict in verdicts:
        for one in verdict.suspects:
            known = best.get(one.key)
            if (one.role != "link" or one.key not in explained) and (known is None or one.log10_p < known.log10_p):
                best[one.key] = one
    return list(best.values())


def _totals(look: LinkLook, groups: Sequence[Ints], free: Bools) -> Floats:
    """log10 mid-p of each group's free total (G,), floored; 0 where nothing is free."""
    if not groups:
        return np.zeros(0)
    k, n = look.counts.failed, look.counts.files
    start = np.cumsum([0] + [len(g) for g in groups[:-1]])
    member = np.concatenate(groups)
    open_ = free[member]
    total, failed, expected, spread, unsure = (
        np.add.reduceat(np.where(open_, values[member], 0.0), start)
        for values in (n, k, n * look.mean, n * (n - 1.0) * look.rho, n * look.counts.unsure)
    )
    used = total > 0
    safe = np.maximum(total, 2.0)
    usual = np.where(used, expected / np.maximum(total, 1.0), 0.5)
    # Links that vary independently give the least over-dispersion a total can have.
    own = look.endpoint_rho(usual) + unsure / safe**2
    dispersion = np.clip(np.maximum(own, spread / (safe * (safe - 1.0))), 1e-6, 0.9)
    return _tails(failed.astype(np.int64), total.astype(np.int64), usual, dispersion, used)


def _tails(k: Ints, n: Ints, mean: Floats, rho: Floats, of: Bools) -> Floats:
    """log10 upper mid-p of these counts, floored; 0 for all others and what lies within `NOTABLE`."""
    deviation = np.sqrt(mean * (1.0 - mean) * n * (1.0 + (n - 1.0) * rho))
    at = np.flatnonzero(of & (k > n * mean + NOTABLE * deviation))
    log_p = np.zeros(len(n))
    log_p[at] = np.maximum(log_mid_p(k[at], n[at], *shape(mean[at], rho[at])) / np.log(10.0), FLOOR)
    return log_p


def _blame(look: LinkLook, groups: list[Ints], least: float) -> Blame:
    """Blame among the candidates."""
    k, n = look.counts.failed, look.counts.files
    if not groups:
        return Blame(np.ones(0), np.ones(0), np.zeros(0, dtype=np.bool_), np.full(len(n), -1))
    touched = np.unique(np.concatenate(groups))
    few = scores(k[touched], n[touched], *shape(look.mean[touched], look.rho[touched]))
    local = [np.searchsorted(touched, g) for g in groups]

    def significant(_: Floats, free: Bools) -> Bools:
        everywhere = np.zeros(len(n), dtype=np.bool_)
        everywhere[touched] = free
        return _totals(look, groups, everywhere) <= least

    found = blame(local, MemberScores(few.level, few.pmf), significant)
    by = np.full(len(n), -1)
    by[touched] = found.by
    return found._replace(by=by)


def _one_a_host(blamed: list[Suspect]) -> list[Suspect]:
    """Blamed endpoints, one a host: of both roles with twice the smaller p."""
    hosts: dict[str, list[Suspect]] = {}
    for suspect in blamed:
        hosts.setdefault(suspect.host, []).append(suspect)
    out = []
    for parts in hosts.values():
        members = np.unique(np.concatenate([part.members for part in parts]))
        smallest = min(part.log10_p for part in parts) + math.log10(len(parts))
        role = "both" if len(parts) > 1 else parts[0].role
        out.append(parts[0]._replace(role=role, members=members, log10_p=smallest))
    return out
