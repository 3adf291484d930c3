"""The kinds of fault that a simulation knows: what each does to the attempts of a link, and what its true cause is.

`story` draws subjects and times, `attempts` asks here what goes wrong at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from opintel.finding import NS
from opintel.fts.simulated.grid import Link, Topology
from opintel.simulation import Fault

SLOWED: Final = 15.0
"""A slow link's throughput is divided by this."""
FLAP: Final = 15 * 60 * NS
"""A flapping link is cut for so long, then as long not."""

ENDPOINT, INCOMING, LINK, FTS, VO, TAPE = "endpoint", "incoming", "link", "fts", "vo", "tape"
"""What a fault reaches: a storage, transfers to it only, a link, one FTS, one organisation's files there, recalls."""


class FaultKind(NamedTuple):
    """One kind of fault."""

    reach: str
    cause: str
    """Section of `wording` that its errors are of; empty: it changes the outcome of no attempt."""
    probability: float
    """That an attempt fails."""
    families: tuple[str, ...]
    """Families of causes (`models/fts-causes.yaml`) that its error texts are of, the one that it is first."""
    slowed: float = 1.0
    flaps: bool = False
    region: str = ""
    """Only transfers from or to storages of this region."""
    harmless: bool = False
    """It changes what is said, not what happens: no incident should come of it."""


KINDS: Final = {
    "endpoint-down": FaultKind(ENDPOINT, "down", 1.0, ("connection-refused", "connection-timeout", "timeout")),
    "link-cut": FaultKind(LINK, "cut", 1.0, ("host-unreachable", "connection-timeout", "timeout")),
    "credentials-expired": FaultKind(ENDPOINT, "credentials", 0.9, ("host-certificate",)),
    "disk-full": FaultKind(INCOMING, "full", 0.85, ("no-space",)),
    "wrong-checksums": FaultKind(INCOMING, "checksum", 0.5, ("checksum-mismatch",)),
    "slow-link": FaultKind(LINK, "slow", 0.2, ("timeout",), slowed=SLOWED),
    "queue-timeouts": FaultKind(INCOMING, "queue", 0.95, ("timeout", "cancelled")),
    "instance-dark": FaultKind(FTS, "", 0.0, ()),
    "instance-trouble": FaultKind(FTS, "trouble", 0.7, ("internal",)),
    "authority-expired": FaultKind(FTS, "authority", 0.9, ("host-certificate",), region="america"),
    "vo-credentials": FaultKind(VO, "proxy", 0.95, ("credentials",)),
    "flapping-link": FaultKind(LINK, "cut", 1.0, ("host-unreachable", "connection-timeout", "timeout"), flaps=True),
    "staging-timeouts": FaultKind(TAPE, "", 0.9, ("tape", "timeout")),
    "reworded": FaultKind(FTS, "", 0.0, (), harmless=True),
}


class FaultEffect(NamedTuple):
    """What a fault does to the attempts of a link."""

    start: int
    end: int
    cause: str
    probability: float
    slowed: float
    at_source: bool | None
    """Which side an error blames; None: either."""
    scope: str
    """Only in this FTS; empty: in each."""
    vo: str
    """Only this organisation's files; empty: each."""
    flaps: bool

    def holds(self, time: int, scope: str, vo: str) -> bool:
        """Whether it acts on a file of this organisation in this FTS now."""
        return (
            self.start <= time < self.end
            and (not self.scope or self.scope == scope)
            and (not self.vo or self.vo == vo)
            and not (self.flaps and (time - self.start) // FLAP % 2)
        )


def effects(world: Topology, truth: Sequence[Fault]) -> dict[int, list[FaultEffect]]:
    """Link → what the faults of the story do to it."""
    found: dict[int, list[FaultEffect]] = {}
    for fault in truth:
        kind, subject = KINDS[fault.kind], fault.subject
        if not kind.cause:
            continue
        for index, link in enumerate(world.links):
            if _reaches(kind, fault, link):
                host = subject.get("endpoint")
                at_source = None if kind.reach in (FTS, VO) else link.source.host == host
                scope, vo = subject.get("scope", ""), subject.get("vo", "")
                effect = FaultEffect(
                    fault.start,
                    fault.end,
                    kind.cause,
                    kind.probability,
                    kind.slowed,
                    at_source,
                    scope,
                    vo,
                    kind.flaps,
                )
                found.setdefault(index, []).append(effect)
    return found


def _reaches(kind: FaultKind, fault: Fault, link: Link) -> bool:
    source, destination = link.source.host, link.destination.host
    if kind.reach == LINK:
        return (source, destination) == (fault.subject["source"], fault.subject["destination"])
    if kind.reach in (FTS, VO):
        return kind.region in ("", link.source.region, link.destination.region)
    host = fault.subject["endpoint"]
    return host == destination or (host == source and kind.reach == ENDPOINT)


def spans(truth: Sequence[Fault], kind: str) -> Iterator[tuple[str, int, int]]:
    """(subject's FTS or storage, start, end) of the faults of a kind."""
    for fault in truth:
        if fault.kind == kind:
            yield fault.subject.get("endpoint") or fault.subject["scope"], fault.start, fault.end
