"""The GW stream on the embedded log: from messages to findings, by channel-seconds and by window.

`python benchmarks/gw_stream.py [small] [large] [thousand] [--seconds 40] [--profile]`. A message a second, judged as it
comes, as a live stream is: `small` and `large` are the simulator's interferometers with their glitches, `thousand` has
1000 channels of coloured noise (100 at 16384 Hz, 300 at 4096 Hz, 600 at 256 Hz). CPU time of one process and all its
threads, so that a busy machine shows little; a window is closed by a message, and costs what that message does. The
first 20 s, in which spectra are learnt, are a figure of their own.
"""

from __future__ import annotations

import argparse
import cProfile
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
from pipeline import made
from rooms import rooms

from opintel.detector import Message
from opintel.finding import NS
from opintel.gw.gps import utc_from_gps
from opintel.gw.simulated.model import LARGE, SMALL
from opintel.gw.simulated.noise import Colouring, power_law
from opintel.gw.simulated.playing import Second
from opintel.gw.simulated.simulate import GwSimulator
from opintel.gw.wire.encoder import TableEntry, message_of
from opintel.site.system import System
from opintel.streams.artefacts import Artefacts
from opintel.streams.judging import JudgeStage
from opintel.streams.reduce import ReduceStage
from opintel.streams.stream import FINDINGS
from opintel.streams.worker import Worker

WARM = 20
"""s in which spectra are learnt."""
GPS = 1_264_316_100
RATES = {16384: 100, 4096: 300, 256: 600}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", default=["small", "large", "thousand"])
    parser.add_argument("--seconds", type=int, default=40, help="Those that are measured.")
    parser.add_argument("--profile", action="store_true", help="Also print where the time goes.")
    given = parser.parse_args()
    for which in given.which:
        messages = story(which)
        with tempfile.TemporaryDirectory() as name, made(Path(name)) as system:
            live = Live(system)
            warm = [live.take(second) for second in islice(messages, WARM)]
            profile = cProfile.Profile()
            take = partial(profile.runcall, live.take) if given.profile else live.take
            took = np.array([take(second) for second in islice(messages, given.seconds)])
            size, restored = live.state()
            windows = took[took > np.median(took)]  # a window lasts two seconds: every other message closes one
            learning = sum(warm) / WARM
            print(f"{which}: {live.channels} channels")
            print(f"  channel-seconds a CPU-second   {live.channels * len(took) / took.sum():10,.0f}")
            print(f"  CPU-s a second of data         {took.mean():10.3f}   ({learning:.3f} in the first {WARM} s)")
            print(f"  window, CPU-s: p50, p99        {np.median(windows):10.3f} {np.quantile(windows, 0.99):10.3f}")
            print(f"  state of stage 1, MB           {size / 1e6:10.1f}   restored in {restored:.2f} CPU-s")
            if given.profile:
                rooms(which, profile)


def story(which: str) -> Iterator[Second]:
    """The seconds of an interferometer."""
    if which == "thousand":
        yield from thousand()
        return
    model = {"small": SMALL._replace(science=600), "large": LARGE}[which]
    simulation = GwSimulator(seed=1, hours=0.2, faults=(), model=model)
    yield from (one for one in simulation.seconds("L1") if len(one.rows) > 1)


def thousand() -> Iterator[Second]:
    """Of 1000 channels, the first of them strain: noise without a seam."""
    table: list[TableEntry] = []
    for rate, count in RATES.items():
        for n in range(count):
            number = len(table) + 1
            table.append(TableEntry(number, f"H1:PEM-{rate}_{n}_DQ", rate, "ct" if table else "strain"))
    noise = {rate: Colouring([power_law(1.0, 0.5)] * count, rate) for rate, count in RATES.items()}
    rng = np.random.default_rng(1)
    for gps in range(GPS, GPS + 10_000):
        samples = [
            one
            for rate, count in RATES.items()
            for one in noise[rate].next(rng.standard_normal((count, rate), dtype=np.float32))
        ]
        yield Second(gps, tuple(table), list(enumerate(samples, 1)))


class Live:
    """Ingest and both stages in one process, a message at a time."""

    def __init__(self, system: System) -> None:
        watched = system.stream("gw")
        stream, pipeline, log, door = watched.stream, watched.pipeline, system.log, Artefacts([])
        raw, derived = (log.create(topic, 1).epoch for topic in (stream.topic, stream.derived))
        log.create(FINDINGS, 1)
        self.ingester = system.ingester(watched, "given", live=True)
        self.sequencer = system.sequencer(self.ingester)
        self.stage1 = Worker(
            log, stream.topic, 0, lambda: ReduceStage(stream, pipeline, 0, raw, 1, door), system.checkpoints
        )
        judging = lambda: JudgeStage(stream, pipeline, 0, derived, "live", door)  # noqa: E731
        self.stage2 = Worker(log, stream.derived, 0, judging, system.checkpoints)
        self.sent = self.channels = 0

    def take(self, second: Second) -> float:
        """CPU-s from the message to what follows from it."""
        body, now = message_of(second.table, second.gps, second.rows), utc_from_gps((second.gps + 1) * NS)
        self.channels = len(second.rows)
        before = time.process_time()
        self.sequencer.step()
        self.ingester.take([Message(body, "topic", self.sent, self.sent)], self.sent + 1, now)
        self.ingester.tick(now)
        self.sent += 1
        while self.stage1.step() + self.stage2.step():
            pass
        return time.process_time() - before

    def state(self) -> tuple[int, float]:
        """(bytes of stage 1's state, CPU-s to restore it)."""
        state = msgspec.msgpack.encode(self.stage1.stage.state())
        before = time.process_time()
        self.stage1.stage.restore(msgspec.msgpack.decode(state))
        return len(state), time.process_time() - before


if __name__ == "__main__":
    main()
