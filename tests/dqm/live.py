"""Messages of histograms through real ingest and both stages over a log, and what was found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from contract.harness import Case, Outcome, play

from opintel.dqm.elements import MonitorElement
from opintel.dqm.histograms import Listing
from opintel.dqm.pipeline import PIPELINE
from opintel.dqm.wire import DqmWire
from opintel.dqm.wire.encoder import parts_of
from opintel.dqm.wire.heads import Head
from opintel.finding import NS
from opintel.streams.stream import Stream

from .lumisections import BEGIN, element, head, shape

STREAM = Stream("dqm", "dqm.histograms", partitions=1, window=60 * NS, lateness=60 * NS, skew=30 * NS)
PATHS = {f"T/h{n}": shape(peak=5.0 + 9 * n) for n in range(4)}
WHERE = re.compile(r"run (\d+) lumisection (\d+): ")
Part = tuple[int, bytes]
"""(arrival, message)"""


class Live(NamedTuple):
    """What came of a story."""

    outcome: Outcome

    def alarms(self, scope: str = "Calo") -> dict[tuple[int, int], list[tuple[str, str]]]:
        """(run, lumisection) → (kind, histogram) of what is more than information."""
        found: dict[tuple[int, int], list[tuple[str, str]]] = {}
        for one in self.outcome.findings.values():
            if one["severity"] != "info" and one["subject"]["scope"] == scope:
                found.setdefault(self._place(one), []).append((one["kind"], one["subject"].get("histogram", "")))
        return {place: sorted(these) for place, these in sorted(found.items())}

    def states(self, scope: str = "Calo") -> dict[tuple[int, int], str]:
        """(run, lumisection) → state of the subsystem."""
        found = [f for f in self.outcome.findings.values() if f["kind"] == "quality" and f["subject"]["scope"] == scope]
        return dict(sorted((self._place(f), f["summary"].split(": ")[1].split(",")[0]) for f in found))

    def words(self, kind: str) -> list[str]:
        """The summaries of all findings of a kind, in order of time."""
        found = [(f["window"]["end"], f["summary"]) for f in self.outcome.findings.values() if f["kind"] == kind]
        return [words for _, words in sorted(found)]

    def about(self, *paths: str) -> dict[str, dict]:
        """The findings about these histograms."""
        return {i: f for i, f in self.outcome.findings.items() if f["subject"].get("histogram") in paths}

    def _place(self, finding: dict) -> tuple[int, int]:
        match = WHERE.match(finding["summary"])
        assert match, finding["summary"]
        return int(match[1]), int(match[2])


def live(folder: Path, parts: Iterable[Part], stream: Stream = STREAM) -> Live:
    """Plays messages, in order of arrival, and closes what they are about."""
    sent = sorted(parts, key=lambda part: part[0])
    sent.append((sent[-1][0] + 2 * stream.lateness + 100 * NS, b"the end"))
    return Live(play(Case("dqm", stream, PIPELINE, DqmWire(), lambda: sent), folder))


def sent(
    about: Head, elements: Iterable[MonitorElement], listing: Listing | None = None, delay: float = 3.0
) -> list[Part]:
    """A lumisection, `delay` s after its end."""
    return [(about.end + round(delay * NS), body) for body in parts_of(about, elements, listing)]


def detector(number: int, run: int = 5, scale: float = 1.0) -> list[MonitorElement]:
    """Four histograms of a lumisection: the same for the same numbers, whatever else a story holds."""
    rng = np.random.default_rng([run, number])
    return [element(path, rng.poisson(scale * mean)) for path, mean in PATHS.items()]


def emptied(elements: Sequence[MonitorElement], path: str, first: int, last: int) -> list[MonitorElement]:
    """The same with bins [first, last] of one histogram empty."""

    def without(one: MonitorElement) -> MonitorElement:
        values = one.values.copy()
        values[first : last + 1] = 0
        return one._replace(values=values)

    return [without(one) if one.path == path else one for one in elements]


def healthy(run: int, numbers: Iterable[int], listing: Listing | None = None) -> list[Part]:
    """Lumisections of a run in which nothing happens."""
    return [part for n in numbers for part in sent(head(run, n), detector(n, run), listing)]


__all__ = ["BEGIN", "Live", "detector", "emptied", "healthy", "live", "sent"]
