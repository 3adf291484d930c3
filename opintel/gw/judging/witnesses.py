"""Which safe channels witness the strain's glitches: hveto's rounds over the last hour of science time.

A channel that carries the signal predicts every glitch and every event, so families of such channels, what is not known
to be safe (`opintel.gw.safety`), and copies without a telling name (`copies`) never enter; a signal in the strain
hardly ever changes what is said (`hearing`). Data are flagged, never removed: a finding says what a veto would take
away, and of which triggers of the witness it is made.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec

from opintel.detector import Closing, Judge, Most
from opintel.evidence import Evidence, Table
from opintel.finding import NS, Effect, Finding
from opintel.gw.judging.hearing import Hearing
from opintel.gw.judging.interferometer import ScienceMode, channels_of, families, finding_of
from opintel.gw.judging.picture_pairs import PicturePairs
from opintel.gw.safety import Safety
from opintel.gw.vetoes import THRESHOLDS, WINDOWS, VetoRound

ACTIVE = "% of glitches with activity"
"""In safe channels: what a witness's efficiency is of (`hearing`)."""
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


class WitnessJudge(Judge):
    """Findings of kind `witness`, of severity `info`: they explain what the strain's own findings say.

    The p-value is that of the round's coincidences by chance, times the channels, thresholds and windows among which it
    is the least (Bonferroni). It holds where triggers of witness and strain come independently and at a constant rate;
    bursts make it too small: the basis is `extrapolated`.

    >>> from opintel.detector import Controls, Record
    >>> from opintel.finding import Window
    >>> from opintel.gw.records import ChannelWindow, TriggerSaid
    >>> judge, found, names = WitnessJudge(), [], ("GDS-CALIB_STRAIN", "OMC-DCPD_SUM_OUT_DQ", "PEM-EY_MIC_VEA_DQ")
    >>> for n in range(150):
    ...     window = Window(2 * n * NS, 2 * (n + 1) * NS)
    ...     heard = [TriggerSaid(window.start, 0, 0, 80.0, 70.0, 90.0, 8.0, 9.0)] if n % 15 == 0 else []
    ...     said = [ChannelWindow("good", 4096.0, k == 0, [(window.start, window.end)], heard) for k in range(3)]
    ...     records = [Record(window, "channel", f"L1:{name}", "L1", one) for name, one in zip(names, said)]
    ...     found += judge.judge(Closing(window, "L1", records, Controls(), WitnessSettings(), "", complete=True))
    >>> [(finding.subject["witness"], finding.effect.value) for finding in found]
    [('L1:PEM-EY_MIC_VEA_DQ', 100.0)]
    """

    name, version = "gw.witnesses", 1
    Settings = WitnessSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        self._science, self._hearing, self._pairs = ScienceMode(), Hearing(), PicturePairs()
        self._fresh = 0.0
        """s of science time since the last ranking."""

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of a ranking, where one is due."""
        self._science.take(closing)
        channels, window, settings = channels_of(closing), closing.window, closing.settings
        safety = families(tuple(settings.safe), tuple(settings.unsafe))
        name = channels.main
        added = self._hearing.take(channels, self._science.judged, safety)
        self._fresh += added
        if name is None:
            return []
        for other, said in channels.auxiliary.items():
            if said.pictures and safety.judge(other) is Safety.SAFE:
                self._pairs.take(other, channels.strain[name], said)
        every = int(settings.every * NS)
        passed = window.end // every > window.start // every
        ended = added == 0.0 and self._fresh >= LEAST_LIVE
        if not (ended or (passed and self._fresh > 0)):
            return []
        self._fresh = 0.0
        self._hearing.keep(int(settings.span * NS))
        rounds, among, _ = self._hearing.ranked()
        log_trials = math.log10(max(1, among) * len(THRESHOLDS) * len(WINDOWS))
        headings = ["witness", "SNR at least", "window, s", "significance", "use %", ACTIVE, "deadtime %"]
        listed = Table("Rounds", headings, [_row(one) for one in rounds[:20]])
        return [
            self._finding(closing, name, n, one, log_trials, listed)
            for n, one in enumerate(rounds[: settings.max_findings], 1)
        ]

    def _finding(
        self, closing: Closing, strain: str, n: int, one: VetoRound, log_trials: float, listed: Table
    ) -> Finding:
        text = (
            f"{one.channel} witnesses {one.coincident} glitches of {strain}, {one.expected:.1f} by chance: round {n}, "
            f"significance {one.significance:.1f}, use {one.use_percentage:.0f} %, {100 * one.efficiency:.0f} "
            f"{ACTIVE}, deadtime {100 * one.deadtime:.2g} %"
        )
        evidence: list[Evidence] = [listed, *self._pairs.of(one.channel)]
        return finding_of(
            (self.name, self.version),
            closing,
            "witness",
            {"channel": strain, "witness": one.channel},
            text,
            Effect(100 * one.efficiency, ACTIVE),
            log10_p=max(FLOOR, min(0.0, log_trials - one.significance)),
            basis="extrapolated",
            severity="info",
            evidence=evidence,
        )

    def state(self) -> Any:
        """Plain values."""
        return [self._science.state(), self._hearing.state(), self._fresh, self._pairs.state()]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        science, hearing, self._fresh, pairs = state
        self._science.restore(science)
        self._hearing.restore(hearing)
        self._pairs.restore(pairs)


def _row(one: VetoRound) -> list[str | float | int | None]:
    figures = (one.significance, one.use_percentage, 100 * one.efficiency, 100 * one.deadtime)
    return [one.channel, one.snr_threshold, one.window, *(round(x, 2) for x in figures)]
