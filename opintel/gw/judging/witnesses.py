"""Which safe channels witness the strain's glitches: hveto's rounds over the last hour of science time.

A channel that carries the signal predicts every glitch and every event, so families of such channels, and what is not
known to be safe, never enter (`opintel.gw.safety`). Data are flagged, never removed: a finding says what a veto would
take away, and of which triggers of the witness it is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from opintel.detector import Closing, Judge, Most
from opintel.evidence import Evidence, Table
from opintel.finding import NS, Effect, Finding
from opintel.gw.judging.interferometer import ScienceMode, channels_of, families, finding_of
from opintel.gw.judging.picture_pairs import PicturePairs
from opintel.gw.records import ChannelWindow
from opintel.gw.safety import Safety
from opintel.gw.segments import NONE, Segments, coalesce, contains, duration, intersection
from opintel.gw.vetoes import THRESHOLDS, WINDOWS, VetoRound, rank

LEAST_LIVE = 60.0
"""s of science time since the last ranking that are worth one when science mode ends."""
FLOOR = -300.0
Seconds = Annotated[float, msgspec.Meta(ge=10, le=86_400)]


class WitnessSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of `WitnessJudge`."""

    span: Seconds = 3600.0
    """s of science time that are ranked."""
    every: Seconds = 300.0
    """s from one ranking to the next."""
    max_findings: Most = 5
    """Rounds that become findings, the most significant first."""
    safe: list[str] = []
    """Channels that may be witnesses besides those of safe families; patterns without the interferometer."""
    unsafe: list[str] = []
    """Channels that may not."""


class _Heard:
    """Triggers of a channel in order of arrival."""

    def __init__(self, times: Sequence[int] = (), snrs: Sequence[float] = ()) -> None:
        self.times, self.snrs = list(times), list(snrs)

    def forget(self, before: int) -> None:
        kept = [n for n, time in enumerate(self.times) if time >= before]
        self.times, self.snrs = [self.times[n] for n in kept], [self.snrs[n] for n in kept]


