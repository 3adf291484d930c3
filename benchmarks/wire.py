"""CPU time of the FTS wire: µs a message over a real or simulated .jsonl file, best of five passes.

python benchmarks/wire.py FILE.jsonl
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from opintel.detector import Message
from opintel.fts.wire import FtsWire

PASSES = 5
MESSAGES = 20_000
CHUNK = 2000


def main(path: Path) -> None:
    """Prints one line: messages, their mean size, µs of CPU a message."""
    lines = path.read_bytes().splitlines()
    bodies = [lines[i % len(lines)] for i in range(MESSAGES)]
    wire = FtsWire()
    best = float("inf")
    for _ in range(PASSES):
        begin = time.process_time()
        for start in range(0, len(bodies), CHUNK):
            wire.decode([Message(body, path.name, n, n) for n, body in enumerate(bodies[start : start + CHUNK], start)])
        best = min(best, time.process_time() - begin)
    size = sum(map(len, bodies)) / len(bodies)
    print(f"{len(bodies)} messages of {size:.0f} bytes: {best / len(bodies) * 1e6:.2f} us CPU a message")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
