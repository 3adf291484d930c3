"""Every clustered trigger of the strain in science mode, as a finding: what surveys, reports and vetoes start from.

It is of severity `info`: a glitch is no incident, many of them are (`opintel.gw.judging.glitch_rate`).
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec
import numpy as np

from opintel.detector import Closing, Judge, Most
from opintel.evidence import Table, capped
from opintel.finding import NS, Effect, Finding, Window, finding_id
from opintel.gw.judging.interferometer import ScienceMode, channels_of
from opintel.gw.records import ChannelWindow, TriggerSaid
from opintel.gw.segments import coalesce, contains, duration, intersection

FAINTEST = 5.5
"""SNR from which on stage 1 emits."""
HALF_LIFE = 600.0
"""s over which the rate of the background is averaged."""
PRIOR_RATE, PRIOR_SECONDS = 0.02, 300.0
"""Triggers a second above `FAINTEST` that Gaussian noise has, and the weight of that."""
FLOOR = -300.0
"""log10 p below which findings tie."""


class StrainTriggerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of `StrainTriggerJudge`."""

    snr: Annotated[float, msgspec.Meta(ge=FAINTEST, le=1e6)] = FAINTEST
    """Triggers fainter than this are no findings."""
    max_findings: Most = 100
    """At most so many a window, the loudest first."""


class StrainTriggerJudge(Judge):
    """Triggers of the strain, each with the chance that noise alone gives one as loud in a window.

    In Gaussian noise the energy of a tile is exponential, so the rate of triggers above SNR ρ falls as exp(−ρ² / 2)
    (Chatterji et al. 2004, Class. Quantum Grav. 21, S1809, eq. 12, with ρ² = 2 E). The rate at `FAINTEST` is measured:
    so many triggers in so much science time. What is far in the tail of real noise is no Gaussian's: hence the basis
    `extrapolated`.

    >>> from opintel.detector import Controls, Record
    >>> heard = TriggerSaid(NS, NS, NS, 140.0, 100.0, 200.0, 8.0, 12.5)
    >>> strain, window = ChannelWindow("good", 4096.0, True, [(0, 2 * NS)], [heard]), Window(0, 2 * NS)
    >>> records = [Record(window, "channel", "H1:GDS-CALIB_STRAIN", "H1", strain)]
    >>> closing = Closing(window, "H1", records, Controls(), StrainTriggerSettings(), "", complete=True)
    >>> [finding.summary for finding in StrainTriggerJudge().judge(closing)]
    ['H1:GDS-CALIB_STRAIN: SNR 12.5 at 140 Hz, Q 8']
    """

    name, version = "gw.triggers", 1
    Settings = StrainTriggerSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        self._science = ScienceMode()
        self._background: dict[str, tuple[float, float]] = {}
        """Channel → (triggers, seconds), decayed."""

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of kind `trigger`, in order of channel and time."""
        self._science.take(closing)
        science, findings = self._science.judged, []
        for channel, said in channels_of(closing).strain.items():
            times = np.array([one.time for one in said.triggers], dtype=np.int64)
            heard = [one for one, good in zip(said.triggers, contains(science, times), strict=True) if good]
            seconds = duration(intersection(science, coalesce(said.live))) / NS
            count, before = self._background.get(channel, (PRIOR_RATE * PRIOR_SECONDS, PRIOR_SECONDS))
            rate = count / before
            loud = [one for one in heard if one.snr >= closing.settings.snr]
            kept = sorted(loud, key=lambda one: (-one.snr, one.time))[: closing.settings.max_findings]
            findings += [self._finding(closing, channel, said, one, rate) for one in sorted(kept, key=lambda k: k.time)]
            faded = 0.5 ** (seconds / HALF_LIFE)
            prior = (
                (1.0 - faded) * PRIOR_SECONDS / 4
            )  # never without a prior, or an hour without a trigger makes p zero
            self._background[channel] = (
                faded * count + len(heard) + prior * PRIOR_RATE,
                faded * before + seconds + prior,
            )
        return findings

    def _finding(self, closing: Closing, channel: str, said: ChannelWindow, one: TriggerSaid, rate: float) -> Finding:
        size = closing.window.end - closing.window.start
        start = closing.window.start + (one.time - closing.window.start) // size * size
        window = Window(start, start + size)
        expected = math.log(rate * size / NS) - (one.snr**2 - FAINTEST**2) / 2
        p = math.log10(-math.expm1(-math.exp(expected))) if expected > -30 else expected / math.log(10)
        subject = {"scope": closing.scope, "channel": channel}
        rows: list[list[str | float | int | None]] = [
            ["SNR", round(one.snr, 2)],
            ["frequency of its peak", round(one.frequency, 1)],
            ["lowest frequency", round(one.low, 1)],
            ["highest frequency", round(one.high, 1)],
            ["duration", round((one.end - one.start) / NS, 4)],
            ["Q", round(one.q, 1)],
            ["triggers a minute lately", round(60 * rate, 2)],
        ]
        table = Table("Trigger (Hz, s)", ["", "value"], rows)
        loudest = one.snr >= max(other.snr for other in said.triggers)
        return Finding(
            id=finding_id(self.name, self.version, closing.model, subject, str(one.time)),
            detector=self.name,
            kind="trigger",
            subject=subject,
            window=window,
            log10_p=max(FLOOR, min(p, 0.0)),
            basis="extrapolated",
            effect=Effect(one.snr, "SNR"),
            severity="info",
            summary=f"{channel}: SNR {one.snr:.1f} at {one.frequency:.0f} Hz, Q {one.q:.0f}",
            evidence=capped([*(said.pictures if loudest else ()), table]),
            model=closing.model,
            onset=one.time,
        )

    def state(self) -> Any:
        """Plain values."""
        return [self._science.state(), sorted([name, *both] for name, both in self._background.items())]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        science, background = state
        self._science.restore(science)
        self._background = {name: (count, seconds) for name, count, seconds in background}
