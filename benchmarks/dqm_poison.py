"""What one histogram costs that makes stage 1 raise, among 25,000 of a lumisection.

python benchmarks/dqm_poison.py [--histograms 25000]

Full references (four blocks of ten lumisections and one in progress) of 100 bins and 25 different axes. Printed: CPU-s
of a lumisection in which nothing raises, and of the careful pass that finds the one that does (`streams/closing.py`);
that the pass ends in under ten seconds, says of all others what is said without it, and leaves the same state.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from opintel.detector import Controls, Message, Reduced, WindowRows
from opintel.dqm.elements import BinAxis, MonitorElement
from opintel.dqm.histograms import Histograms
from opintel.dqm.rolling.histories import BlockMarks
from opintel.dqm.rolling.reducer import BLOCK, SLOTS, DqmReducer, DqmReducerSettings
from opintel.dqm.wire import DqmWire
from opintel.dqm.wire.encoder import parts_of
from opintel.dqm.wire.heads import Head
from opintel.finding import Window
from opintel.rows import Batch
from opintel.streams.closing import close, close_carefully

START, LENGTH = 1_700_000_000 * 10**9, 23_310_000_000
MOST = 10.0
"""s"""
BAD = "Calo||T/h017321"


class Poisoned(DqmReducer):
    """Raises when it has done its work, where one histogram is among the rows."""

    def close(self, closing: WindowRows[Histograms]) -> Reduced:
        reduced = super().close(closing)
        if BAD in closing.rows.key.values:
            raise ArithmeticError("poison")
        return reduced


def lumisection(number: int, histograms: int) -> WindowRows[Histograms]:
    """As stage 1 closes it."""
    rng = np.random.default_rng([1, number])
    axes = [(BinAxis.regular(100, 0.0, 1.0 + n, f"axis {n}"),) for n in range(25)]
    counts = rng.poisson(20.0, (histograms, 100)).astype(np.float64)
    elements = [MonitorElement(f"T/h{n:06}", axes[n % 25], "count", counts[n], None, False) for n in range(histograms)]
    window = Window(START + number * LENGTH, START + (number + 1) * LENGTH)
    head = Head(1, number, window.start, window.end, "Calo", pileup=50.0 - number)
    rows = DqmWire().decode([Message(body) for body in parts_of(head, elements)]).rows.by_key()
    return WindowRows(window, rows, Batch.of([], Histograms), Controls(), DqmReducerSettings(), {})


def with_references(closing: WindowRows[Histograms]) -> Any:
    """The state of a reducer that has seen a shift of lumisections like this."""
    reducer = DqmReducer()
    reducer.close(closing)
    for past in reducer._histories.values():
        rows = np.arange(len(past))
        sums = np.full((1, len(rows), past.size), 20.0 * BLOCK, dtype="<f4")
        ones = np.ones(len(rows), dtype=np.int64)
        for n in range(SLOTS + 1):
            many = 1 if n == SLOTS else BLOCK
            about = (ones, past.marks(rows).category[-1], (44.0 - n) * ones, ones, 10 * ones)
            marks = BlockMarks(*about, many * ones, many * 23.31 * ones, many * 2000.0 * ones)
            past.learn(rows, sums * many / BLOCK, marks)
    return reducer.state()


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.process_time()
    found = work()
    return time.process_time() - begin, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--histograms", type=int, default=25_000)
    histograms = parser.parse_args().histograms
    closing = lumisection(11, histograms)
    state = with_references(lumisection(1, histograms))
    plain = DqmReducer()
    plain.restore(state)
    seconds, reduced = timed(lambda: close(plain, closing))
    assert sum(record.payload.state == "judged" for record in reduced.records) == histograms
    poisoned = Poisoned()
    poisoned.restore(state)
    careful, found = timed(lambda: close_carefully(Poisoned, poisoned, closing))
    plain.drop(BAD)
    others = [record for record in reduced.records if not record.key.endswith(BAD)]
    assert [failed.key for failed in found.failed] == [BAD]
    assert sorted(found.reduced.records, key=lambda record: record.key) == others, "others were judged otherwise"
    assert found.reducer.state() == plain.state(), "the state is another one"
    print(f"{histograms} histograms: {seconds:.2f} CPU-s; with one that raises, carefully: {careful:.2f} CPU-s")
    print(f"  {'within' if careful < MOST else 'MORE THAN'} {MOST:g} s; the others and the state are as without it")


if __name__ == "__main__":
    main()
