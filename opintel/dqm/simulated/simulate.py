"""A detector with faults whose truth is known: its histograms, lumisection by lumisection, in order of arrival.

`opintel simulate`, the demo, benchmarks and tests read it as they would read a broker. `detector_model` says what is
usual, `beam` when data are taken, `story` what goes wrong, `happenings` how that shows; here it is played. A message is
one of the Arrow parts in which a lumisection of a subsystem is sent; the first brings its manifest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from opintel.dqm.elements import MonitorElement
from opintel.dqm.histograms import Listing
from opintel.dqm.simulated.beam import LENGTH, Lumisection, lumisections
from opintel.dqm.simulated.detector_model import Floats, Plot, Subsystem, element, subsystems
from opintel.dqm.simulated.happenings import HV_TRIP, MISSING, Happening
from opintel.dqm.simulated.story import FAULT_KINDS, plan
from opintel.dqm.wire.encoder import parts_of
from opintel.dqm.wire.heads import Head
from opintel.finding import NS
from opintel.simulation import DEFAULT_START, HOUR, Fault, Stories

__all__ = ["DEFAULT_START", "FAULT_KINDS", "DqmSimulator", "Fault"]

HISTOGRAMS = 60
EARLIEST, LATER, LATEST = 3.0, 1.5, 12.0
"""s from the end of a lumisection to the arrival of its parts: at least, longer than that on average, at most."""
AGAIN = 0.01
"""Share of the parts that arrive twice, …"""
REVISED = 0.005
"""… of the lumisections of a subsystem that are sent with a part of their entries first, and whole some seconds later;
not where histograms are cumulative."""
NOISE = 0.01
"""Standard deviation of what is recorded about what the luminosity says."""


class DqmSimulator:
    """A reproducible story: the same arguments give the same bytes, another `seed` gives other runs and other faults.

    `hours` of a detector's histograms from `start` (ns UTC), lumisections of `length` s, one fault of each kind in
    `faults` after the first `quiet_hours`; histograms without a fault are the same with and without it. Raises
    ValueError for unknown kinds and spans without room (`story.plan`).
    """

    def __init__(
        self,
        *,
        seed: int,
        hours: float,
        start: int = DEFAULT_START,
        faults: Sequence[str] = FAULT_KINDS,
        quiet_hours: float = 0.0,
        histograms: int = HISTOGRAMS,
        length: float = LENGTH,
    ) -> None:
        if not (hours > 0 and 0 <= quiet_hours < hours):
            raise ValueError(f"hours are above 0 and quiet_hours below hours, got {hours=}, {quiet_hours=}")
        self.start, self.end = start, start + int(hours * HOUR)
        self._seed = seed
        self.detector = subsystems(histograms)
        self.lumisections = lumisections(np.random.default_rng([seed, 1]), start, self.end, length)
        begin = start + int(quiet_hours * HOUR)
        rng = np.random.default_rng([seed, 2])
        self.truth: tuple[Fault, ...] = plan(rng, self.detector, faults, self.lumisections, begin, self.end)

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """(time of arrival in ns UTC, message), in order of arrival; each call tells the whole story again."""
        plays = [_Play(self._seed, n, one, self.truth) for n, one in enumerate(self.detector)]
        pending: list[tuple[int, int, bytes]] = []
        for n, lumisection in enumerate(self.lumisections):
            pending.sort()
            come = sum(arrival < lumisection.end for arrival, *_ in pending)
            yield from ((arrival, body) for arrival, _, body in pending[:come])
            del pending[:come]
            for play in plays:
                pending += [(arrival, n, body) for arrival, body in play.lumisection(n, lumisection)]
        yield from ((arrival, body) for arrival, _, body in sorted(pending))


class _Play:
    """A subsystem in the running simulation: what it has counted since the start of the run."""

    def __init__(self, seed: int, number: int, subsystem: Subsystem, truth: Sequence[Fault]) -> None:
        self._seed, self._number, self._subsystem = seed, number, subsystem
        self._faults = [
            Happening(fault, subsystem, [seed, 10 + n])
            for n, fault in enumerate(truth)
            if fault.subject["scope"] == subsystem.name
        ]
        self._run = 0
        self._variation = self._counted = np.zeros(len(subsystem.low))
        """(bins,) of this run; the contents of cumulative histograms."""

    def lumisection(self, n: int, at: Lumisection) -> Iterator[tuple[int, bytes]]:
        """(arrival, message) of the messages of lumisection number `n` of the story."""
        subsystem = self._subsystem
        if at.run != self._run:
            self._run, self._variation = at.run, subsystem.variation(at.run)
            self._counted = np.zeros_like(self._counted)
        recorded = at.luminosity * (1.0 + NOISE * np.random.default_rng([self._seed, 3, n]).standard_normal())
        rng = np.random.default_rng([self._seed, 4, n, self._number])
        expected = subsystem.expected(recorded, at.pileup, self._variation)
        counts = rng.poisson(expected).astype(np.float64)
        active = [one for one in self._faults if one.fault.start <= at.start < one.fault.end]
        for one in active:
            one.befall(expected, counts, at, np.random.default_rng([self._seed, 5, n, self._number]))
        there = [p for p in subsystem.plots if not any(one.fault.kind == MISSING and one.plot == p for one in active)]
        conditions = self._listing(at, high_voltage=not any(one.fault.kind == HV_TRIP for one in active))
        head = Head(at.run, at.number, at.start, at.end, subsystem.name, cumulative=subsystem.cumulative)
        arrival = at.end + int(min(EARLIEST + rng.exponential(LATER), LATEST) * NS)
        if subsystem.cumulative:
            self._counted = self._counted + counts
            counts = self._counted
        elif rng.random() < REVISED:
            some = rng.binomial(counts.astype(np.int64), 0.4).astype(np.float64)
            yield from self._sent(head, self._elements(there, at, some, rng), conditions, arrival, rng)
            head, arrival = head._replace(revision=2), arrival + 6 * NS
        yield from self._sent(head, self._elements(there, at, counts, rng), conditions, arrival, rng)

    def _sent(
        self, head: Head, elements: list[MonitorElement], listing: Listing, arrival: int, rng: np.random.Generator
    ) -> Iterator[tuple[int, bytes]]:
        for body in parts_of(head, elements, listing):
            yield arrival, body
            if rng.random() < AGAIN:
                yield arrival + 2 * NS, body

    def _elements(
        self, plots: Sequence[Plot], at: Lumisection, counts: Floats, rng: np.random.Generator
    ) -> list[MonitorElement]:
        """The histograms, and profiles of so many entries a bin."""
        contents, variances = self._subsystem.contents(counts, self._variation, rng)
        spans = ((plot, slice(plot.begin, plot.end)) for plot in plots)
        return [element(plot, at.menu, contents[span], variances[span]) for plot, span in spans]

    def _listing(self, at: Lumisection, *, high_voltage: bool) -> Listing:
        paths = [plot.path for plot in self._subsystem.plots]
        kind = "collisions" if at.stable else "adjust"
        menu = f"{kind}/v{7 + at.menu}"
        level = (round(at.luminosity, 6), round(at.pileup, 3))
        return Listing(len(paths), paths, "collisions", menu if at.stable else "", *level, at.stable, high_voltage)


LONG = 120.0
"""s: a lumisection of the stories; at 480 times the speed of time those of CMS would be 20 a second."""
STORIES = Stories(
    partial(DqmSimulator, length=LONG), FAULT_KINDS, 10.0, 1.5, "60 histograms of 3 subsystems", suffix=".arrow"
)
