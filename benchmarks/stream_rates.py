"""Rows per CPU-second of each stream, from messages to incidents, on the embedded log and on a real Kafka broker.

`python benchmarks/stream_rates.py [--stream fts …] [--repeat 3]`. A story of the stream's simulator with its faults, as
`opintel evaluate` tells it; all services in one process, the store and the topics new each time. A figure is CPU of
this process alone (the broker is another one), every thread counted; imports and first use come before. A row is a
transfer, a histogram, a channel's second or a sample.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

from kafka_pipeline import Bench, Spent, took
from pipeline import made, memory

from opintel.demo.broker import Broker
from opintel.detector import Message
from opintel.site.domains import pipeline_of, stories_of

STREAMS = ("dqm", "fts", "gw", "health")
CHUNK = 64
"""Messages that come at once from memory; those of arrays are large."""


class Story(NamedTuple):
    """A stream's messages, and what they hold."""

    stream: str
    messages: list[bytes]
    rows: int
    end: int
    """ns UTC."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stream", action="append", choices=STREAMS)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    title = f"rows/CPU-s, median of {given.repeat}"
    print(f"{title:24}{'rows':>10}{'embedded':>12}{'Kafka':>10}{'Kafka ÷ embedded':>18}")
    with tempfile.TemporaryDirectory() as name, Broker(Path(name, "kafka")) as broker:
        for stream in given.stream or STREAMS:
            story = told(stream)
            bench = Bench(Path(name), broker.bootstrap, story.end)
            topic = bench.fill(f"bench.{stream}", stream, story.messages, story.rows, stream)
            embedded, kafka = [], []
            for n in range(given.repeat + 1):
                embedded.append(on_embedded(Path(name, f"{stream}{n}"), story))
                kafka.append(bench.pipeline(topic))
            rates = [statistics.median(story.rows / spent.all for spent in runs[1:]) for runs in (embedded, kafka)]
            ratio = rates[1] / rates[0]
            print(f"{stream:24}{story.rows:>10,}{rates[0]:>12,.0f}{rates[1]:>10,.0f}{ratio:>18.2f}", flush=True)


def told(stream: str) -> Story:
    """A story of the stream's simulator."""
    stories, pipeline = stories_of(stream), pipeline_of(stream)
    simulation = stories.simulator(seed=1, hours=stories.hours)
    messages = [body for _, body in simulation.messages()]
    wire = pipeline.wire()
    rows = sum(
        len(wire.decode([Message(body, "story", n, n) for n, body in enumerate(messages[at : at + CHUNK])]).rows)
        for at in range(0, len(messages), CHUNK)
    )
    return Story(stream, messages, rows, simulation.end)


def on_embedded(folder: Path, story: Story) -> Spent:
    """From messages in memory to incidents in the store of a new folder."""
    with made(folder) as system:
        return took(lambda: memory(system, story.messages, CHUNK, story.stream))


if __name__ == "__main__":
    main()
