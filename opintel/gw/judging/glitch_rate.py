"""More glitches than usual: the rate of strain triggers against its own past.

Science time is cut into blocks of a minute; a block has so many triggers above each of a few SNRs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, gammaln

from opintel.detector import Closing, Emit, Judge
from opintel.evidence import Evidence, Series, Table
from opintel.finding import NS, Effect, Finding
from opintel.gw.judging.hearing import Hearing
from opintel.gw.judging.interferometer import ScienceMode, channels_of, families, finding_of
from opintel.gw.segments import coalesce, contains, duration, intersection

THRESHOLDS = (6.0, 8.0, 15.0)
"""SNRs above which triggers are counted."""
BLOCK = 60.0
"""s of science time."""
SHORTEST = 20.0
"""s of the last block before science mode ends, below which it is not judged."""
KEPT = 120
"""Blocks of the past."""
LEAST_PAST = 120.0
"""s of it without which nothing is judged."""
STRANGE = -3.0
"""log10 p from which on a block is no part of what is usual, unless half of the past is so."""
LEAST_DISPERSION, PRIOR_DISPERSION, PRIOR_BLOCKS = 0.02, 0.2, 5.0
"""Of the rate from block to block, squared and relative: at least; at first, and the blocks that this is worth."""
PRIOR_COUNT = 1.0
"""Triggers that the past has besides those counted: it is never without any."""
OUTLIERS, FEW = 20, 4
"""One in so many blocks of the past, and one at least from the second number on, counts as the busiest of the rest."""
FLOOR = -30.0
MOSTLY = 0.4
"""Share of the glitches that a channel must witness to be named with them."""


class GlitchRateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of `GlitchRateJudge`."""

    emit: Emit = -3.0
    """Findings with log10 p at most this are emitted."""
    times: Annotated[float, msgspec.Meta(ge=1, le=1e6)] = 2.0
    """Less than so many times the usual rate is no finding, however certain."""
    safe: list[str] = []
    """Channels that may be witnesses besides those of safe families; patterns without the interferometer."""
    unsafe: list[str] = []
    """Channels that may not."""


class RateBlock(NamedTuple):
    """A minute of science time."""

    end: int
    """ns UTC."""
    seconds: float
    counts: tuple[int, ...]
    """Triggers above each of `THRESHOLDS`."""
    strange: bool = False


