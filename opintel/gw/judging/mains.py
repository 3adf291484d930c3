"""Sidebands of the mains: slow motion that modulates what they couple into the strain fills the sides of their line."""

from __future__ import annotations

from typing import Any

from opintel.detector import Closing, Judge
from opintel.evidence import Table
from opintel.finding import NS, Effect, Finding
from opintel.gw.judging.interferometer import ScienceMode, channels_of, finding_of, within
from opintel.gw.judging.line_history import LineHistory, LineMinute
from opintel.gw.segments import duration, intersection

MAINS = (50.0, 60.0)
"""Hz"""
NEAR = 0.5
"""Hz from a multiple of these."""
MINUTE = 60.0
"""s of science time that are judged together; …"""
SHORTEST = 40.0
"""… and s that are enough where science mode ends: the spectrum itself remembers half a minute."""


class MainsJudge(Judge):
    """Findings of kind `mains-sidebands`: the density beside a line of the mains in a minute, against that line's past.

    It has no p-value: how the sides of a line wander is learnt from too few minutes for a tail.

    >>> from opintel.detector import Controls, NoSettings, Record
    >>> from opintel.finding import NS, Window
    >>> from opintel.gw.records import ChannelWindow
    >>> judge, found = MainsJudge(), []
    >>> for n in range(601):
    ...     window = Window(2 * n * NS, 2 * (n + 1) * NS)
    ...     lines = [(60.0, 1e-22, -100.0 if n < 540 else -98.0)]
    ...     strain = ChannelWindow("good", 4096.0, True, [(window.start, window.end)], lines=lines)
    ...     records = [Record(window, "channel", "L1:GDS-CALIB_STRAIN", "L1", strain)]
    ...     found += judge.judge(Closing(window, "L1", records, Controls(), NoSettings(), "", complete=True))
    >>> found[0].summary
    'L1:GDS-CALIB_STRAIN: the noise beside 60 Hz is 8.7 dB above its usual level'
    """

    name, version = "gw.mains", 1
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        self._science, self._lines = ScienceMode(), LineHistory()
        self._seconds = 0.0

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of a minute, where one is full or science mode ends."""
        self._science.take(closing)
        channels, found = channels_of(closing), list[Finding]()
        now = duration(intersection(self._science.judged, within(closing.window))) / NS
        if channels.main is not None and now:
            self._lines.take(channels.strain[channels.main].lines)
            self._seconds += now
        if channels.main is None or not (self._seconds >= MINUTE or (not now and self._seconds >= SHORTEST)):
            return []
        self._seconds = 0.0
        for line in self._lines.minute():
            if line.sidebands and line.beside is not None and _of_mains(line.frequency):
                found.append(self._finding(closing, channels.main, line, line.beside))
        return found

    def _finding(self, closing: Closing, channel: str, line: LineMinute, beside: float) -> Finding:
        decibels = 4.342944819 * beside
        table = Table(
            "Line",
            ["", "value"],
            [
                ["frequency, Hz", round(line.frequency, 3)],
                ["RMS amplitude", line.amplitude],
                ["amplitude over the usual one", None if line.times is None else round(line.times, 3)],
                ["density beside it over the usual one, dB", round(decibels, 2)],
            ],
        )
        return finding_of(
            (self.name, self.version),
            closing,
            "mains-sidebands",
            {"quantity": "mains"},
            f"{channel}: the noise beside {line.frequency:.4g} Hz is {decibels:.1f} dB above its usual level",
            Effect(decibels, "dB"),
            evidence=[table],
        )

    def state(self) -> Any:
        """Plain values."""
        return [self._science.state(), self._lines.state(), self._seconds]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        science, lines, self._seconds = state
        self._science.restore(science)
        self._lines.restore(lines)


def _of_mains(frequency: float) -> bool:
    return any(abs(frequency - mains * round(frequency / mains)) <= NEAR for mains in MAINS)
