"""What a shifter wants of the last minutes of an interferometer, in one finding: it raises no alarm.

Science time and range, triggers, channels, lines, and how probable a glitch was in each second, with the seconds that
are flagged. A page reads these findings; their blocks of evidence are known by the titles below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any

import msgspec
import numpy as np

from opintel.detector import Closing, Judge
from opintel.evidence import Evidence, Series, Table
from opintel.finding import NS, Effect, Finding
from opintel.gw.glitch_probability import LEAST_SNR
from opintel.gw.judging.activity import Activity
from opintel.gw.judging.copies import StrainCopies
from opintel.gw.judging.flags import Calibration, Floats, GlitchFlags, SecondFlagged
from opintel.gw.judging.interferometer import (
    Interferometer,
    ScienceMode,
    channels_of,
    families,
    finding_of,
    within,
)
from opintel.gw.judging.line_history import LineHistory, LineMinute
from opintel.gw.naming import gps_seconds
from opintel.gw.records import TriggerSaid
from opintel.gw.safety import Safety
from opintel.gw.segments import NONE, Segments, coalesce, contains, duration, intersection, inward

TIME, CHANNELS, LINES = "Time and range", "Channels", "Lines"
RANGE, RATE, SNRS = "Range (BNS)", "Triggers", "Triggers by SNR"
PROBABILITY, FLAGGED, CALIBRATION = "P(glitch | auxiliary)", "Flagged", "Calibration"
LOUD = "Loudest triggers"
"""Titles of the evidence."""
EDGES = (5.5, 6.0, 7.0, 8.0, 10.0, 15.0, 30.0)
"""SNRs between which triggers are counted."""
RATED = 6.0
"""SNR from which on the rate of triggers counts."""
SHORTEST = 20 * NS
"""Science time since the last finding that is worth one when science mode ends, ns."""
MINUTE, HISTORY = 60 * NS, 60
NAMED, LISTED = 20, 30
"""Names in a list, rows of a table."""
Rows = list[list[str | float | int | None]]


class ObservingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of `ObservingJudge`."""

    every: Annotated[float, msgspec.Meta(ge=10, le=86_400)] = 300.0
    """s of event time from one finding to the next; also what the probability of a glitch is learnt in."""
    flag: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    """Seconds in which a glitch is at least so probable are flagged."""
    safe: list[str] = []
    """Channels that may be looked at besides those of safe families; patterns without the interferometer."""
    unsafe: list[str] = []
    """Channels that may not."""


class ObservedMinute(msgspec.Struct, array_like=True, frozen=True):
    """A minute, or what there was of it."""

    end: int
    """ns UTC"""
    seconds: float
    """s of science time in which the strain was judged."""
    range: float | None
    """Mpc, median."""
    triggers: int
    """Of SNR `RATED` and more."""


class _Block:
    """What is gathered between two findings."""

    def __init__(self) -> None:
        self.science: Segments = NONE
        self.live: Segments = NONE
        """Of it, where the strain was judged."""
        self.triggers: list[TriggerSaid] = []
        """Of the strain."""


