"""A drop of the range, and what explains it: a safe channel whose noise the strain has now, or one that grew louder.

A coupling that rises takes range although its channel stays as it was; then the strain's phases keep their distance to
that channel's, in the part of the band that couples, where before they did not (`copies`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.detector import Closing, Judge
from opintel.evidence import Evidence, Series, Table
from opintel.finding import NS, Effect, Finding
from opintel.gw.channels.features import APART
from opintel.gw.engine import EDGES
from opintel.gw.judging.copies import StrainCopies
from opintel.gw.judging.interferometer import ScienceMode, channels_of, families, finding_of
from opintel.gw.records import ChannelWindow
from opintel.gw.safety import Safety
from opintel.gw.segments import coalesce, duration, intersection
from opintel.stats.gamma_tail import log_gamma_tail

BLOCK, SHORTEST, KEPT, LEAST_PAST = 60.0, 20.0, 120, 3
"""s of science time in a block, s that are enough where science mode ends, blocks kept, blocks needed."""
SIGMAS = 4.0
"""So many standard deviations of the past's blocks (from their MAD) a drop has at least."""
LOUDER = 1.25
"""A band that rose by less explains nothing."""
BY_CHANCE = 1e-4
"""Of phases that agree so well in a block with independent noise, times the channels that are looked at."""
AGREES = 7.0
"""`StrainCopies.agreeing` at frequencies where a channel is said to couple: exp(−7) by chance."""
LISTED = 10
Floats = NDArray[np.float64]


class RangeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of `RangeJudge`."""

    drop: Annotated[float, msgspec.Meta(gt=0, le=0.999)] = 0.15
    """A range that is lower by less than this share is no finding."""
    safe: list[str] = []
    """Channels that may explain a drop besides those of safe families; patterns without the interferometer."""
    unsafe: list[str] = []
    """Channels that may not."""


class RangeBlock(NamedTuple):
    """A minute of science time."""

    end: int
    """ns UTC."""
    range: float
    """Mpc, median."""
    low: bool = False


class _Gathered:
    """A block in progress."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.ranges: list[float] = []
        self.bands: dict[str, tuple[int, list[float]]] = {}
        """Channel → windows, sums of ln RMS by band."""
        self.phases = StrainCopies()

    def add(self, seconds: float, strain: ChannelWindow, channels: Mapping[str, ChannelWindow]) -> None:
        self.seconds += seconds
        if strain.range is not None:
            self.ranges.append(strain.range)
        self.phases.take(strain, channels)
        for name, said in channels.items():
            if said.bands:
                n, sums = self.bands.get(name, (0, [0.0] * len(said.bands)))
                logs = np.log(np.maximum(np.array(said.bands), 1e-6))
                if len(sums) == len(logs) and np.isfinite(logs).any():
                    added = np.where(np.isfinite(logs), logs, 0.0)
                    self.bands[name] = (n + 1, (np.array(sums) + added).tolist())

    def louder(self, name: str) -> Floats:
        """RMS by band over what is usual, mean of the block (geometric)."""
        n, sums = self.bands.get(name, (0, []))
        return np.exp(np.array(sums) / max(n, 1))


