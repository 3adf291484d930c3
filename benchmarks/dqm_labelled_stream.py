"""The DQM stream on real labelled lumisections, one after the other: nobody says what is bad.

    python benchmarks/dqm_labelled_stream.py FOLDER [--begin RUN] [--settle 40] [--operator]

FOLDER holds `cms_pixel_charge_perLS_2017B/perLS_chargeInner_PXLayer_1.csv`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opintel.detector import Closing, Controls, Message, WindowRows
from opintel.dqm.elements import BinAxis, MonitorElement
from opintel.dqm.modelled.evaluate_references import curve, labelled_lumisections
from opintel.dqm.quality.certify import CERTIFIED, quality_of
from opintel.dqm.quality.judge import DqmJudge, DqmJudgeSettings
from opintel.dqm.records import HistogramOutcome
from opintel.dqm.rolling.reducer import DqmReducer, DqmReducerSettings
from opintel.dqm.wire import DqmWire
from opintel.dqm.wire.encoder import parts_of
from opintel.dqm.wire.heads import Head
from opintel.finding import NS, Finding, Window

EPOCH, LENGTH = 1_700_000_000 * NS, 23 * NS
LUMISECTIONS = 3000
"""Longer than any run."""
CLEAR = 5
"""Lumisections without a warning after which the next is another alarm, as in `alerts/incidents.yaml`."""
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
    stages = TwoStages(arguments.settle)
    score, out = np.full(len(data.run), -1.0), np.zeros(len(data.run), dtype=bool)
    certified, unconfirmed = np.zeros(len(data.run), dtype=bool), np.zeros(len(data.run), dtype=bool)
    accepted, findings = 0, dict.fromkeys(data.run[order].tolist(), 0)
    episodes = dict.fromkeys(data.run[order].tolist(), 0)
    quiet = CLEAR
    for n in order.tolist():
        run = int(data.run[n])
        one, found = stages.close(run, int(data.number[n]), run - int(data.run.min()), data.contents[n], accepted)
        if one.log10_p is not None:  # what could not be judged is least strange
            score[n], out[n] = -one.log10_p, one.log10_p <= -4.0
        unconfirmed[n] = one.settled is not None
        certified[n] = any(f.kind == "quality" and quality_of(f).status in CERTIFIED for f in found)
        warnings = sum(f.severity != "info" for f in found)
        findings[run] += warnings
        episodes[run] += warnings > 0 and quiet >= CLEAR
        quiet = 0 if warnings else quiet + 1
        accepted += arguments.operator and one.settled is not None and not data.bad[n]
    bad, runs = data.bad[order], data.run[order]
    print(", ".join(f"{name} {value:.3f}" for name, value in curve(score[order], bad).items()))
    for name, of in (("good", ~bad), ("bad", bad), ("first run", runs == runs[0])):
        shares = (("p <= 1e-4", out), ("settled, not accepted", unconfirmed), ("certified", certified))
        print(f"{name}: " + ", ".join(f"{what} {its[order][of].mean():.3f}" for what, its in shares))
    print(
        f"changes accepted: {accepted}; alarms (warnings after {CLEAR} lumisections without): {sum(episodes.values())}"
    )
    for run in np.unique(runs).tolist():
        of = runs == run
        label = f"  {run} {'bad ' if bad[of].any() else 'good'} {of.sum():5} lumisections: "
        said = f"p <= 1e-4 in {out[order][of].sum()}, {findings[run]} warnings, {episodes[run]} alarms, "
        print(f"{label}{said}{certified[order][of].sum()} certified")


if __name__ == "__main__":
    main()
