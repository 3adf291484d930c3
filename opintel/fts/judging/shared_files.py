"""Whose the failed files of links are: of a family of error texts, of an organisation; and links with or without them.

A file counts once, however often it was tried: the failed files of a link are shared out by the counts of its forms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from opintel.fts.causes.families import UNCLASSIFIED, Family, family_of
from opintel.fts.link_windows import OTHERS, LinkWindow
from opintel.stats.counts import Ints

MOST_VOS = 64
"""Organisations of a window that are looked at: names come from outside."""


def files_of(links: Sequence[LinkWindow]) -> Ints:
    """Files that ended, (N,)."""
    return np.array([link.ok + link.failed for link in links], dtype=np.int64)


def failed_by_family(links: Sequence[LinkWindow], families: Sequence[Family]) -> dict[str, Ints]:
    """Family, `UNCLASSIFIED` among them → failed files of each of N links, (N,).

    >>> link = LinkWindow("a", "b", 5, 4, 0, 9, 0, [], (0, 0.0, 0.0), [("f", "disk full", 3, ""), ("g", "?", 1, "")])
    >>> failed_by_family([link], (Family("no-space", concepts=("space",)),))
    {'no-space': array([3]), 'unclassified': array([1])}
    """
    found = {family.name: np.zeros(len(links), dtype=np.int64) for family in families}
    found[UNCLASSIFIED] = np.zeros(len(links), dtype=np.int64)
    for at, link in enumerate(links):
        if link.failed:
            for name, count in _shared_out(link, families).items():
                found[name][at] = count
    return found


def files_by_vo(links: Sequence[LinkWindow]) -> dict[str, tuple[Ints, Ints]]:
    """Organisation → (failed, all) files of each of N links, for the `MOST_VOS` with most files; what has no name, or
    one with others, is left out.

    >>> who = [("atlas", "Production", 5, 1), ("atlas", "User", 2, 0), ("cms", "", 0, 3), ("", "", 1, 0)]
    >>> files_by_vo([LinkWindow("a", "b", 8, 4, 0, 12, 0, [], (0, 0.0, 0.0), [], facets=who)])
    {'atlas': (array([1]), array([8])), 'cms': (array([3]), array([3]))}
    """
    total = Counter[str]()
    for link in links:
        for vo, _, ok, failed in link.facets:
            total[vo] += ok + failed
    del total[""], total[OTHERS]
    first = sorted(total, key=lambda vo: (-total[vo], vo))[:MOST_VOS]
    found = {vo: (np.zeros(len(links), dtype=np.int64), np.zeros(len(links), dtype=np.int64)) for vo in sorted(first)}
    for at, link in enumerate(links):
        for vo, _, ok, failed in link.facets:
            if vo in found:
                found[vo][0][at] += failed
                found[vo][1][at] += ok + failed
    return found


def only(link: LinkWindow, failed: int, fits: Callable[[str], bool]) -> LinkWindow:
    """The link with `failed` of its failed files, those whose error text `fits`."""
    return _with(link, failed, fits)


def without(link: LinkWindow, failed: int, fits: Callable[[str], bool]) -> LinkWindow:
    """The link without `failed` of its failed files, those whose error text `fits`."""
    return _with(link, link.failed - failed, lambda text: not fits(text)) if failed else link


def _with(link: LinkWindow, failed: int, fits: Callable[[str], bool]) -> LinkWindow:
    """With so many failed files; slices, which do not say why a file failed, keep the same part."""
    kept = [n for n, form in enumerate(link.forms) if fits(form[1])]
    part = failed / max(link.failed, 1)
    return msgspec.structs.replace(
        link,
        failed=failed,
        forms=[link.forms[n] for n in kept],
        jobs=[link.jobs[n] for n in kept if n < len(link.jobs)],
        slices=[(at, ok, round(part * fails), *rates) for at, ok, fails, *rates in link.slices],
    )


def _shared_out(link: LinkWindow, families: Sequence[Family]) -> dict[str, int]:
    """The failed files of one link by family; the largest rest gets what rounding leaves."""
    counts: dict[str, int] = {}
    for _, text, count, _ in link.forms:
        name = family_of(text, families)
        counts[name] = counts.get(name, 0) + count
    counts[UNCLASSIFIED] = counts.get(UNCLASSIFIED, 0) + link.other_forms
    total = sum(counts.values())
    if not total:
        return {UNCLASSIFIED: link.failed}
    exact = {name: link.failed * count / total for name, count in counts.items()}
    found = {name: int(share) for name, share in exact.items()}
    for name in sorted(exact, key=lambda name: (found[name] - exact[name], name))[: link.failed - sum(found.values())]:
        found[name] += 1
    return found
