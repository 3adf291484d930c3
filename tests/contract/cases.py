"""The detectors under contract. A later one joins with one line in `CASES`."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from opintel.dqm.pipeline import PIPELINE as DQM
from opintel.dqm.wire import DqmWire
from opintel.finding import NS
from opintel.fts.logs.pipeline import PIPELINE as LOGS
from opintel.fts.logs.wire import LogWire
from opintel.fts.pipeline import PIPELINE as FTS
from opintel.fts.simulated.simulate import FtsSimulator
from opintel.fts.wire import FtsWire
from opintel.fts.wire.arrow import packed
from opintel.gw.pipeline import PIPELINE as GW
from opintel.gw.wire import GwWire
from opintel.health.pipeline import PIPELINE as HEALTH
from opintel.health.wire import HealthWire
from opintel.streams.stream import Stream

from .baseline import baseline, baseline_controls
from .harness import Case
from .histograms import HISTOGRAM_STREAM, HISTOGRAMS, HistogramWire, histogram_controls, histogram_messages
from .interferometers import GW_STREAM, gw_controls, gw_messages
from .lumisections import DQM_STREAM, dqm_controls, dqm_messages
from .samples import LEVEL, NEW_TAPS, SAMPLE_STREAM, SAMPLES, SampleWire, sample_controls, sample_messages
from .toy import COLUMN_TOY, TOY, ColumnWire, ToyWire

START = 1_700_000_000 * NS - 1_700_000_000 * NS % (600 * NS)
TOY_STREAM = Stream("toy", "toy.raw", partitions=4, window=60 * NS, lateness=20 * NS, skew=15 * NS, interval=10 * NS)


def toy_messages(seed: int = 1, n: int = 1500, keys: int = 30, bad: bool = False) -> Sequence[tuple[int, bytes]]:
    """Out of order by up to 15 s mostly (lateness 20 s), a few later than that, some sent twice, some garbage."""
    rng = random.Random(seed)
    rows: list[tuple[int, bytes]] = []
    for i in range(n):
        time = START + int(i * 0.7 * NS)
        delay = rng.choice([0, 3, 15]) if rng.random() > 0.01 else rng.choice([70, 200])
        key = f"s{rng.randrange(2)}.k{rng.randrange(keys)}"
        body = f"{key} {time} {rng.randrange(100)}".encode()
        arrival = time + int(delay * NS)
        rows.append((arrival, body))
        if rng.random() < 0.02:
            rows.append((arrival + rng.randrange(5) * NS, body))
        if rng.random() < 0.01:
            rows.append((arrival, b"garbage %d" % i))
        if bad and i in (400, 410):
            rows.append((arrival, f"s1.k7 {time} {666 + (i == 410)}".encode()))
        if bad and i == 700:
            rows.append((arrival, f"s0.k3 {time} 667".encode()))
    return sorted(rows)


@cache
def fts_messages() -> Sequence[tuple[int, bytes]]:
    """Two hours of a thin grid with three faults, a second FTS that sends states after completions, and garbage."""
    faults = ("endpoint-down", "wrong-checksums", "instance-dark")
    story = FtsSimulator(seed=1, hours=2.0, rate=2000.0, faults=faults)
    rows = list(story.messages())
    return sorted([*rows, *((rows[n][0], b'{"garbage": %d' % n) for n in range(100, len(rows), 500))])


@cache
def batched_messages() -> Sequence[tuple[int, bytes]]:
    """The same story, its complete messages in Arrow messages of twenty; some records in them are bad."""
    rows: list[tuple[int, bytes]] = []
    waiting: list[dict[str, Any]] = []
    for arrival, body in fts_messages():
        if b"fts_raw_complete" not in body:
            rows.append((arrival, body))
            continue
        message = json.loads(body)
        waiting.append({**message["data"], "_id": message["metadata"]["_id"]})
        if len(rows) % 50 == 0:
            waiting.append({**waiting[-1], "_id": str(len(rows)), "src_hostname": "no host|"})
        if len(waiting) >= 20:
            rows.append((arrival, packed(waiting)))
            waiting.clear()
    return rows


@cache
def health_messages() -> Sequence[tuple[int, bytes]]:
    """Six hosts of five series, a scrape a message, some twice: a series jumps, one is stuck, a counter is reset, some
    samples are bad, a host falls silent."""
    rng = random.Random(3)
    rows: list[tuple[int, bytes]] = []
    for n in range(240):
        for host in range(6 if n < 210 else 5):
            time = START + n * 30 * NS + host * 10**8
            values: dict[str, Any] = {f"load{k}": rng.gauss(0, 1) for k in range(3)}
            values["sent_total"] = 100 * (n - 150 * (n > 150)) + rng.randrange(50)
            values["temperature"] = "NaN" if rng.random() < 0.02 else str(40 + rng.gauss(0, 1))
            if host == 2 and n > 200:
                values["load1"] += 15
            if host == 4 and n > 160:
                values["load0"] = 0.5
            samples = [
                {"timestamp": time / NS, "value": v, "name": name, "labels": {"job": "node", "instance": f"h{host}"}}
                for name, v in values.items()
            ]
            if rng.random() < 0.01:
                samples.append({"timestamp": "yesterday", "value": 1, "name": "up", "labels": {}})
            rows.append((time + rng.choice([1, 20]) * NS, json.dumps(samples).encode()))
            if rng.random() < 0.03:
                rows.append((time + 25 * NS, rows[-1][1]))
    return sorted(rows)


@cache
def log_messages() -> Sequence[tuple[int, bytes]]:
    """Two hours of five hosts in four dialects, new forms on the way, some late, and what is no line."""
    rng = random.Random(5)
    rows: list[tuple[int, bytes]] = []
    for n in range(1200):
        time = START + n * 6 * NS
        host, form = (
            rng.randrange(5),
            rng.choice(["up", "done in", f"card eth{n % 7} lost", f"kind {'abcd'[n // 300]}"]),
        )
        text = f"job {n}: {form} {rng.randrange(100_000)} ms by user{n % 3}@example.org"
        at = datetime.fromtimestamp(time // NS, UTC)
        body = rng.choice(
            [
                f"{at:%Y-%m-%dT%H:%M:%S}Z {text}",
                f"<34>1 {at:%Y-%m-%dT%H:%M:%S}.25Z h{host} app 17 - - {text}",
                json.dumps({"@timestamp": time // 10**6, "host": {"name": f"h{host}"}, "message": text}),
                f"[{time // NS}] {text}",
                f"  at frame {n}",
                json.dumps({"level": "info", "n": n}),
            ]
        ).encode()
        rows.append((time + rng.choice([1, 20, 400 if n % 50 == 0 else 2]) * NS, body))
    return sorted(rows)


TOY_CASE = Case("toy", TOY_STREAM, TOY, ToyWire(), toy_messages)
HEALTH_STREAM = Stream("health", "health.metrics", partitions=4, window=60 * NS, lateness=30 * NS, skew=30 * NS)
FAILING = Case("toy-failing", TOY_STREAM, TOY, ToyWire(), lambda: toy_messages(seed=2, bad=True))
HISTOGRAM_CASE = Case(
    "histograms", HISTOGRAM_STREAM, HISTOGRAMS, HistogramWire(), histogram_messages, histogram_controls
)
SAMPLE_CASE = Case("samples", SAMPLE_STREAM, SAMPLES, SampleWire(), sample_messages, sample_controls, (NEW_TAPS, LEVEL))
DQM_CASE = Case("dqm", DQM_STREAM, DQM, DqmWire(), dqm_messages, dqm_controls)
GW_CASE = Case("gw", GW_STREAM, GW, GwWire(), gw_messages, gw_controls)
HEALTH_CASE = Case("health", HEALTH_STREAM, HEALTH, HealthWire(), health_messages, baseline_controls, (baseline(),))
CASES = [
    TOY_CASE,
    FAILING,
    Case("toy-columns", TOY_STREAM, COLUMN_TOY, ColumnWire(), lambda: toy_messages(seed=2, bad=True)),
    HISTOGRAM_CASE,
    SAMPLE_CASE,
    DQM_CASE,
    GW_CASE,
    HEALTH_CASE,
    Case("fts", Stream("fts", "fts.transfers"), FTS, FtsWire(), fts_messages),
    Case("logs", Stream("logs", "logs.lines"), LOGS, LogWire(), log_messages),
    Case("fts-batched", Stream("fts", "fts.transfers"), FTS, FtsWire(), batched_messages),
]
