"""What comes of an attempt at a file: its outcome, how long its phases took, and what an error says."""

from __future__ import annotations

import math

from opintel.fts.simulated import wording
from opintel.fts.simulated.faults import FaultEffect
from opintel.fts.simulated.grid import Topology
from opintel.fts.simulated.monit import MS, Attempt, Envelopes, FileTransfer
from opintel.fts.simulated.traffic import USERS
from opintel.fts.transfers import ABORTED, FAILED, OK

ABORTS = 0.003
"""Share of attempts that somebody aborts."""
AGAIN = 0.25
"""Probability at least that what failed once fails again."""


class Attempts:
    """Outcomes of attempts on the links of `world`, which `effects` (by link) spoil."""

    def __init__(self, world: Topology, effects: dict[int, list[FaultEffect]]) -> None:
        self._world, self._effects = world, effects
        self.bandwidth, self._failure = world.bandwidth.tolist(), world.failure.tolist()
        self.hiccup: dict[int, int] = {}
        """Link → how many of its next attempts fail without a fault."""

    def outcome(
        self, time: int, file: FileTransfer, retry: int, u: list[float], z: list[float], writer: Envelopes
    ) -> Attempt | None:
        """The attempt that ends at `time`; None: FTS gives the file up while it is queued. `u` are six uniform and `z`
        two normal deviates."""
        link = file.link
        slowed, cause, blame_source = 1.0, "", u[3] < 0.5
        for effect in self._effects.get(link, ()):
            if effect.holds(time, writer.instance, file.vo):
                slowed = effect.slowed
                if u[0] < effect.probability:
                    cause = effect.cause
                    blame_source = blame_source if effect.at_source is None else effect.at_source
                    break
        if not cause:
            if self.hiccup.get(link, 0) > 0:
                self.hiccup[link] -= 1
                cause = "usual"
            elif u[1] < (max(self._failure[link], AGAIN) if retry else self._failure[link]):
                cause = "usual"
            elif u[2] < ABORTS:
                cause = "abort"
        if cause == "queue":
            return None
        prepare = 3.0 + 5.0 * math.exp(0.6 * z[0])
        flow = 0.2 + file.size / (self.bandwidth[link] * math.exp(0.4 * z[1])) * slowed
        if not cause:
            finish = 0.5 + u[4]
            return _timed(time, prepare, flow, finish, OK, retry, None, "")
        words, error = self._error(file, cause, blame_source, u, writer)
        outcome = ABORTED if cause == "abort" else FAILED
        if words.code == 110:
            flow = 60.0 + 540.0 * u[4]
        elif words.phase == "TRANSFER":
            flow *= u[4]
        if words.phase == "TRANSFER_PREPARATION":
            return _timed(time, prepare + (flow if words.code == 110 else 0.0), 0.0, 0.0, outcome, retry, words, error)
        return _timed(time, prepare, flow, 1.0, outcome, retry, words, error)

    def optimised(self, link: int, time: int, scope: str) -> tuple[float, float]:
        """(probability that an attempt fails, times slower) that the optimiser of an FTS sees on a link."""
        failing, slowed = self._failure[link], 1.0
        for effect in self._effects.get(link, ()):
            if not effect.vo and effect.holds(time, scope, ""):
                failing, slowed = max(failing, effect.probability), effect.slowed
        return failing, slowed

    def _error(
        self, file: FileTransfer, cause: str, blame_source: bool, u: list[float], writer: Envelopes
    ) -> tuple[wording.Wording, str]:
        link = self._world.links[file.link]
        options = wording.choices(cause, link.protocol)
        words = options[int(u[5] * len(options))]
        if words.scope == "SIDE":
            words = words._replace(scope="SOURCE" if blame_source else "DESTINATION")
        side = "destination" if words.scope == "DESTINATION" else "source"
        storage = link.destination if side == "destination" else link.source
        chance = int(u[4] * 2**32)
        text = words.text.format(
            host=storage.host,
            port=storage.port(link.protocol),
            ipv4=storage.ipv4,
            ipv6=storage.ipv6,
            path=f"{storage.folder(file.vo)}/{file.name}",
            url=writer.url(file, side),
            size=file.size,
            number=int(file.size * u[4]),
            short=30 + chance % 570,
            door=20000 + chance % 5000,
            sum_a=file.adler32,
            sum_b=f"{chance:08x}",
            user=file.user or USERS[chance % len(USERS)],
            vo=file.vo,
        )
        return words, text[:1024]


def _timed(
    end: int,
    prepare: float,
    flow: float,
    finish: float,
    outcome: int,
    retry: int,
    words: wording.Wording | None,
    error: str,
) -> Attempt:
    """An attempt that ends at `end`, from the seconds that its phases took; no flow means that no bytes moved."""
    stop = end - int(finish * 1000) * MS
    begin = stop - int(flow * 1000) * MS
    start = begin - int(prepare * 1000) * MS
    return Attempt(start, begin if flow else 0, stop if flow else 0, end, outcome, retry, words, error)
