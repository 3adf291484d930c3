"""Channels that stand still or are gone: said once, and once more when they are back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple

import msgspec

from opintel.detector import Closing, Judge
from opintel.evidence import Evidence, Series, Table
from opintel.finding import NS, Effect, Finding, rfc3339
from opintel.gw.gps import gps_from_utc
from opintel.gw.judging.interferometer import ScienceMode, channels_of, finding_of, within
from opintel.gw.records import ChannelWindow
from opintel.gw.segments import intersection

Seconds = Annotated[float, msgspec.Meta(gt=0, le=1e6)]
MANY = 10
"""Channels that fail in the same window from which on they are one finding."""
LISTED = 50
SHOWN = 60.0
"""Seconds of the good time before, in the picture."""
KINDS = {"constant": "stuck", "absent": "missing"}
WORDS = {"stuck": "has not moved", "missing": "has no samples"}


class ChannelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of `ChannelJudge`."""

    patience: Seconds = 30.0
    """For so many seconds of science time a channel stands still, or has no samples, before that is said."""
    before: Seconds = 60.0
    """For so many it was as it should be before: what never moved is no news."""


class _Past(NamedTuple):
    """Seconds of science time."""

    good: float = 0.0
    """In all."""
    state: str = ""
    """`constant` or `absent`; empty where it is as it should be."""
    bad: float = 0.0
    """For how long it has been so."""
    since: int = 0
    """ns UTC."""
    said: bool = False


class ChannelJudge(Judge):
    """Findings of kinds `stuck` and `missing`. They have no p-value: they are facts.

    Time counts in science mode only: out of it many channels are switched off. In a window that the end of the input
    cut short, and where no channel of the interferometer came at all, none is missing.

    >>> from opintel.detector import Controls, Record
    >>> from opintel.finding import Window
    >>> judge, found = ChannelJudge(), []
    >>> for n in range(60):
    ...     window = Window(2 * n * NS, 2 * (n + 1) * NS)
    ...     said = ChannelWindow("good" if n < 40 else "constant", 256.0, False, [])
    ...     records = [Record(window, "channel", "L1:PEM-EY_MIC_VEA_DQ", "L1", said)]
    ...     found += judge.judge(Closing(window, "L1", records, Controls(), ChannelSettings(), "", complete=True))
    >>> [finding.summary for finding in found]
    ['L1:PEM-EY_MIC_VEA_DQ has not moved for 30 s']
    """

    name, version = "gw.channels", 2
    Settings = ChannelSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        self._science = ScienceMode()
        self._past: dict[str, _Past] = {}

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of a window, in order of kind and channel."""
        self._science.take(closing)
        window = closing.window
        science = intersection(self._science.spans, within(window))
        whole = len(science) == 1 and science[0].tolist() == [window.start, window.end]
        channels = channels_of(closing)
        there = {**channels.strain, **channels.auxiliary}
        if not (whole and there and closing.complete):
            return []
        seconds = (window.end - window.start) / NS
        begun: dict[str, list[tuple[str, _Past]]] = {"stuck": [], "missing": []}
        over: dict[str, list[tuple[str, _Past]]] = {"stuck": [], "missing": []}
        for name in sorted({*self._past, *there}):
            past, state = self._past.get(name, _Past()), _state(there.get(name))
            if past.state and state != past.state:
                if past.said:
                    over[KINDS[past.state]].append((name, past))
                past = _Past(past.good)
            if not state:
                past = past._replace(good=past.good + seconds)
            else:
                since = past.since if past.state else window.start
                past = past._replace(state=state, bad=past.bad + seconds, since=since)
                due = past.bad >= closing.settings.patience and past.good >= closing.settings.before
                if due and not past.said:
                    past = past._replace(said=True)
                    begun[KINDS[state]].append((name, past))
            self._past[name] = past
        findings: list[Finding] = []
        for kind in ("missing", "stuck"):
            findings += self._said(closing, kind, begun[kind], len(there))
            findings += [self._back(closing, kind, name, past) for name, past in over[kind]]
        return findings

    def _said(self, closing: Closing, kind: str, which: list[tuple[str, _Past]], of: int) -> Iterable[Finding]:
        if len(which) >= MANY:
            rows: list[list[str | float | int | None]] = [[name] for name, _ in which[:LISTED]]
            text = f"{len(which)} of {of} channels of {closing.scope}: each {WORDS[kind]}"
            yield finding_of(
                (self.name, self.version),
                closing,
                kind,
                {},
                text,
                Effect(len(which), "channels"),
                evidence=(Table("Channels", ["channel"], rows),),
            )
            return
        for name, past in which:
            text = f"{name} {WORDS[kind]} for {past.bad:.0f} s"
            evidence: list[Evidence] = [_steps(closing, kind, past), _facts(name, kind, past, of)]
            effect, subject = Effect(past.bad, "s"), {"channel": name}
            yield finding_of((self.name, self.version), closing, kind, subject, text, effect, evidence=evidence)

    def _back(self, closing: Closing, kind: str, name: str, past: _Past) -> Finding:
        again = "moves" if kind == "stuck" else "has samples"
        text = f"{name} {again} again after {past.bad:.0f} s of science time"
        effect, subject = Effect(past.bad, "s"), {"channel": name}
        evidence = [_steps(closing, kind, past)]
        return finding_of(
            (self.name, self.version), closing, kind, subject, text, effect, severity="info", evidence=evidence
        )

    def state(self) -> Any:
        """Plain values."""
        return [self._science.state(), sorted([name, *past] for name, past in self._past.items())]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        science, past = state
        self._science.restore(science)
        self._past = {name: _Past(*rest) for name, *rest in past}


def _steps(closing: Closing, kind: str, past: _Past) -> Series:
    """Windows of science time, as if they had followed each other: 1 where the channel was as it should be."""
    length = closing.window.end - closing.window.start
    good, bad = (round(seconds * NS / length) for seconds in (min(past.good, SHOWN), past.bad))
    values = [1.0] * good + [0.0] * bad
    times = [closing.window.end - (len(values) - n) * length for n in range(len(values))]
    title = f"{'Moves' if kind == 'stuck' else 'Has samples'} (1) or not (0), windows of science time"
    return Series(title, times, [*values], "", marked=(times[good], closing.window.end))


def _facts(name: str, kind: str, past: _Past, of: int) -> Table:
    rows: list[list[str | float | int | None]] = [
        ["as it should be before, s of science time", round(past.good)],
        [f"{WORDS[kind]}, s of science time", round(past.bad)],
        ["since", rfc3339(past.since)],
        ["since, GPS s", gps_from_utc(past.since) / NS],
        ["channels of this interferometer with samples now", of],
    ]
    return Table(f"Channel {name}", ["", "value"], rows)


def _state(said: ChannelWindow | None) -> str:
    if said is None:
        return "absent"
    return said.state if said.state in KINDS else ""
