"""Evidence of the FTS judges: the pictures and tables that explain a finding about an endpoint or a link.

Built from the window's `LinkWindow`s and the judge's short memory; goes into `Finding.evidence`, capped. Texts are as
untrusted as the messages they come from and are escaped where they are shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from opintel.evidence import Band, Evidence, Links, Matrix, Series, Table, Texts, capped
from opintel.finding import Window
from opintel.fts.link_windows import LinkWindow
from opintel.fts.texts.causes import cause, headline, side

JOBS = 3
"""Jobs that a finding names."""
FACETS = 12
"""VOs and activities that it lists."""
SIDE = 12
"""Rows and columns of the matrix around a subject."""

LinkEnds = tuple[str, str]


class EarlierWindow(NamedTuple):
    """One earlier window of the scope: (ok, failed) by link."""

    window: Window
    counts: dict[LinkEnds, tuple[int, int]]


class Usual(NamedTuple):
    """What was expected of a failed share: mean and over-dispersion."""

    mean: float
    rho: float


def explain_failures(
    own: Sequence[LinkWindow],
    all_links: Sequence[LinkWindow],
    past: Sequence[EarlierWindow],
    window: Window,
    usual: Usual,
) -> tuple[Evidence, ...]:
    """The evidence of a failing endpoint or link: evolution, source × destination, error texts, jobs, who is hit, its
    links."""
    blocks: list[Evidence] = [evolution(own, past, window, usual), surroundings(own, all_links)]
    return capped([*blocks, *errors(own), *jobs(own), *who(own), table(own)])


def evolution(own: Sequence[LinkWindow], past: Sequence[EarlierWindow], window: Window, usual: Usual) -> Series:
    """The failed share of these links, earlier windows and this one, with the band that holds 98 % of usual windows."""
    links = {(link.source, link.destination) for link in own}
    totals = [
        (p.window.start, np.sum([c for link, c in p.counts.items() if link in links] or [(0, 0)], axis=0)) for p in past
    ]
    totals.append((window.start, np.array([sum(w.ok for w in own), sum(w.failed for w in own)])))
    low, high, shares = [], [], []
    for _, (ok, failed) in totals:
        n = int(ok + failed)
        spread = 2.33 * (usual.mean * (1.0 - usual.mean) * (usual.rho + (1.0 - usual.rho) / max(n, 1))) ** 0.5
        low.append(max(0.0, usual.mean - spread))
        high.append(min(1.0, usual.mean + spread))
        shares.append(float(failed / n) if n else None)
    times = [start for start, _ in totals]
    band = Band(low, high, 0.98)
    return Series("Failed share by window", times, shares, "failed share", band, (window.start, window.end))


def surroundings(own: Sequence[LinkWindow], all_links: Sequence[LinkWindow]) -> Matrix:
    """Failed share, source × destination: the subject's own first, then the busiest that touch them."""
    mine_from, mine_to = Counter[str](), Counter[str]()
    for link in own:
        mine_from[link.source] += link.ok + link.failed
        mine_to[link.destination] += link.ok + link.failed
    near_from, near_to = Counter[str](), Counter[str]()
    for link in all_links:
        if link.destination in mine_to and link.source not in mine_from:
            near_from[link.source] += link.ok + link.failed
        if link.source in mine_from and link.destination not in mine_to:
            near_to[link.destination] += link.ok + link.failed
    rows, columns = _first(mine_from, near_from), _first(mine_to, near_to)
    share = {(w.source, w.destination): w.failed / (w.ok + w.failed) for w in all_links if w.ok + w.failed > 0}
    values = [[share.get((row, column)) for column in columns] for row in rows]
    return Matrix("Failed share by link", rows, columns, values, "failed share", "source", "destination")


