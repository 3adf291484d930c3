"""What goes wrong in a simulation and when: the faults of a story, drawn for a grid so that each can be noticed.

`simulate` plays them and writes them down as the truth. No two faults share a storage: their effects stay apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from opintel.finding import NS
from opintel.fts.simulated.faults import FTS, INCOMING, KINDS, LINK, TAPE, VO
from opintel.fts.simulated.grid import Topology
from opintel.fts.simulated.traffic import HOMES, VOS
from opintel.simulation import Fault

FAULT_KINDS = ("endpoint-down", "link-cut", "credentials-expired", "disk-full", "wrong-checksums", "slow-link")
OTHER_KINDS = tuple(kind for kind in KINDS if kind not in FAULT_KINDS)
"""Kinds that are injected only where they are asked for. `instance-dark` brings a second FTS, which sends a state after
each completion, as FTS does, and says nothing for a while."""

SHORTEST = 20 * 60 * NS
BUSY_HOSTS = slice(4, 25)
"""Ranks by traffic: busy, but not so busy that half of the grid fails with them."""
BUSY_LINK = 0.004
"""Share of all files that a faulty link carries at least: 12 in ten minutes at the usual rate."""
_LINK_PART = 0.4
"""A faulty link carries at most this part of either end's files, and no link more of a faulty endpoint's: else the one
looks like the other."""


def plan(
    rng: np.random.Generator, grid: Topology, kinds: Sequence[str], start: int, end: int, instances: Sequence[str]
) -> tuple[Fault, ...]:
    """One fault of each of `kinds` in [start, end), in order of start: other seeds, other order, times and subjects.

    Each lasts a sixth to a quarter of the span, 20 minutes at least (less only if the span is shorter); the first
    begins in the first tenth, the last leaves at least 40 minutes or a quarter of the span; an upgrade stays. Of
    several FTS `instances` each has one fault of its own at most, and the second goes dark. Raises ValueError for an
    unknown kind, or where no busy subject is left (more than about eight faults).
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"unknown fault kind {kind!r}; known are {', '.join(KINDS)}")
    if not kinds:
        return ()
    span = end - start
    order = [kinds[i] for i in rng.permutation(len(kinds))]
    first = rng.uniform(0.03, 0.09)
    last = max(first, min(rng.uniform(0.66, 0.76), 1.0 - min(0.25, 40 * 60 * NS / span)))
    steps = np.linspace(first, last, len(order))
    steps[1:-1] += rng.uniform(-0.3, 0.3, max(0, len(order) - 2)) * (last - first) / max(1, len(order) - 1)
    subjects = _subjects(rng, grid, order, instances)
    faults = []
    for number, (kind, step) in enumerate(zip(order, steps.tolist(), strict=True), 1):
        begin = start + int(step * span)
        lasts = min(max(int(rng.uniform(1 / 6, 1 / 4) * span), SHORTEST), end - begin)
        until = end if KINDS[kind].harmless else begin + lasts
        cause = next(iter(KINDS[kind].families), "")
        faults.append(Fault(f"{number}-{kind}", kind, subjects[number - 1], begin, until, cause))
    return tuple(faults)


def _subjects(
    rng: np.random.Generator, grid: Topology, kinds: Sequence[str], instances: Sequence[str]
) -> list[dict[str, str]]:
    """A subject for each kind; links choose first, they have the fewest candidates."""
    incoming, outgoing = grid.traffic("destination"), grid.traffic("source")
    taken = {name for name in grid.chronic if "|" not in name}
    for link, share in zip(grid.links, grid.share.tolist(), strict=True):
        for host, total in ((link.source.host, outgoing), (link.destination.host, incoming)):
            if share > _LINK_PART * total[host]:
                taken.add(host)
    chosen: dict[int, dict[str, str]] = {}
    for index in sorted(range(len(kinds)), key=lambda i: KINDS[kinds[i]].reach != LINK):
        kind = kinds[index]
        reach = KINDS[kind].reach
        if reach in (FTS, VO):
            continue
        if reach == LINK:
            candidates = [
                {"source": link.source.host, "destination": link.destination.host}
                for link, share in zip(grid.links, grid.share.tolist(), strict=True)
                if share >= BUSY_LINK
            ]
        elif reach == TAPE:
            candidates = [{"endpoint": one.host} for one in grid.storages if one.tape]
        else:
            least = incoming if reach == INCOMING else {h: min(incoming[h], outgoing[h]) for h in incoming}
            candidates = [{"endpoint": h} for h in sorted(least, key=lambda h: (-least[h], h))[BUSY_HOSTS]]
        free = [c for c in candidates if taken.isdisjoint(c.values())]
        if not free:
            raise ValueError(f"no busy subject is left for {kind!r}: {len(kinds)} faults are too many for one story")
        chosen[index] = free[int(rng.integers(len(free)))]
        taken.update(chosen[index].values())
    chosen |= _instances_of(rng, kinds, instances)
    return [chosen[index] for index in range(len(kinds))]


def _instances_of(
    rng: np.random.Generator, kinds: Sequence[str], instances: Sequence[str]
) -> dict[int, dict[str, str]]:
    """Faults of a whole FTS, or of an organisation there: each has an FTS of its own; an upgrade may be anywhere."""
    chosen: dict[int, dict[str, str]] = {}
    wide = [i for i, kind in enumerate(kinds) if KINDS[kind].reach in (FTS, VO)]
    free = list(instances)
    if "instance-dark" in kinds:
        free.remove(instances[1])
    for index in wide:
        kind = kinds[index]
        if kind == "instance-dark":
            chosen[index] = {"scope": instances[1]}
            continue
        if KINDS[kind].harmless:
            chosen[index] = {"scope": instances[int(rng.integers(len(instances)))]}
            continue
        if not free:
            raise ValueError(f"no FTS is left for {kind!r}: {len(instances)} are too few for so many faults of one")
        chosen[index] = {"scope": free.pop(int(rng.integers(len(free))))}
        if KINDS[kind].reach == VO:
            homes = HOMES[len(instances) - 1]
            vos = [vo for vo in VOS if instances[homes.get(vo, 0)] == chosen[index]["scope"]]
            chosen[index]["vo"] = vos[0]
    return chosen
