"""Interferometers with faults whose truth is known: a message for each second of science data, in order of arrival.

`opintel simulate`, the demo, benchmarks and tests read it as they would read a broker; `model` says what there is,
`story` what goes wrong, `playing` how that shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge

import numpy as np

from opintel.finding import NS
from opintel.gw.gps import gps_from_utc, utc_from_gps
from opintel.gw.simulated.glitches import Glitch, Injection, Maker
from opintel.gw.simulated.model import SMALL, InterferometerModel
from opintel.gw.simulated.noise import design_of
from opintel.gw.simulated.playing import Playing, Second
from opintel.gw.simulated.story import (
    FAULT_KINDS,
    ends_of,
    glitches_of,
    injections_of,
    numbered,
    stretches_of,
    troubles_of,
)
from opintel.gw.wire.encoder import message_of
from opintel.simulation import DEFAULT_START, HOUR, Fault, Stories

__all__ = ["DEFAULT_START", "FAULT_KINDS", "Fault", "GwSimulator"]

LATENCY = NS // 2
"""From the end of a second to the arrival of its message, ns."""


class GwSimulator:
    """A reproducible story: the same arguments give the same bytes, another `seed` other noise and other faults.

    `hours` of data from `start` (ns UTC), one fault of each kind in `faults` after the first `quiet_hours`, and so many
    `injections` of chirps into the strain. What is not touched by a fault or an injection is the same with and without
    it, bit for bit. Raises ValueError for unknown kinds and spans without room (`story.troubles_of`).
    """

    def __init__(
        self,
        *,
        seed: int,
        hours: float,
        start: int = DEFAULT_START,
        faults: Sequence[str] = FAULT_KINDS,
        quiet_hours: float = 0.0,
        model: InterferometerModel = SMALL,
        interferometers: Sequence[str] = ("L1",),
        injections: int = 0,
    ) -> None:
        if not (hours > 0 and 0 <= quiet_hours < hours):
            raise ValueError(f"hours are above 0 and quiet_hours below hours, got {hours=}, {quiet_hours=}")
        self.start, self.end = start, start + int(hours * HOUR)
        self.model, self.interferometers = model, tuple(interferometers)
        self._span = (-(-gps_from_utc(start) // NS), gps_from_utc(self.end) // NS)
        self.stretches = stretches_of(model, *self._span)
        loud = gps_from_utc(start + int(quiet_hours * HOUR)) // NS
        troubles = troubles_of(
            np.random.default_rng([seed, 1]),
            model,
            self.interferometers,
            faults,
            [one for one in self.stretches if one.begin >= loud],
        )
        self.truth: tuple[Fault, ...] = numbered(troubles)
        makers = [Maker(model, design_of(name)) for name in self.interferometers]
        its = [ends_of(self.stretches, troubles, name) for name in self.interferometers]
        self.science = dict(zip(self.interferometers, its, strict=True))
        """Interferometer → stretches of science data, GPS s."""
        self.glitches: dict[str, tuple[Glitch, ...]] = {
            name: glitches_of([seed, 2, n], maker, its[n], troubles, name)
            for n, (name, maker) in enumerate(zip(self.interferometers, makers, strict=True))
        }
        added = injections_of(np.random.default_rng([seed, 3]), makers, self.stretches, injections)
        self.injections: dict[str, tuple[Injection, ...]] = dict(zip(self.interferometers, added, strict=True))
        self._playing = {
            name: Playing(model, name, [seed, 4, n], troubles, self.glitches[name], self.injections[name])
            for n, name in enumerate(self.interferometers)
        }

    def seconds(self, interferometer: str) -> Iterator[Second]:
        """The seconds of an interferometer for which there is a message, in order of time."""
        return self._playing[interferometer].seconds(self.science[interferometer], *self._span)

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """(time of arrival in ns UTC, message), in order of arrival; each call tells the whole story again."""
        yield from merge(*map(self._arriving, self.interferometers), key=lambda item: item[0])

    def _arriving(self, interferometer: str) -> Iterator[tuple[int, bytes]]:
        for second in self.seconds(interferometer):
            arrival = utc_from_gps((second.gps + 1) * NS) + LATENCY
            yield arrival, message_of(second.table, second.gps, second.rows)


QUIET_HOURS, LOUD_HOURS = 2.0, 4.0


def evaluated(seed: int) -> list[GwSimulator]:
    """The story of a seed that `opintel evaluate gw` tells: faults after a quiet past, as in the demo. What is usual
    (a rate of glitches, a range) must have been heard before something can be unusual.
    """
    return [GwSimulator(seed=seed, hours=QUIET_HOURS + LOUD_HOURS, quiet_hours=QUIET_HOURS)]


STORIES = Stories(
    GwSimulator,
    FAULT_KINDS,
    LOUD_HOURS,
    QUIET_HOURS,
    "stretches of strain and auxiliary channels of an interferometer",
    suffix=".arrow",
    evaluated=evaluated,
)
