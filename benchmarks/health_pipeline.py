"""Samples per CPU-second from message to incident on the embedded log, and where the time goes.

`python benchmarks/health_pipeline.py [--series 10000] [--minutes 60] [--profile]`. One run, one process, the same
samples as a message each, as a list of a host's 50 metrics, and as Arrow of 20,000; beside what a consumer would need
that did nothing but parse. Nothing is wrong in them: what is measured is the watching.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import tempfile
from pathlib import Path

from health_wire import arrow, columns, parts, samples
from pipeline import made, memory, show
from rooms import rooms

from opintel.streams.ingest import CHUNK

HOST, BATCH = 50, 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--profile", action="store_true", help="Also print where the time goes.")
    given = parser.parse_args()
    story = samples(given.series, given.minutes)
    single = [json.dumps(sample).encode() for sample in story[: len(story) // 3]]
    forms = {
        "a message a sample, to incident": (single, len(single), CHUNK),
        "lists of a host's metrics, to incident": (
            [json.dumps(part).encode() for part in parts(story, HOST)],
            len(story),
            CHUNK // HOST,
        ),
        "Arrow, to incident": ([arrow(part, columns) for part in parts(story, BATCH)], len(story), 1),
    }
    print(f"{len(story)} samples of {given.series} series\n")
    print(f"{'':44}{'samples/CPU-s':>15}{'us each':>10}")
    show("json.loads alone", len(single), lambda: [json.loads(body) for body in single])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with made(folder / "warm") as system:  # imports and first use are not what is measured
            memory(system, single[:2000], stream="health")
        for n, (what, (messages, count, chunk)) in enumerate(forms.items()):
            with made(folder / str(n)) as system:
                show(what, count, lambda m=messages, c=chunk, s=system: memory(s, m, c, "health"))  # type: ignore[misc]
            if given.profile:
                profile = cProfile.Profile()
                with made(folder / f"profile{n}") as system:
                    profile.runcall(memory, system, messages, chunk, "health")
                rooms(what, profile)


if __name__ == "__main__":
    main()
