"""The DQM stream on real labelled lumisections, one after the other: nobody says what is bad.

    python benchmarks/dqm_labelled_stream.py FOLDER [--begin RUN] [--settle 40] [--operator]

FOLDER holds `cms_pixel_charge_perLS_2017B/perLS_chargeInner_PXLayer_1.csv`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from opintel.alerts.service import AlertService
from opintel.alerts.settings import Declared
from opintel.detector import Closing, Controls, Message, WindowRows
from opintel.dqm.elements import BinAxis, MonitorElement
from opintel.dqm.modelled.evaluate_references import Lumisections, curve, labelled_lumisections
from opintel.dqm.pipeline import PIPELINE
from opintel.dqm.quality.certify import CERTIFIED, quality_of
from opintel.dqm.quality.judge import DqmJudge, DqmJudgeSettings
from opintel.dqm.records import HistogramOutcome
from opintel.dqm.rolling.reducer import DqmReducer, DqmReducerSettings
from opintel.dqm.wire import DqmWire
from opintel.dqm.wire.encoder import parts_of
from opintel.dqm.wire.heads import Head
from opintel.finding import NS, Finding, Window
from opintel.site.load import load_site
from opintel.store import open_store, queries, sqlite_url
from opintel.streams.findings import Found, Judged

EPOCH, LENGTH = 1_700_000_000 * NS, 23 * NS
LUMISECTIONS = 3000
"""Longer than any run."""
SITE = Path(__file__).parent.parent
AXIS = BinAxis.regular(100, 0.0, 80_000.0, "charge", "e")


class TwoStages:
    """Both stages, for one histogram."""

    def __init__(self, settle: int) -> None:
        self.wire, self.reducer, self.judge = DqmWire(), DqmReducer(), DqmJudge()
        self.settings = DqmReducerSettings(settle=settle)

    def close(
        self, run: int, number: int, at: int, contents: NDArray[np.float64], accepted: int
    ) -> tuple[HistogramOutcome, list[Finding]]:
        """What is said of a lumisection; `accepted`: how many changes an operator has accepted so far."""
        start = EPOCH + (at * LUMISECTIONS + number) * LENGTH
        window = Window(start, start + LENGTH)
        one = MonitorElement("Charge", (AXIS,), values=contents, storage="count", variances=None, flow=True)
        bodies = parts_of(Head(run, number, window.start, window.end, "Pixel"), [one])
        rows = self.wire.decode([Message(body, index=at) for at, body in enumerate(bodies)]).rows
        controls = Controls({("reference", "Pixel"): (accepted, {"fresh": True})} if accepted else None)
        closing = WindowRows(window, rows.by_key(), rows.cut(0, 0), controls, self.settings, {})
        reduced = self.reducer.close(closing)
        (outcome,) = [r.payload for r in reduced.records if isinstance(r.payload, HistogramOutcome)]
        tested = reduced.tested.get("Pixel", {})
        about = Closing(window, "Pixel", reduced.records, controls, DqmJudgeSettings(), "m", True, tested=tested)
        return outcome, self.judge.judge(about)


class Alarms:
    """What the shipped rules make of the findings: incidents, and how often one of them opens again."""

    def __init__(self, folder: str) -> None:
        declared = Declared(PIPELINE.naming.entities, tuple(PIPELINE.kinds), PIPELINE.adapting)
        self.store = open_store(sqlite_url(Path(folder) / "store.db"))
        self.service = AlertService(self.store, load_site(SITE).alerts.over({"dqm": declared}))

    def consume(self, found: list[Finding], tests: dict[str, int]) -> tuple[int, int]:
        """(incidents that are new, those that opened again) after a lumisection."""
        warned = any(one.severity != "info" for one in found)
        before = self._states() if warned else {}
        events: list[Found | Judged] = [Found("dqm", one) for one in found]
        events.append(Judged("dqm", "Pixel", found[-1].window, tests, True))
        at = self.service.position()
        self.service.consume(at, events, at + len(events))
        after = self._states() if warned else {}
        again = [one for one in before if before[one] != "open" and after[one] == "open"]
        return len(after.keys() - before.keys()), len(again)

    def _states(self) -> dict[str, str]:
        return {one["id"]: one["state"] for one in queries.incidents(self.store)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--begin", type=int, default=0, help="first run")
    parser.add_argument("--settle", type=int, default=DqmReducerSettings().settle, help="the reducer's setting")
    parser.add_argument("--operator", action="store_true", help="accepts what has settled in a good run")
    arguments = parser.parse_args()
    data = labelled_lumisections(arguments.folder)
    order = np.lexsort((data.number, data.run))
    order = order[data.run[order] >= arguments.begin]
    with TemporaryDirectory() as folder:
        report(data, order, TwoStages(arguments.settle), Alarms(folder), operator=arguments.operator)


def report(data: Lumisections, order: NDArray[np.int64], stages: TwoStages, alarms: Alarms, *, operator: bool) -> None:
    """Prints what is said of the lumisections in this order; an `operator` accepts what has settled in a good run."""
    score, out = np.full(len(data.run), -1.0), np.zeros(len(data.run), dtype=bool)
    certified, unconfirmed = np.zeros(len(data.run), dtype=bool), np.zeros(len(data.run), dtype=bool)
    accepted, findings = 0, dict.fromkeys(data.run[order].tolist(), 0)
    incidents = {run: np.zeros(2, dtype=np.int64) for run in findings}
    for n in order.tolist():
        run = int(data.run[n])
        one, found = stages.close(run, int(data.number[n]), run - int(data.run.min()), data.contents[n], accepted)
        if one.log10_p is not None:  # what could not be judged is least strange
            score[n], out[n] = -one.log10_p, one.log10_p <= -4.0
        unconfirmed[n] = one.settled is not None
        certified[n] = any(f.kind == "quality" and quality_of(f).status in CERTIFIED for f in found)
        findings[run] += sum(f.severity != "info" for f in found)
        incidents[run] += alarms.consume(found, stages.judge.tests)
        accepted += operator and one.settled is not None and not data.bad[n]
    bad, runs = data.bad[order], data.run[order]
    print(", ".join(f"{name} {value:.3f}" for name, value in curve(score[order], bad).items()))
    for name, of in (("good", ~bad), ("bad", bad), ("first run", runs == runs[0])):
        shares = (("p <= 1e-4", out), ("settled, not accepted", unconfirmed), ("certified", certified))
        print(f"{name}: " + ", ".join(f"{what} {its[order][of].mean():.3f}" for what, its in shares))
    new, again = np.sum(list(incidents.values()), axis=0).tolist()
    print(f"changes accepted: {accepted}; incidents: {new}, opened again {again} times")
    for run in np.unique(runs).tolist():
        of = runs == run
        label = f"  {run} {'bad ' if bad[of].any() else 'good'} {of.sum():5} lumisections: "
        said = f"p <= 1e-4 in {out[order][of].sum()}, {findings[run]} warnings, {incidents[run][0]} incidents, "
        said += f"opened again {incidents[run][1]} times, "
        print(f"{label}{said}{certified[order][of].sum()} certified")


if __name__ == "__main__":
    main()
