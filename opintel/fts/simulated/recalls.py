"""Recalls from tape in a simulation: FTS stages a file for its owner, and source and destination are one storage.

There are some only in stories with a fault of kind `staging-timeouts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from opintel.finding import NS
from opintel.fts.simulated.faults import KINDS, spans
from opintel.fts.simulated.grid import Link, Topology
from opintel.fts.simulated.senders import Senders
from opintel.fts.simulated.traffic import BackgroundTraffic
from opintel.simulation import HOUR, Fault

SHARE: Final = 0.12
"""Recalls, beside all other messages: twenty in ten minutes for each front end where there are 12,000 an hour."""
USUALLY: Final = 0.02
"""Probability that one fails without a fault."""
REASON: Final = "STAGING [110] bring-online timeout has been exceeded"


def recall_links(world: Topology) -> tuple[Link, ...]:
    """Each tape front end with itself."""
    return tuple(Link(one, one, one.protocols[0]) for one in world.storages if one.tape)


class Recalls:
    """The recalls of a story, step by step."""

    def __init__(
        self,
        rng: np.random.Generator,
        world: Topology,
        truth: Sequence[Fault],
        traffic: BackgroundTraffic,
        senders: Senders,
    ) -> None:
        self._rng, self._traffic, self._senders = rng, traffic, senders
        self._first = len(world.links)
        self._hosts = [link.source.host for link in recall_links(world)]
        self._failing = list(spans(truth, "staging-timeouts"))

    def step(self, begin: int, end: int) -> None:
        """Sends the final states of the recalls that end in [begin, end)."""
        if not self._failing:
            return
        n = int(self._rng.poisson(self._traffic.rate * SHARE * (end - begin) / HOUR))
        tapes = self._rng.integers(0, len(self._hosts), n)
        files = self._traffic.files(self._first + tapes)
        times = self._traffic.times(begin, end, n)
        ids, arrivals, copies = self._senders.post.stamps(times)
        u = self._rng.random((n, 2)).tolist()
        for k, (file, tape, time) in enumerate(zip(files, tapes.tolist(), times.tolist(), strict=True)):
            ill = any(host == self._hosts[tape] and start <= time < end for host, start, end in self._failing)
            bad = u[k][0] < (KINDS["staging-timeouts"].probability if ill else USUALLY)
            submitted = time - int((24 * 3600 if bad else 60 + 7200 * u[k][1]) * NS)
            state, reason = ("FAILED", REASON) if bad else ("FINISHED", "")
            sender = self._senders.of(file)
            sender.state(file, state, reason, time, submitted, ids[k], arrivals[k], copies[k], staging=True)