def errors(own: Sequence[LinkWindow]) -> list[Evidence]:
    """The causes with counts, an example as sent of each, the side that FTS blames; nothing where there is no error."""
    counts, example, blamed = Counter[str](), dict[str, str](), Counter[str]()
    for link in own:
        for _, text, count, sample in link.forms:
            counts[cause(text)] += count
            example.setdefault(cause(text), sample)
            blamed[side(text)] += count
    top = _most(counts, 10)
    if not top:
        return []
    blocks: list[Evidence] = [
        Texts("Errors, the cause first, masked", [(text, counts[text]) for text in top]),
        Texts("Errors, an example of each as sent", [(example[text], counts[text]) for text in top]),
    ]
    sides = [name for name in ("source", "destination") if blamed[name]]
    if sides:
        rows: list[list[str | float | int | None]] = [[name, blamed[name]] for name in sides]
        blocks.append(Table("Side that FTS blames", ["side", "files"], [*rows, ["neither", blamed[""]]]))
    return blocks


def jobs(own: Sequence[LinkWindow]) -> list[Evidence]:
    """Three jobs that failed, of as many causes as there are, the most frequent first: links to FTS's log where it
    gave one."""
    counts, named = Counter[str](), dict[str, dict[str, tuple[str, str]]]()
    for link in own:
        for (_, text, count, _), examples in zip(link.forms, link.jobs, strict=False):
            counts[cause(text)] += count
            for job, url in examples:
                named.setdefault(cause(text), {}).setdefault(job, (url, headline(text, 60)))
    queues = [list(named[text].items()) for text in _most(counts, JOBS) if text in named]
    found = [queue[n] for n in range(JOBS) for queue in queues if n < len(queue)][:JOBS]
    linked = [(f"{job}: {why}", url) for job, (url, why) in found if url]
    others: list[list[str | float | int | None]] = [[job, why] for job, (url, why) in found if not url]
    blocks: list[Evidence] = [Links("Jobs that failed, in FTS's log", linked)] if linked else []
    return [*blocks, Table("Jobs that failed", ["job", "error"], others)] if others else blocks


def who(own: Sequence[LinkWindow]) -> list[Table]:
    """Files by VO and activity, most failures first; nothing where no message names them."""
    counts = dict[tuple[str, str], tuple[int, int]]()
    for link in own:
        for vo, activity, ok, failed in link.facets:
            before = counts.get((vo, activity), (0, 0))
            counts[vo, activity] = (before[0] + ok, before[1] + failed)
    if not any(vo or activity for vo, activity in counts):
        return []
    ranked = sorted(counts.items(), key=lambda item: (-item[1][1], -item[1][0], item[0]))[:FACETS]
    rows: list[list[str | float | int | None]] = [
        [vo or "unknown", activity or "unknown", ok, failed, round(failed / (ok + failed), 4)]
        for (vo, activity), (ok, failed) in ranked
    ]
    return [Table("Whose files", ["VO", "activity", "ok", "failed", "failed share"], rows)]


def table(own: Sequence[LinkWindow]) -> Table:
    """The links in numbers, most failures first; at most 30."""
    ranked = sorted(own, key=lambda w: (-w.failed, -w.ok, w.source, w.destination))[:30]
    columns = ["source", "destination", "ok", "failed", "aborted", "retries", "bytes", "queued", "active"]
    rows: list[list[str | float | int | None]] = []
    for w in ranked:
        retries = w.attempts - w.ok - w.failed - w.aborted
        rows.append([w.source, w.destination, w.ok, w.failed, w.aborted, retries, w.bytes, w.submitted, w.active])
    return Table("Links in this window", columns, rows)


def main_error(own: Sequence[LinkWindow], width: int = 60) -> str:
    """The most frequent cause, on one line and short, or nothing."""
    counts, form = Counter[str](), dict[str, str]()
    for link in own:
        for _, text, count, _ in link.forms:
            counts[cause(text)] += count
            form.setdefault(cause(text), text)
    top = _most(counts, 1)
    return headline(form[top[0]], width) if top else ""


def percent(share: float) -> str:
    """A share for people: two digits below 10 %.

    >>> percent(0.0213), percent(0.84)
    ('2.1 %', '84 %')
    """
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"


def _first(own: Counter[str], near: Counter[str]) -> list[str]:
    # A subject's own side leaves room for neighbours: the contrast is what tells an endpoint from its partners.
    mine = _most(own, SIDE)
    return mine + _most(near, SIDE - len(mine))


def _most(counts: Counter[str], limit: int) -> list[str]:
    return sorted(counts, key=lambda name: (-counts[name], name))[: max(limit, 0)]
