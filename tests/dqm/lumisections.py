"""Lumisections of a small detector for tests: messages of the wire, and the two stages driven by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opintel.detector import Closing, Controls, Message, Record, WindowRows
from opintel.dqm.elements import BinAxis, MonitorElement
from opintel.dqm.histograms import Listing
from opintel.dqm.quality.judge import DqmJudge, DqmJudgeSettings
from opintel.dqm.rolling.reducer import DqmReducer, DqmReducerSettings
from opintel.dqm.wire import DqmWire, ends
from opintel.dqm.wire.encoder import parts_of
from opintel.dqm.wire.heads import Head
from opintel.finding import NS, Finding, Window

BEGIN = 1_700_000_000 * NS + 123_456_789
LENGTH = round(23.31 * NS)
CHARGE = BinAxis.regular(40, 0.0, 80.0, "charge", "ke")


def element(path: str, values: Any, axis: BinAxis = CHARGE, **about: Any) -> MonitorElement:
    """A histogram of counts without flow bins."""
    given: dict[str, Any] = {"storage": "count", "variances": None, "flow": False} | about
    return MonitorElement(path, (axis,), values=np.asarray(values, dtype=np.float64), **given)


def head(run: int, number: int, subsystem: str = "Calo", seconds: float = 23.31, **about: Any) -> Head:
    """Lumisection `number` of a run; runs begin 10,000 s apart."""
    start = BEGIN + run * 10_000 * NS + (number - 1) * LENGTH
    return Head(run, number, start, start + round(seconds * NS), subsystem, **about)


def shape(bins: int = 40, peak: float = 12.0, height: float = 200.0) -> NDArray[np.float64]:
    """What a healthy histogram looks like, entries a bin."""
    return height * np.exp(-0.5 * ((np.arange(bins) - peak) / 6.0) ** 2) + 2.0


class Stages:
    """Both stages of one partition and all scopes, without the log between them."""

    def __init__(self, **settings: Any) -> None:
        self.reducer = DqmReducer()
        self.judges: dict[str, DqmJudge] = {}
        self.wire = DqmWire()
        self.settings = DqmReducerSettings(**settings)
        self.records: list[Record[Any]] = []
        self.rejects: list[str] = []

    def close(
        self, messages: Sequence[bytes], controls: Mapping[tuple[str, str], tuple[int, Any]] | None = None
    ) -> list[Finding]:
        """The findings of the lumisections in these messages, in order of their ends."""
        decoded = self.wire.decode([Message(body, index=n) for n, body in enumerate(messages)])
        self.rejects += [reject.reason for reject in decoded.rejects]
        rows, of = decoded.rows, ends(decoded.rows)
        in_force, found = Controls(controls), []
        for end, start in sorted(set(zip(of.tolist(), rows.time.tolist(), strict=True))):
            window = Window(start, end)
            here = rows.take(np.flatnonzero((of == end) & (rows.time == start))).by_key()
            closing = WindowRows(window, here, rows.cut(0, 0), in_force, self.settings, {})
            reduced = self.reducer.close(closing)
            self.records = list(reduced.records)
            for scope in sorted({record.scope for record in reduced.records}):
                judge = self.judges.setdefault(scope, DqmJudge())
                its = sorted((r for r in reduced.records if r.scope == scope), key=lambda r: (r.kind, r.key))
                tested = reduced.tested.get(scope, {})
                about = (in_force, DqmJudgeSettings(), "m", True)
                found += judge.judge(Closing(window, scope, its, *about, tested=tested))
        return found

    def play(self, run: int, numbers: Sequence[int], elements: Any, **about: Any) -> dict[int, list[Finding]]:
        """Lumisections of a run, one after the other: number → findings; `elements(number)` are its histograms."""
        listing = about.pop("listing", None)
        return {
            n: self.close(list(parts_of(head(run, n, **about), elements(n), listing(n) if listing else None)))
            for n in numbers
        }


def kinds(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """(kind, histogram) of what is more than information."""
    return [(f.kind, f.subject.get("histogram", "")) for f in findings if f.severity != "info"]


def listing(**about: Any) -> Listing:
    """What a manifest says."""
    return Listing(**about)