class GlitchRateJudge(Judge):
    """Upper mid-p of a block's count, negative binomial around the rate of the past.

    The variance of a count of mean m is m + d m²; d has what the past's blocks vary beyond Poisson and the error of its
    rate, one over its count. The busiest blocks of the past count as the next one (Winsorised means; Tukey 1962, Ann.
    Math. Statist. 33, 18): of five blocks one that had a burst would otherwise hide all that follow. The least p of the
    thresholds counts three times (Bonferroni).

    >>> from opintel.detector import Controls, Record
    >>> from opintel.finding import Window
    >>> from opintel.gw.records import ChannelWindow, TriggerSaid
    >>> judge, found = GlitchRateJudge(), []
    >>> for n in range(210):
    ...     window = Window(2 * n * NS, 2 * (n + 1) * NS)
    ...     heard = [TriggerSaid(window.start, 0, 0, 80.0, 70.0, 90.0, 8.0, 9.0)] if n % 30 == 0 or n > 180 else []
    ...     strain = ChannelWindow("good", 4096.0, True, [(window.start, window.end)], heard)
    ...     records = [Record(window, "channel", "L1:GDS-CALIB_STRAIN", "L1", strain)]
    ...     found += judge.judge(Closing(window, "L1", records, Controls(), GlitchRateSettings(), "", complete=True))
    >>> [finding.summary for finding in found]
    ['L1:GDS-CALIB_STRAIN: 30 triggers a minute of SNR 6 and more, usually 1.2']
    """

    name, version = "gw.rate", 1
    Settings = GlitchRateSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        self._science = ScienceMode()
        self._open: dict[str, tuple[float, list[int]]] = {}
        """Strain channel → science seconds and counts of the block in progress."""
        self._past: dict[str, list[RateBlock]] = {}
        self._hearing = Hearing()
        """Of the block in progress."""

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of kind `glitch-rate`, where a block of a minute is full or science mode ends."""
        self._science.take(closing)
        self.tests = {}
        findings, channels, settings = [], channels_of(closing), closing.settings
        strain = channels.strain
        self._hearing.take(channels, self._science.judged, families(tuple(settings.safe), tuple(settings.unsafe)))
        for channel in sorted({*strain, *self._open}):
            seconds, counts = self._open.get(channel, (0.0, [0] * len(THRESHOLDS)))
            said, added = strain.get(channel), 0.0
            if said is not None:
                live = intersection(self._science.judged, coalesce(said.live))
                added = duration(live) / NS
                times = np.array([one.time for one in said.triggers], dtype=np.int64)
                for one, good in zip(said.triggers, contains(live, times), strict=True):
                    counts = [n + (good and one.snr >= least) for n, least in zip(counts, THRESHOLDS, strict=True)]
            if added and _known(self._past.get(channel, ())):
                self.tests["glitch-rate"] = 1  # part of a minute's test: windows without one would clear no alarm
            seconds += added
            if seconds >= BLOCK or (added == 0.0 and seconds >= SHORTEST):
                block = RateBlock(closing.window.end, seconds, tuple(int(n) for n in counts))
                findings += self._judged(closing, channel, block)
                seconds, counts = 0.0, [0] * len(THRESHOLDS)
                self._hearing.clear()
            if seconds:
                self._open[channel] = (seconds, counts)
            else:
                self._open.pop(channel, None)
        return findings

    def _judged(self, closing: Closing, channel: str, block: RateBlock) -> list[Finding]:
        past = self._past.setdefault(channel, [])
        calm = [one for one in past if not one.strange]
        if 2 * len(calm) < len(past):
            calm = past
        found: list[Finding] = []
        if _known(calm):
            self.tests["glitch-rate"] = 1
            tails = [log10_mid_p(block, calm, n) for n in range(len(THRESHOLDS))]
            best = min(range(len(tails)), key=lambda n: tails[n][0])
            log10_p, usual = tails[best]
            log10_p = max(FLOOR, min(0.0, log10_p + math.log10(len(THRESHOLDS))))
            times = block.counts[best] / max(usual * block.seconds, 0.5)
            settings = closing.settings
            if log10_p <= settings.emit and times >= settings.times:
                found.append(self._finding(closing, channel, block, calm, best, log10_p, usual, times))
            block = block._replace(strange=log10_p <= STRANGE)
        past.append(block)
        del past[:-KEPT]
        return found

    def _finding(
        self,
        closing: Closing,
        channel: str,
        block: RateBlock,
        calm: Sequence[RateBlock],
        best: int,
        log10_p: float,
        usual: float,
        times: float,
    ) -> Finding:
        least = THRESHOLDS[best]
        now = 60 * block.counts[best] / block.seconds
        history = [*self._past[channel][-59:], block]
        per_minute: list[float | None] = [60 * one.counts[best] / one.seconds for one in history]
        rows: list[list[str | float | int | None]] = [
            [snr, round(60 * block.counts[n] / block.seconds, 2), round(60 * _rate(calm, n), 2)]
            for n, snr in enumerate(THRESHOLDS)
        ]
        rounds, _, glitches = self._hearing.ranked()
        witness = rounds[0] if rounds and rounds[0].coincident >= MOSTLY * glitches else None
        seen = f"; {witness.channel} witnesses {witness.coincident} of {glitches}" if witness else ""
        blocks: list[Evidence] = [
            Series(f"Triggers of SNR {least:g} and more", [one.end for one in history], per_minute, "a minute"),
            Table("Triggers a minute", ["SNR at least", "now", "usually"], rows),
        ]
        return finding_of(
            (self.name, self.version),
            closing,
            "glitch-rate",
            {"channel": channel} | ({"witness": witness.channel} if witness else {}),
            f"{channel}: {now:.3g} triggers a minute of SNR {least:g} and more, usually {60 * usual:.2g}{seen}",
            Effect(times, "times the usual rate"),
            log10_p=log10_p,
            basis="extrapolated" if 10.0**log10_p * (len(calm) + 1) < 1 else "exact",
            evidence=blocks,
        )

    def state(self) -> Any:
        """Plain values."""
        opened = sorted([name, seconds, counts] for name, (seconds, counts) in self._open.items())
        past = sorted([name, [list(one) for one in blocks]] for name, blocks in self._past.items())
        return [self._science.state(), opened, past, self._hearing.state()]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        science, opened, past, hearing = state
        self._hearing.restore(hearing)
        self._science.restore(science)
        self._open = {name: (seconds, list(counts)) for name, seconds, counts in opened}
        self._past = {
            name: [RateBlock(end, seconds, tuple(counts), strange) for end, seconds, counts, strange in blocks]
            for name, blocks in past
        }


def _known(past: Sequence[RateBlock]) -> bool:
    """Whether there is enough of it."""
    return sum(one.seconds for one in past) >= LEAST_PAST


def _usual(calm: Sequence[RateBlock], n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(triggers, seconds) of the past's blocks above threshold `n`, the busiest ones like the next."""
    seconds = np.array([one.seconds for one in calm])
    per_second = np.array([one.counts[n] for one in calm]) / seconds
    kept = np.sort(per_second)[: len(calm) - max(len(calm) >= FEW, len(calm) // OUTLIERS)]
    return np.minimum(per_second, kept[-1]) * seconds, seconds


def _rate(calm: Sequence[RateBlock], n: int) -> float:
    """Triggers a second of the past; never none at all."""
    counts, seconds = _usual(calm, n)
    return float((counts.sum() + PRIOR_COUNT) / seconds.sum())


def log10_mid_p(block: RateBlock, calm: Sequence[RateBlock], n: int) -> tuple[float, float]:
    """(log10 of the upper mid-p of a block's count above threshold `n`, the usual rate a second)."""
    counts, seconds = _usual(calm, n)
    rate, total = _rate(calm, n), float(counts.sum()) + PRIOR_COUNT
    means = rate * seconds
    excess = float(np.sum((counts - means) ** 2 - means))
    size = float(np.sum(means**2))
    one = float(np.mean(means**2))
    dispersion = (excess + PRIOR_BLOCKS * PRIOR_DISPERSION * one) / (size + PRIOR_BLOCKS * one)
    spread = max(dispersion, LEAST_DISPERSION) + 1.0 / total
    k, mean = block.counts[n], rate * block.seconds
    r = 1.0 / spread
    q = mean / (mean + r)
    above = float(betainc(k + 1.0, r, q))  # P(K > k) of the negative binomial (Johnson, Kemp & Kotz 2005, eq. 5.31)
    at = math.exp(float(gammaln(k + r) - gammaln(k + 1.0) - gammaln(r)) + k * math.log(q) + r * math.log1p(-q))
    return math.log10(max(above + at / 2, 10.0**FLOOR)), rate