class WitnessJudge(Judge):
    """Findings of kind `witness`, of severity `info`: they explain what the strain's own findings say.

    The p-value is that of the round's coincidences by chance, times the channels, thresholds and windows among which it
    is the least (Bonferroni). It holds where triggers of witness and strain come independently and at a constant rate;
    bursts make it too small: the basis is `extrapolated`.
    """

    name, version = "gw.witnesses", 1
    Settings = WitnessSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        self._science = ScienceMode()
        self._strain, self._auxiliary = _Heard(), dict[str, _Heard]()
        self._live: Segments = NONE
        self._fresh = 0.0
        """s of science time since the last ranking."""
        self._pairs = PicturePairs()

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of a ranking, where one is due."""
        self._science.take(closing)
        self.tests = {}
        channels, window, settings = channels_of(closing), closing.window, closing.settings
        safety = families(tuple(settings.safe), tuple(settings.unsafe))
        name, added = channels.main, 0.0
        if name is not None:
            live = intersection(self._science.judged, coalesce(channels.strain[name].live))
            added = duration(live) / NS
            self._live = coalesce(np.concatenate([self._live, live]))
            self._take(self._strain, channels.strain[name], 0.0)
            for other, said in channels.auxiliary.items():
                if (said.triggers or said.fringes) and safety.judge(other) is Safety.SAFE:
                    self._take(self._auxiliary.setdefault(other, _Heard()), said, float(THRESHOLDS[0]))
                    self._pairs.take(other, channels.strain[name], said)
        self._fresh += added
        every = int(settings.every * NS)
        passed = window.end // every > window.start // every
        ended = added == 0.0 and self._fresh >= LEAST_LIVE
        if name is None or not (ended or (passed and self._fresh > 0)):
            return []
        self._fresh = 0.0
        self._forget(int(settings.span * NS))
        return self._ranked(closing, name)

    def _take(self, heard: _Heard, said: ChannelWindow, least: float) -> None:
        """Takes a channel's triggers; those of a slow position sensor are the maxima of its fringe frequency, and Hz
        stand for SNR: light that it scatters shows in the strain at that frequency, and nothing in its own Q-scan."""
        loud = [(one.time, one.snr) for one in said.triggers] if not said.fringes else said.fringes
        times = np.array([time for time, _ in loud], dtype=np.int64)
        for (time, snr), good in zip(loud, contains(self._science.judged, times), strict=True):
            if good and snr >= least:
                heard.times.append(time)
                heard.snrs.append(snr)

    def _forget(self, span: int) -> None:
        """Keeps the last `span` ns of science time."""
        left, start = span, 0
        for begin, end in self._live[::-1].tolist():
            start = max(begin, end - left)
            left -= end - start
            if left <= 0:
                break
        self._live = self._live[self._live[:, 1] > start]
        if len(self._live):
            self._live = np.concatenate([[[max(start, int(self._live[0, 0])), int(self._live[0, 1])]], self._live[1:]])
        self._strain.forget(start)
        for heard in self._auxiliary.values():
            heard.forget(start)
        self._auxiliary = {name: heard for name, heard in self._auxiliary.items() if heard.times}

    def _ranked(self, closing: Closing, strain: str) -> list[Finding]:
        if not len(self._live) or not self._auxiliary or not self._strain.times:
            return []
        start = int(self._live[0, 0])
        rounds = rank(
            _table(start, {strain: self._strain}),
            _table(start, self._auxiliary),
            (0.0, (int(self._live[-1, 1]) - start) / NS),
            live=(self._live - start) / NS,
        )
        log_trials = math.log10(len(self._auxiliary) * len(THRESHOLDS) * len(WINDOWS))
        listed = Table("Rounds", ["witness", "SNR at least", "window, s", "significance", "use %", "efficiency %",
                                  "deadtime %"], [_row(one) for one in rounds[:20]])  # fmt: skip
        return [
            self._finding(closing, strain, n, one, log_trials, listed)
            for n, one in enumerate(rounds[: closing.settings.max_findings], 1)
        ]

    def _finding(
        self, closing: Closing, strain: str, n: int, one: VetoRound, log_trials: float, listed: Table
    ) -> Finding:
        text = (
            f"{one.channel} witnesses {one.coincident} glitches of {strain}, {one.expected:.1f} by chance: round {n}, "
            f"significance {one.significance:.1f}, use {one.use_percentage:.0f} %, "
            f"efficiency {100 * one.efficiency:.0f} %, deadtime {100 * one.deadtime:.2g} %"
        )
        evidence: list[Evidence] = [listed, *self._pairs.of(one.channel)]
        return finding_of(
            (self.name, self.version),
            closing,
            "witness",
            {"channel": strain, "witness": one.channel},
            text,
            Effect(100 * one.efficiency, "% of the glitches"),
            log10_p=max(FLOOR, min(0.0, log_trials - one.significance)),
            basis="extrapolated",
            severity="info",
            evidence=evidence,
        )

    def state(self) -> Any:
        """Plain values; triggers as bytes."""
        heard = [("", self._strain), *sorted(self._auxiliary.items())]
        triggers = [
            [name, np.array(one.times, dtype="<i8").tobytes(), np.array(one.snrs, dtype="<f8").tobytes()]
            for name, one in heard
        ]
        return [self._science.state(), triggers, self._live.tolist(), self._fresh, self._pairs.state()]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        science, triggers, live, self._fresh, pairs = state
        self._science.restore(science)
        self._live = coalesce(live)
        self._pairs.restore(pairs)
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
    columns = {
        "channel": pa.array(names, pa.string()),
        "t_peak": (times - start) / NS,
        "snr": pa.array(snrs, pa.float64()),
    }
    return pa.table(columns)


def _row(one: VetoRound) -> list[str | float | int | None]:
    figures = (one.significance, one.use_percentage, 100 * one.efficiency, 100 * one.deadtime)
    return [one.channel, one.snr_threshold, one.window, *(round(x, 2) for x in figures)]