class ObservingJudge(Judge):
    """Findings of kind `observing`: facts, so they have no p-value.

    What is said of probabilities and flags does not depend on the strain of the block, nor on that of the one before
    (`opintel.gw.judging.flags`).

    >>> from opintel.detector import Controls, Record
    >>> from opintel.finding import Window
    >>> from opintel.gw.records import ChannelWindow
    >>> judge, found = ObservingJudge(), []
    >>> for n in range(151):
    ...     window = Window(2 * n * NS, 2 * (n + 1) * NS)
    ...     strain = ChannelWindow("good", 4096.0, True, [(window.start, window.end)], range=130.0)
    ...     records = [Record(window, "channel", "L1:GDS-CALIB_STRAIN", "L1", strain)]
    ...     found += judge.judge(Closing(window, "L1", records, Controls(), ObservingSettings(), "", complete=True))
    >>> [(finding.kind, finding.evidence[0].title) for finding in found]
    [('observing', 'Time and range')]
    """

    name, version = "gw.observing", 1
    Settings = ObservingSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        self._science, self._copies = ScienceMode(), StrainCopies()
        self._activity, self._flags, self._lines = Activity(), GlitchFlags(), LineHistory()
        self._block = _Block()
        self._minutes: list[ObservedMinute] = []
        self._ranges: list[float] = []
        self._minute_from = 0
        """Triggers and live ns of the block before the minute in progress: …"""
        self._live_from = 0
        self._said_lines: list[LineMinute] = []
        self._states: dict[str, str] = {}
        """Channel → its state in the last window of science mode."""

    def judge(self, closing: Closing) -> list[Finding]:
        """The finding, where one is due."""
        self._science.take(closing)
        window, settings, channels = closing.window, closing.settings, channels_of(closing)
        safety = families(tuple(settings.safe), tuple(settings.unsafe))
        now = intersection(self._science.judged, within(window))
        if len(now) and channels.main is not None:
            self._copies.take(channels.strain[channels.main], channels.auxiliary)
            self._states = {name: one.state for name, one in (*channels.strain.items(), *channels.auxiliary.items())}
        self._activity.take(
            window, channels.auxiliary, lambda name: safety.judge(name) is Safety.SAFE and self._copies.is_none(name)
        )
        self._gather(channels, now)
        science = duration(self._block.science)
        if window.end // MINUTE > window.start // MINUTE or not len(now):
            self._end_minute(window.end)
        every = int(settings.every * NS)
        due = window.end // every > window.start // every and science > 0
        if not (due or (not len(now) and science >= SHORTEST)):
            return []
        self._end_minute(window.end)
        named = [name for name in sorted(self._states) if safety.judge(name) is Safety.SAFE]
        unclear = [name for name in named if not self._copies.is_none(name)]
        return [self._finding(closing, _channel_rows(self._states, len(named) - len(unclear), unclear))]

    def _gather(self, channels: Interferometer, now: Segments) -> None:
        block = self._block
        block.science = coalesce(np.concatenate([block.science, now]))
        if channels.main is None:
            return
        strain = channels.strain[channels.main]
        live = intersection(self._science.judged, coalesce(strain.live))
        block.live = coalesce(np.concatenate([block.live, live]))
        times = np.array([one.time for one in strain.triggers], dtype=np.int64)
        good = contains(self._science.judged, times).tolist()
        block.triggers += [one for one, inside in zip(strain.triggers, good, strict=True) if inside]
        if len(now):
            self._lines.take(strain.lines)
            if strain.range is not None:
                self._ranges.append(strain.range)

    def _end_minute(self, end: int) -> None:
        """Puts the minute in progress into the history."""
        live = duration(self._block.live)
        if live == self._live_from:
            return
        new = self._block.triggers[self._minute_from :]
        usual = float(np.median(self._ranges)) if self._ranges else None
        said = ObservedMinute(end, (live - self._live_from) / NS, usual, sum(one.snr >= RATED for one in new))
        self._minutes = [*self._minutes, said][-HISTORY:]
        self._said_lines = self._lines.minute()
        self._ranges, self._minute_from, self._live_from = [], len(self._block.triggers), live

    def _finding(self, closing: Closing, channel_rows: Rows) -> Finding:
        block, self._block = self._block, _Block()
        self._minute_from = self._live_from = 0
        seconds = _seconds(block.science)
        active = self._activity.until(closing.window.end // NS)
        glitches = {one.time // NS for one in block.triggers if one.snr >= LEAST_SNR}
        outcomes = {second: second in glitches for second in _seconds(block.live)}
        probability, said = self._flags.block(seconds, active, outcomes)
        flagged = [one for one in said if one.probability >= closing.settings.flag]
        science, live = duration(block.science) / NS, duration(block.live) / NS
        last = self._minutes[-1] if self._minutes else None
        reach = f", range {last.range:.3g} Mpc" if last is not None and last.range is not None else ""
        rate = 60 * sum(one.snr >= RATED for one in block.triggers) / live if live else 0.0
        text = (
            f"{closing.scope}: {science:.0f} s of science time{reach}, {rate:.2g} triggers a minute of SNR {RATED:g} "
            f"and more, {len(flagged)} s flagged"
        )
        blocks: list[Evidence] = [
            Table(TIME, ["", "value"], _time_rows(block, last, science, live)),
            *_history(self._minutes),
            Table(SNRS, ["SNR", "triggers"], _by_snr(block.triggers)),
            Table(CHANNELS, ["state", "channels", "names"], channel_rows),
            Table(LINES, ["Hz", "RMS amplitude", "times the usual", "Hz moved", "what"], _line_rows(self._said_lines)),
            *_probabilities(seconds, probability, flagged),
            Table(CALIBRATION, ["", "value"], _calibration_rows(self._flags.calibration)),
            Table(
                LOUD,
                ["GPS", "SNR", "Hz", "P(glitch | auxiliary)", "channel"],
                _loudest(block.triggers, dict(zip(seconds, probability.tolist(), strict=True)), said),
            ),
        ]
        effect = Effect(science, "s of science time")
        about = (self.name, self.version)
        return finding_of(
            about, closing, "observing", {"quantity": "last minutes"}, text, effect, severity="info", evidence=blocks
        )

    def state(self) -> Any:
        """Plain values."""
        block = self._block
        return [
            self._science.state(),
            self._copies.state(),
            self._activity.state(),
            self._flags.state(),
            self._lines.state(),
            [block.science.tolist(), block.live.tolist(), msgspec.to_builtins(block.triggers)],
            msgspec.to_builtins(self._minutes),
            [self._ranges, self._minute_from, self._live_from],
            [list(one) for one in self._said_lines],
            sorted(self._states.items()),
        ]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        science, copies, activity, flags, lines, (spans, live, triggers), minutes, minute, said, states = state
        for part, its in (
            (self._science, science),
            (self._copies, copies),
            (self._activity, activity),
            (self._flags, flags),
            (self._lines, lines),
        ):
            part.restore(its)
        self._block.science, self._block.live = coalesce(spans), coalesce(live)
        self._block.triggers = msgspec.convert(triggers, list[TriggerSaid])
        self._minutes = msgspec.convert(minutes, list[ObservedMinute])
        self._ranges, self._minute_from, self._live_from = minute
        self._ranges = list(self._ranges)
        self._said_lines = [LineMinute(*one) for one in said]
        self._states = dict(states)


def _seconds(segments: Segments) -> list[int]:
    """Whole seconds (ns UTC / 1e9) inside, in order."""
    return [second for begin, end in inward(segments).tolist() for second in range(begin // NS, end // NS)]


def _channel_rows(states: Mapping[str, str], looked_at: int, unclear: Sequence[str]) -> Rows:
    by_state: dict[str, list[str]] = {}
    for name, state in states.items():
        by_state.setdefault(state, []).append(name)
    rows: Rows = [
        [state, len(names), "" if state == "good" else ", ".join(sorted(names)[:NAMED])]
        for state, names in sorted(by_state.items())
    ]
    rows.append(["looked at", looked_at, ""])
    rows.append(["safe by name, but not known to be no copy of the strain", len(unclear), ", ".join(unclear[:NAMED])])
    return rows


def _time_rows(block: _Block, last: ObservedMinute | None, science: float, live: float) -> Rows:
    began = int(block.science[0, 0]) if len(block.science) else 0
    span = (int(block.science[-1, 1]) - began) / NS if len(block.science) else 0.0
    return [
        ["science time, s", round(science, 3)],
        ["% of the time from its first to its last second", round(100 * science / span, 2) if span else None],
        ["% of it in which the strain was judged", round(100 * live / science, 2) if science else None],
        ["range in its last minute, Mpc", last.range if last is not None else None],
    ]


def _history(minutes: Sequence[ObservedMinute]) -> list[Evidence]:
    times = [one.end for one in minutes]
    rates: list[float | None] = [60 * one.triggers / one.seconds for one in minutes]
    return [
        Series(RANGE, times, [one.range for one in minutes], "Mpc"),
        Series(f"{RATE} of SNR {RATED:g} and more", times, rates, "a minute"),
    ]


def _by_snr(triggers: Sequence[TriggerSaid]) -> Rows:
    counts = np.histogram([one.snr for one in triggers], [*EDGES, np.inf])[0].tolist()
    names = [f"{low:g} to {high:g}" for low, high in pairwise(EDGES)] + [f"{EDGES[-1]:g} and more"]
    return [[name, count] for name, count in zip(names, counts, strict=True)]


def _line_rows(lines: Sequence[LineMinute]) -> Rows:
    rows: Rows = []
    for one in lines:
        what = [word for word, so in (("grew", one.grew), ("moved", one.wandered), ("sidebands", one.sidebands)) if so]
        times = None if one.times is None else round(one.times, 3)
        moved = None if one.moved is None else round(one.moved, 3)
        rows.append([round(one.frequency, 3), one.amplitude, times, moved, ", ".join(what)])
    return rows


def _probabilities(seconds: Sequence[int], probability: Floats, flagged: Sequence[SecondFlagged]) -> list[Evidence]:
    values: list[float | None] = [round(p, 4) for p in probability.tolist()]
    active = coalesce([(one.second * NS, (one.second + 1) * NS) for one in flagged])
    rows: Rows = []
    for begin, end in active.tolist()[:LISTED]:
        those = [one for one in flagged if begin <= one.second * NS < end]
        most = max(those, key=lambda one: (one.probability, -one.second))
        rows.append([f"{gps_seconds(begin):.0f}", f"{gps_seconds(end):.0f}", round(most.probability, 4), most.channel])
    known = coalesce([(second * NS, (second + 1) * NS) for second in seconds])
    spans: Rows = [[f"{gps_seconds(begin):.0f}", f"{gps_seconds(end):.0f}"] for begin, end in known.tolist()[:LISTED]]
    return [
        Series(PROBABILITY, [second * NS for second in seconds], values, "a second"),
        Table(FLAGGED, ["from GPS", "to GPS", PROBABILITY, "channel"], rows),
        Table(f"{FLAGGED}: known", ["from GPS", "to GPS"], spans),
    ]


def _calibration_rows(calibration: Calibration) -> Rows:
    skill = calibration.skill
    return [
        ["seconds", calibration.seconds],
        ["with a glitch", calibration.glitches],
        ["expected calibration error", round(calibration.error, 5)],
        ["Brier skill against their rate", None if skill is None else round(skill, 4)],
    ]


def _loudest(triggers: Sequence[TriggerSaid], probability: Mapping[int, float], said: Sequence[SecondFlagged]) -> Rows:
    channels = {one.second: one.channel for one in said}
    rows: Rows = []
    for one in sorted(triggers, key=lambda one: (-one.snr, one.time))[:LISTED]:
        second = one.time // NS
        p = probability.get(second)
        rows.append(
            [
                f"{gps_seconds(one.time):.3f}",
                round(one.snr, 2),
                round(one.frequency, 1),
                None if p is None else round(p, 4),
                channels.get(second, ""),
            ]
        )
    return rows
