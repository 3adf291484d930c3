"""What a lumisection of histograms costs at the wire: 10^5 TH1 x 100 and 10^3 TH2 x 100 x 100 of 20 subsystems.

python benchmarks/dqm_wire.py

Printed: bytes, CPU-s to encode and to decode it (the first time, when its axes are new, and later), beside a copy of
the same bytes; and what a message of the simulated detector of 60 histograms costs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from opintel.detector import Message
from opintel.dqm.elements import BinAxis, MonitorElement
from opintel.dqm.simulated.simulate import DqmSimulator
from opintel.dqm.wire import DqmWire
from opintel.dqm.wire.encoder import parts_of
from opintel.dqm.wire.heads import Head

START, LENGTH = 1_700_000_000 * 10**9, 23_310_000_000
REPEAT = 5


def elements(rng: np.random.Generator, subsystem: int) -> list[MonitorElement]:
    """5000 TH1, of 50 different axes, and 50 TH2 among them."""
    lines = [(BinAxis.regular(100, 0.0, 1.0 + n, f"axis {n}"),) for n in range(50)]
    table = (BinAxis.regular(100, 0.0, 1.0), BinAxis.regular(100, 0.0, 1.0))
    found = []
    for n in range(5050):
        axes = table if n % 101 == 100 else lines[n % 50]
        shape = tuple(axis.bins for axis in axes)
        path = f"sub{subsystem:02}/folder{n // 500:02}/plot{n:05}"
        found.append(MonitorElement(path, axes, "count", rng.poisson(20, shape).astype(float), None, False))
    return found


def cpu(work: Callable[[], Any]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def main() -> None:
    rng = np.random.default_rng(1)
    content = [elements(rng, n) for n in range(20)]
    heads = [Head(1, 1, START, START + LENGTH, f"sub{n:02}") for n in range(20)]
    bodies: list[bytes] = []
    encoding = cpu(lambda: bodies.extend(b for h, e in zip(heads, content, strict=True) for b in parts_of(h, e)))
    wire = DqmWire()
    decoding = [cpu(lambda: [wire.decode([Message(body)]) for body in bodies]) for _ in range(REPEAT)]
    copying = min(cpu(lambda: [bytearray(body) for body in bodies]) for _ in range(REPEAT))
    print(
        f"lumisection: {sum(map(len, bodies)) / 1e6:.1f} MB in {len(bodies)} messages; encoded in {encoding:.2f} CPU-s"
    )
    print(f"  decoded in {decoding[0]:.2f}, later {min(decoding[1:]):.2f} CPU-s; a copy of the bytes {copying:.3f}")
    story: list[tuple[int, bytes]] = []
    making = cpu(lambda: story.extend(DqmSimulator(seed=1, hours=2, faults=()).messages()))
    reading = cpu(lambda: [wire.decode([Message(body)]) for _, body in story])
    mean = sum(len(body) for _, body in story) / len(story)
    print(f"detector: {len(story)} messages of {mean:.0f} bytes; simulated in {making / len(story) * 1e3:.2f} ms each")
    print(f"  decoded in {reading / len(story) * 1e3:.2f} ms each")


if __name__ == "__main__":
    main()
