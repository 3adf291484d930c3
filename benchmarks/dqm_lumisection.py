"""What a lumisection costs from Arrow bytes to findings, and how many false warnings a shift has.

python benchmarks/dqm_lumisection.py [--share 1.0] [--mean 20] [--repeat 3]
python benchmarks/dqm_lumisection.py --shift [--histograms 300] [--hours 8]

The first: 10^5 TH1 x 100 and 10^3 TH2 x 100 x 100 of 20 subsystems (or a share of them), `--mean` entries a bin, with
full references (four blocks of lumisections and one in progress). Printed: CPU-s by part, the most memory, the size
of the state, and the seconds that it takes to be restored. The log between the stages is not in it: see `arrays.py`.

The second: the simulated detector without a fault (luminosity decay, pile-up that moves shapes, runs that differ), both
stages; warnings that they raise, and how many of these a shift of 10^5 histograms would have.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from opintel.alerts.budget import Signal, decide
from opintel.alerts.lifecycle import ALARMING, AlertState, Sign, alert_step
from opintel.detector import Closing, Controls, Message, WindowRows
from opintel.dqm.elements import BinAxis, MonitorElement
from opintel.dqm.quality.changes_open import CONTENTS
from opintel.dqm.quality.judge import DqmJudge, DqmJudgeSettings
from opintel.dqm.quality.trends import TrendJudge, TrendJudgeSettings
from opintel.dqm.rolling.histories import BlockMarks
from opintel.dqm.rolling.reducer import BLOCK, SLOTS, DqmReducer, DqmReducerSettings
from opintel.dqm.simulated.simulate import DqmSimulator
from opintel.dqm.wire import DqmWire, ends
from opintel.dqm.wire.encoder import parts_of
from opintel.dqm.wire.heads import Head
from opintel.finding import Finding, Window
from opintel.rows import Batch
from opintel.site.load import load_site
from opintel.streams.findings import Judged
from opintel.streams.loop import calm_collector

START, LENGTH = 1_700_000_000 * 10**9, 23_310_000_000
SUBSYSTEMS = 20
SITE = Path(__file__).parent.parent


class Clock:
    """CPU-s by part."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def of(self, part: str, work: Callable[[], Any]) -> Any:
        """What `work` returns."""
        begin = time.process_time()
        found = work()
        self.spent[part] = self.spent.get(part, 0.0) + time.process_time() - begin
        return found


class TwoStages:
    """Both stages, without the log between them."""

    def __init__(self) -> None:
        self.wire, self.reducer = DqmWire(), DqmReducer()
        self.judges: dict[str, tuple[DqmJudge, TrendJudge]] = {}

    def close(self, bodies: Sequence[bytes], clock: Clock) -> list[Finding]:
        """The findings of a lumisection."""
        decoded = clock.of("decode", lambda: [self.wire.decode([Message(body)]).rows for body in bodies])
        rows = clock.of("sort", lambda: Batch.joined(decoded).by_key())
        window = Window(int(rows.time[0]), int(ends(rows)[0]))
        closing = WindowRows(window, rows, rows.cut(0, 0), Controls(), DqmReducerSettings(), {})
        reduced = clock.of("stage 1", lambda: self.reducer.close(closing))
        scopes: dict[str, list[Any]] = {}
        for record in sorted(reduced.records, key=lambda one: (one.kind, one.key)):
            scopes.setdefault(record.scope, []).append(record)
        found: list[Finding] = []
        for scope, records in scopes.items():
            tested = reduced.tested.get(scope, {})
            judge, trends = self.judges.setdefault(scope, (DqmJudge(), TrendJudge()))
            about = Closing(window, scope, records, Controls(), DqmJudgeSettings(), "m", True, tested=tested)
            found += clock.of("stage 2", partial(judge.judge, about))
            about = Closing(window, scope, records, Controls(), TrendJudgeSettings(), "m", True, tested=tested)
            found += clock.of("trends", partial(trends.judge, about))
        return found


def lumisection(number: int, share: float, mean: float, rng: np.random.Generator) -> list[bytes]:
    """The messages of one."""
    lines = [(BinAxis.regular(100, 0.0, 1.0 + n, f"axis {n}"),) for n in range(50)]
    table = (BinAxis.regular(100, 0.0, 1.0), BinAxis.regular(100, 0.0, 1.0))
    bodies: list[bytes] = []
    for subsystem in range(SUBSYSTEMS):
        elements = []
        for n in range(round(5050 * share)):
            axes = table if n % 101 == 100 else lines[n % 50]
            values = rng.poisson(mean, tuple(axis.bins for axis in axes)).astype(float)
            elements.append(MonitorElement(f"folder{n // 500:02}/plot{n:05}", axes, "count", values, None, False))
        start = START + number * LENGTH
        bodies += parts_of(Head(1, number, start, start + LENGTH, f"sub{subsystem:02}"), elements)
    return bodies