class RangeJudge(Judge):
    """Findings of kind `range`: a block's median range against the median of the blocks before.

    It has no p-value: the range wanders, and how far it may is no statistic of its last hours. A drop is a fact.

    >>> from opintel.detector import Controls, Record
    >>> from opintel.finding import Window
    >>> judge, found = RangeJudge(), []
    >>> for n in range(150):
    ...     window = Window(2 * n * NS, 2 * (n + 1) * NS)
    ...     reach = 150.0 if n < 120 else 90.0
    ...     strain = ChannelWindow("good", 4096.0, True, [(window.start, window.end)], range=reach)
    ...     records = [Record(window, "channel", "L1:GDS-CALIB_STRAIN", "L1", strain)]
    ...     found += judge.judge(Closing(window, "L1", records, Controls(), RangeSettings(), "", complete=True))
    >>> [finding.summary for finding in found]
    ['L1:GDS-CALIB_STRAIN: the range is 90 Mpc, usually 150']
    """

    name, version = "gw.range", 1
    Settings = RangeSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        self._science = ScienceMode()
        self._open = _Gathered()
        self._past: list[RangeBlock] = []
        self._copies = StrainCopies()

    def judge(self, closing: Closing) -> list[Finding]:
        """The finding, if any, where a block is full or science mode ends."""
        self._science.take(closing)
        channels = channels_of(closing)
        name, added = channels.main, 0.0
        if name is not None:
            said = channels.strain[name]
            added = duration(intersection(self._science.judged, coalesce(said.live))) / NS
            if added:
                self._open.add(added, said, {name: said, **channels.auxiliary})
        if not (self._open.seconds >= BLOCK or (added == 0.0 and self._open.seconds >= SHORTEST)):
            return []
        gathered, self._open = self._open, _Gathered()
        if not gathered.ranges or name is None:
            return []
        block = RangeBlock(closing.window.end, float(np.median(gathered.ranges)))
        calm = [one for one in self._past if not one.low]
        if 2 * len(calm) < len(self._past):
            calm = self._past
        found: list[Finding] = []
        if len(calm) >= LEAST_PAST:
            ranges = np.array([one.range for one in calm])
            usual = float(np.median(ranges))
            spread = max(1.4826 * float(np.median(np.abs(ranges - usual))), 0.01 * usual)
            low = block.range < (1 - closing.settings.drop) * usual and block.range < usual - SIGMAS * spread
            block = block._replace(low=low)
            if low:
                found = [self._finding(closing, name, block, usual, gathered)]
        self._copies.join(gathered.phases)
        self._past = [*self._past, block][-KEPT:]
        return found

    def _finding(self, closing: Closing, name: str, block: RangeBlock, usual: float, gathered: _Gathered) -> Finding:
        safety = families(tuple(closing.settings.safe), tuple(closing.settings.unsafe))
        own = gathered.louder(name)
        louder = []

        def is_witness(other: str) -> bool:
            return other != name and safety.judge(other) is Safety.SAFE and self._copies.is_none(other)

        for other in sorted(gathered.bands):
            if is_witness(other):
                bands = gathered.louder(other)[: len(own)]
                at = int(np.argmax(bands)) if len(bands) else 0
                if len(bands) and bands[at] >= LOUDER:
                    louder.append((float(bands[at]), other, at))
        louder.sort(key=lambda one: (-one[0], one[1]))
        agreeing = self._agreeing(gathered, [other for other in sorted(gathered.bands) if is_witness(other)])
        why = ""
        if agreeing:
            _, other, low, high = agreeing[0]
            why = f"; it has become coherent with {other} between {low:g} and {high:g} Hz"
        elif louder:
            times, other, at = louder[0]
            why = f"; {other} is {times:.2g} times louder at {_band(at)}"
        history = [*self._past[-59:], block]
        rows: list[list[str | float | int | None]] = [
            [_band(n), round(float(times), 2)] for n, times in enumerate(own.tolist())
        ]
        others: list[list[str | float | int | None]] = [
            [other, _band(at), round(times, 2)] for times, other, at in louder[:LISTED]
        ]
        shared: list[list[str | float | int | None]] = [
            [other, low, high, round(p, 1)] for p, other, low, high in agreeing[:LISTED]
        ]
        blocks: list[Evidence] = [
            Series("Range (BNS)", [one.end for one in history], [one.range for one in history], "Mpc"),
            Table(f"RMS of {name} over its usual one", ["band", "times"], rows),
            Table("Safe channels that are louder than usual", ["channel", "band", "times"], others),
            Table("Safe channels that it has become coherent with", ["channel", "from Hz", "to Hz", "log10 p"], shared),
        ]
        return finding_of(
            (self.name, self.version),
            closing,
            "range",
            {"quantity": "range"},
            f"{name}: the range is {block.range:.3g} Mpc, usually {usual:.3g}{why}",
            Effect(block.range - usual, "Mpc"),
            evidence=blocks,
        )

    def _agreeing(self, gathered: _Gathered, channels: Sequence[str]) -> list[tuple[float, str, float, float]]:
        """(log10 p, channel, lowest and highest Hz) of those whose phases agree with the strain's more than before, the
        most significant first; p takes all `channels` into account."""
        found = []
        for name in channels:
            agreeing = gathered.phases.agreeing(name, self._copies)
            at = APART * (np.flatnonzero(agreeing >= AGREES) + 1)
            if not len(at):
                continue
            log_p = float(log_gamma_tail(np.array([float(len(agreeing))]), np.array([agreeing.sum()]))[0])
            log10_p = (log_p + math.log(len(channels))) / math.log(10.0)
            if log10_p <= math.log10(BY_CHANCE):
                found.append((log10_p, name, float(at[0]), float(at[-1])))
        return sorted(found)

    def state(self) -> Any:
        """Plain values."""
        opened, bands = self._open, sorted(self._open.bands.items())
        gathered = [
            opened.seconds,
            opened.ranges,
            [[name, n, sums] for name, (n, sums) in bands],
            opened.phases.state(),
        ]
        return [self._science.state(), gathered, [list(one) for one in self._past], self._copies.state()]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        science, (seconds, ranges, bands, phases), past, copies = state
        self._copies.restore(copies)
        self._science.restore(science)
        self._open.seconds, self._open.ranges = seconds, list(ranges)
        self._open.phases.restore(phases)
        self._open.bands = {name: (n, list(sums)) for name, n, sums in bands}
        self._past = [RangeBlock(*one) for one in past]


def _band(n: int) -> str:
    return f"{EDGES[n]:g} to {EDGES[n + 1]:g} Hz"
