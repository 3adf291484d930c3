"""The rule by which CMS operators call links, endpoints and sites good or bad, from an hour of traffic.

Restated from `fts/eval_fts.py` of CMSCompOps/MonitoringScripts (CMS Site Support Team; its hourly bin), none of whose
code is here. Pages show its verdicts beside our findings. Three things differ: quality is by files alone, for the hours
do not have the bytes of failed files; whose fault a failure is, is for `opintel.fts.causes.blame` to say and not for
lists of substrings; a site is as its worst endpoint of which something is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from opintel.fts.traffic import LinkTraffic

Verdict = Literal["ok", "warning", "error", "unknown"]
Role = Literal["source", "destination"]
HALF: Final = 0.5
POOR: Final = 0.25
"""Share of files that arrive below which a link is bad."""
MANY: Final = 0.75
"""Share of bad links above which an endpoint is bad, and left out where its partners are looked at."""
WORST_FIRST: Final[tuple[Verdict, ...]] = ("error", "warning", "ok", "unknown")


class _Files(NamedTuple):
    """Files of a link that speak of one of its ends: without users' faults and without the other end's."""

    ok: int
    all: int


def link_verdict(ok: int, files: int) -> Verdict:
    """A link of which `ok` of `files` arrived, users' faults left out: one file more or less must not decide.

    >>> [link_verdict(*counts) for counts in ((2, 2), (7, 10), (6, 11), (1, 10), (0, 1), (0, 0))]
    ['ok', 'ok', 'warning', 'error', 'warning', 'unknown']
    """
    return "ok" if 0 < files == ok else _majority(ok, files)


def endpoint_verdicts(links: Iterable[LinkTraffic]) -> dict[tuple[str, Role], Verdict]:
    """Each endpoint's verdict as a source and as a destination: the majority of its links, those in doubt taken
    together as one, without the links to endpoints that are bad themselves. What an endpoint does within itself is left
    out. With fewer than three links the majority is never sure, and the verdict is `warning`.

    >>> def link(source, destination, ok, failed, side=0):
    ...     return LinkTraffic(source, destination, ok, failed, 0, by_destination=side)
    >>> full = [link(f"s{n}", "d", 0, 50, 50) for n in range(9)]
    >>> fine = [link(f"s{n}", f"e{m}", 50, 0) for n in range(9) for m in range(3)]
    >>> said = endpoint_verdicts([*full, *fine])
    >>> said["d", "destination"], said["e0", "destination"], said["s0", "source"]
    ('error', 'ok', 'ok')
    """
    partners: dict[Role, dict[str, dict[str, _Files]]] = {"source": {}, "destination": {}}
    for one in links:
        if one.source != one.destination:
            nobodys = one.failed - one.by_user - one.by_source - one.by_destination
            out, into = (one.ok + nobodys + side for side in (one.by_source, one.by_destination))
            partners["source"].setdefault(one.source, {})[one.destination] = _Files(one.ok, out)
            partners["destination"].setdefault(one.destination, {})[one.source] = _Files(one.ok, into)
    bad = {role: {end for end, of in ends.items() if _is_bad(of.values())} for role, ends in partners.items()}
    others: tuple[tuple[Role, Role], ...] = (("source", "destination"), ("destination", "source"))
    return {
        (end, role): _majority(*_counted([files for partner, files in of.items() if partner not in bad[other]]))
        for role, other in others
        for end, of in partners[role].items()
    }


def site_verdicts(links: Iterable[LinkTraffic], site_of: Mapping[str, str]) -> dict[str, Verdict]:
    """Site → its worst endpoint's verdict, of those that `site_of` names.

    >>> links = [LinkTraffic("a", f"b{n}", 0, 9, 0, by_source=9) for n in range(4)]
    >>> site_verdicts(links, {"a": "SITE-A", "b0": "SITE-B"})
    {'SITE-A': 'error', 'SITE-B': 'unknown'}
    """
    found: dict[str, list[Verdict]] = {}
    for (end, _), verdict in endpoint_verdicts(links).items():
        if end in site_of:
            found.setdefault(site_of[end], []).append(verdict)
    return {site: min(verdicts, key=WORST_FIRST.index) for site, verdicts in found.items()}


def _majority(good: int, all: int) -> Verdict:
    if not all:
        return "unknown"
    return "ok" if (good - 1) / all > HALF else "error" if (good + 1) / all < HALF else "warning"


def _taken(links: Iterable[_Files]) -> list[_Files]:
    """The links that say something, those in doubt as one."""
    said = [(link_verdict(*files), files) for files in links]
    sure = [files for verdict, files in said if verdict in ("ok", "error")]
    doubted = [files for verdict, files in said if verdict == "warning"]
    return [*sure, _Files(*map(sum, zip(*doubted, strict=True)))] if doubted else sure


def _is_bad(links: Iterable[_Files]) -> bool:
    taken = _taken(links)
    return bool(taken) and (sum(ok / all < POOR for ok, all in taken) - 1) / len(taken) > MANY


def _counted(links: Sequence[_Files]) -> tuple[int, int]:
    """(links that are ok, links)."""
    taken = _taken(links)
    return sum(link_verdict(*files) == "ok" for files in taken), len(taken)
