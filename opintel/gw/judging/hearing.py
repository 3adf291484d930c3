"""What strain and safe channels were heard to do in some science time, ready to be ranked by hveto's rounds.

A signal must not change which channels are witnesses. A trigger of the strain beside which no safe channel does
anything, and a signal is hardly ever another, enters hveto's counts in one place: the rate of the strain's triggers, by
which coincidences by chance are expected. There it counts as part of at least `ALONE` triggers a second, or so many
doubled as often as needed. So it changes no round, bit for bit, but where it is the one that takes the next doubling;
and as never fewer are expected than there were, no significance is too high.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from opintel.finding import NS
from opintel.gw.judging.copies import StrainCopies
from opintel.gw.judging.interferometer import Interferometer
from opintel.gw.records import ChannelWindow
from opintel.gw.safety import Safety, SafetyFamilies
from opintel.gw.segments import NONE, Segments, coalesce, contains, duration, intersection, minus
from opintel.gw.vetoes import THRESHOLDS, WINDOWS, VetoRound, rank

ALONE, FEWEST = 1 / 30, 10
"""Triggers of the strain beside which no safe channel does anything: at least so many a second, of which noise alone
has a fifth, and so many in all."""
BESIDE = round(float(WINDOWS[-1]) / 2 * NS) + 1000
"""So near, ns, to a safe channel's trigger is beside it: the longest window of a round, whose times count to 1 us."""


class Ranking(NamedTuple):
    """hveto's rounds. Their efficiencies are shares of the glitches beside which a safe channel was active."""

    rounds: list[VetoRound]
    among: int
    """Channels."""
    glitches: int
    """Triggers of the strain, whatever there was beside them."""


class _Heard:
    """Triggers of a channel in order of arrival."""

    def __init__(self, times: Sequence[int] = (), snrs: Sequence[float] = ()) -> None:
        self.times, self.snrs = list(times), list(snrs)

    def forget(self, before: int) -> None:
        kept = [n for n, time in enumerate(self.times) if time >= before]
        self.times, self.snrs = [self.times[n] for n in kept], [self.snrs[n] for n in kept]