def remember(reducer: DqmReducer, mean: float, rng: np.random.Generator) -> None:
    """Fills the references: as many whole blocks as are kept, and one in progress."""
    for past in reducer._histories.values():
        rows = np.arange(len(past))
        for n in range(SLOTS + 1):
            many = BLOCK if n < SLOTS else BLOCK // 2
            ones = np.ones(len(rows), dtype=np.int64)
            entries, unknown = many * mean * past.size * ones, np.full(len(rows), np.nan)
            first, last = n * BLOCK * ones, n * BLOCK + many * ones
            marks = BlockMarks(ones, 0 * ones, unknown, first, last, many * ones, many * 23.31 * ones, entries)
            past.learn(rows, rng.poisson(many * mean, (1, len(rows), past.size)).astype("<f4"), marks)


def cost(share: float, mean: float, repeat: int) -> None:
    """Prints what a lumisection costs."""
    rng = np.random.default_rng(1)
    stages = TwoStages()
    stages.close(lumisection(1, share, mean, rng), Clock())
    remember(stages.reducer, mean, rng)
    spent = []
    for n in range(repeat):
        bodies = lumisection(100 + n, share, mean, rng)
        clock = Clock()
        found = stages.close(bodies, clock)
        spent.append(clock.spent)
    many = round(5050 * share) * SUBSYSTEMS
    size = sum(map(len, bodies)) / 1e6
    print(f"{many} histograms, {size:.1f} MB, {mean:g} entries a bin; CPU-s a lumisection, least of {repeat}")
    parts = {part: min(one[part] for one in spent) for part in spent[0]}
    print("  " + ", ".join(f"{part} {seconds:.3f}" for part, seconds in parts.items()), end="; ")
    print(f"in all {min(sum(one.values()) for one in spent):.3f}; {len(found)} findings")
    state = stages.reducer.state()
    written = msgspec.msgpack.encode(state)
    begin = time.process_time()
    DqmReducer().restore(msgspec.msgpack.decode(written))
    took = time.process_time() - begin
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"  state {len(written) / 1e9:.3f} GB, restored in {took:.2f} s; most memory {most:.2f} GB, the benchmark's too"
    )


def shift(histograms: int, hours: float, seed: int) -> None:
    """Prints the warnings and alarms of a shift without a fault."""
    stages, alerts, findings, many, judged = TwoStages(), load_site(SITE).alerts, Counter[str](), 0, 0
    simulator = DqmSimulator(seed=seed, hours=hours, faults=(), histograms=histograms)
    rules = alerts.lifecycle.rules("dqm")
    states: dict[str, tuple[AlertState, str]] = {}
    spent, parts = Clock(), sorted(simulator.messages())
    heads = stages.wire.decode([Message(body) for _, body in parts])
    of = ends(heads.rows)[np.searchsorted(heads.message, np.arange(len(parts)))]
    for end in np.unique(of).tolist():
        bodies = [body for (_, body), its in zip(parts, of.tolist(), strict=True) if its == end]
        found = stages.close(bodies, spent)
        many += 1
        findings.update(one.kind for one in found if one.severity != "info")
        told: dict[str, Signal] = {}
        for scope, (judge, trends) in stages.judges.items():
            window = Window(end - LENGTH, end)
            judged += sum(judge.tests[kind] for kind in CONTENTS)
            # thresholds are those of 100,000 histograms
            tests = {kind: round(n * 101_000 / histograms) for kind, n in (judge.tests | trends.tests).items()}
            here = [one for one in found if one.subject["scope"] == scope]
            asked = Judged("dqm", scope, window, tests | {one.kind: 0 for one in here if one.kind not in tests}, True)
            told |= decide(asked, here, alerts.budgets, {}, (), {}, rules).signals
        for mark in states.keys() | told.keys():
            before, history = states.get(mark, ("pending", ""))
            sign: Sign = told[mark].sign if mark in told else "."
            states[mark] = alert_step(before, history, sign, rules)
            findings["alarm"] += states[mark][0] in ALARMING and before not in ALARMING
    print(f"{hours:g} h of {histograms} histograms without a fault: {many} lumisections, {judged} histograms judged")
    print(f"  warnings by kind: {dict(findings) or 'none'}; times {101_000 / histograms:.0f} in a shift of 101,000")


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of 101,000 histograms")
    parser.add_argument("--mean", type=float, default=20.0, help="entries a bin")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--shift", action="store_true", help="false warnings instead of cost")
    parser.add_argument("--histograms", type=int, default=300)
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=3)
    given = parser.parse_args()
    calm_collector()
    if given.shift:
        shift(given.histograms, given.hours, given.seed)
    else:
        cost(given.share, given.mean, given.repeat)


if __name__ == "__main__":
    main()
