"""Stage 1 of DQM on real labelled lumisections, one after the other, as the stream sees them: nobody says what is bad.

    python benchmarks/dqm_labelled_stream.py FOLDER [--begin RUN]

FOLDER holds `cms_pixel_charge_perLS_2017B/perLS_chargeInner_PXLayer_1.csv`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from opintel.detector import Controls, Message, WindowRows
from opintel.dqm.elements import BinAxis, MonitorElement
from opintel.dqm.modelled.evaluate_references import curve, labelled_lumisections
from opintel.dqm.records import HistogramOutcome
from opintel.dqm.rolling.reducer import DqmReducer, DqmReducerSettings
from opintel.dqm.wire import DqmWire
from opintel.dqm.wire.encoder import parts_of
from opintel.dqm.wire.heads import Head
from opintel.finding import NS, Window

EPOCH, LENGTH = 1_700_000_000 * NS, 23 * NS
LUMISECTIONS = 3000
"""Longer than any run."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--begin", type=int, default=0, help="first run")
    arguments = parser.parse_args()
    data = labelled_lumisections(arguments.folder)
    order = np.lexsort((data.number, data.run))
    order = order[data.run[order] >= arguments.begin]
    axis = BinAxis.regular(data.contents.shape[1] - 2, 0.0, 80_000.0, "charge", "e")
    wire, reducer, settings = DqmWire(), DqmReducer(), DqmReducerSettings()
    score = np.full(len(data.run), -1.0)  # what could not be judged is least strange
    for n in order.tolist():
        run, number = int(data.run[n]), int(data.number[n])
        start = EPOCH + ((run - int(data.run.min())) * LUMISECTIONS + number) * LENGTH
        one = MonitorElement("Charge", (axis,), values=data.contents[n], storage="count", variances=None, flow=True)
        bodies = parts_of(Head(run, number, start, start + LENGTH, "Pixel"), [one])
        rows = wire.decode([Message(body, index=at) for at, body in enumerate(bodies)]).rows
        closing = WindowRows(Window(start, start + LENGTH), rows.by_key(), rows.cut(0, 0), Controls(None), settings, {})
        for record in reducer.close(closing).records:
            if isinstance(record.payload, HistogramOutcome) and record.payload.log10_p is not None:
                score[n] = -record.payload.log10_p
    bad = data.bad[order]
    found = curve(score[order], bad)
    print(", ".join(f"{name} {value:.3f}" for name, value in found.items()))
    for name, rows_of in (("good", ~bad), ("bad", bad)):
        print(f"p <= 1e-4: {name} {(score[order][rows_of] >= 4.0).mean():.3f}")
    first = data.run[order] == data.run[order[0]]
    print(f"p <= 1e-4: first run {(score[order][first] >= 4.0).mean():.3f}")


if __name__ == "__main__":
    main()