class Hearing:
    """The triggers of the main strain channel, and those of safe channels that are no copies of it.

    Those of a slow position sensor are the maxima of its fringe frequency, and Hz stand for SNR: light that it
    scatters shows in the strain at that frequency, and nothing in the sensor's own Q-scan.
    """

    def __init__(self) -> None:
        self._strain, self._auxiliary = _Heard(), dict[str, _Heard]()
        self.live: Segments = NONE
        """Science time in which the strain was judged, ns UTC."""
        self._copies = StrainCopies()

    def take(self, channels: Interferometer, science: Segments, safety: SafetyFamilies) -> float:
        """Takes a window; s of science time that it had."""
        if channels.main is None:
            return 0.0
        strain = channels.strain[channels.main]
        live = intersection(science, coalesce(strain.live))
        self.live = coalesce(np.concatenate([self.live, live]))
        self._take(self._strain, strain, science, 0.0)
        if len(live):
            self._copies.take(strain, channels.auxiliary)
        for name, said in channels.auxiliary.items():
            if (said.triggers or said.fringes) and safety.judge(name) is Safety.SAFE:
                self._take(self._auxiliary.setdefault(name, _Heard()), said, science, float(THRESHOLDS[0]))
        return duration(live) / NS

    def _take(self, heard: _Heard, said: ChannelWindow, science: Segments, least: float) -> None:
        loud = said.fringes or [(one.time, one.snr) for one in said.triggers]
        times = np.array([time for time, _ in loud], dtype=np.int64)
        for (time, snr), good in zip(loud, contains(science, times), strict=True):
            if good and snr >= least:
                heard.times.append(time)
                heard.snrs.append(snr)

    def keep(self, span: int) -> None:
        """Forgets all but the last `span` ns of science time."""
        left, start = span, 0
        for begin, end in self.live[::-1].tolist():
            start = max(begin, end - left)
            left -= end - start
            if left <= 0:
                break
        self.live = intersection(self.live, coalesce([(start, np.iinfo(np.int64).max)]))
        self._strain.forget(start)
        for heard in self._auxiliary.values():
            heard.forget(start)
        self._auxiliary = {name: heard for name, heard in self._auxiliary.items() if heard.times}

    def clear(self) -> None:
        """Forgets all triggers; which channels are copies stays known."""
        self._strain, self._auxiliary, self.live = _Heard(), {}, NONE

    def ranked(self) -> Ranking:
        """What is remembered, ranked."""
        heard = {name: one for name, one in self._auxiliary.items() if self._copies.is_none(name)}
        every = np.array(self._strain.times, dtype=np.int64)
        glitches = every[contains(self.live, every)]
        if not heard or not len(glitches):
            return Ranking([], len(heard), len(glitches))
        start, end = int(self.live[0, 0]), int(self.live[-1, 1])
        busy = coalesce([(time - BESIDE, time + BESIDE + 1) for one in heard.values() for time in one.times])
        beside, quiet = glitches[contains(busy, glitches)], minus(self.live, busy)
        times = beside.tolist()
        if len(quiet):
            # where they stand does not matter, as long as it is beside nothing
            times += [int(quiet[0, 0])] * _counted(len(glitches) - len(beside), duration(quiet) / NS)
        strain = _Heard(times, [1.0] * len(times))
        rounds = rank(
            _table(start, {"": strain}),
            _table(start, heard),
            (0.0, (end - start) / NS),
            live=(self.live - start) / NS,
        )
        return Ranking(_of(rounds, len(beside)), len(heard), len(glitches))

    def state(self) -> Any:
        """Plain values; triggers as bytes."""
        heard = [("", self._strain), *sorted(self._auxiliary.items())]
        triggers = [
            [name, np.array(one.times, dtype="<i8").tobytes(), np.array(one.snrs, dtype="<f8").tobytes()]
            for name, one in heard
        ]
        return [triggers, self.live.tolist(), self._copies.state()]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        triggers, live, copies = state
        self.live = coalesce(live)
        self._copies.restore(copies)
        for name, times, snrs in triggers:
            heard = _Heard(np.frombuffer(times, dtype="<i8").tolist(), np.frombuffer(snrs, dtype="<f8").tolist())
            if name:
                self._auxiliary[name] = heard
            else:
                self._strain = heard


def _table(start: int, heard: dict[str, _Heard]) -> pa.Table:
    """Triggers with times in s after `start` (ns)."""
    names = [name for name, one in heard.items() for _ in one.times]
    times: NDArray[np.int64] = np.array([time for one in heard.values() for time in one.times], dtype=np.int64)
    snrs = [snr for one in heard.values() for snr in one.snrs]
    return pa.table(
        {"channel": pa.array(names, pa.string()), "t_peak": (times - start) / NS, "snr": pa.array(snrs, pa.float64())}
    )


def _counted(alone: int, seconds: float) -> int:
    """As how many the triggers count beside which nothing happens, in so many seconds of which that is true.

    >>> [_counted(alone, 600.0) for alone in (0, 20, 21, 41)], _counted(3, 60.0)
    ([20, 20, 40, 80], 10)
    """
    least = max(FEWEST, math.ceil(ALONE * seconds))
    return least << max(0, math.ceil(math.log2(max(alone, 1) / least)))


def _of(rounds: Sequence[VetoRound], glitches: int) -> list[VetoRound]:
    """The rounds, their efficiencies as shares of so many glitches."""
    found, left = list[VetoRound](), glitches
    for one in rounds:
        efficiency, left = one.coincident / left, left - one.coincident
        found.append(replace(one, efficiency=efficiency, cumulative_efficiency=1.0 - left / glitches))
    return found
