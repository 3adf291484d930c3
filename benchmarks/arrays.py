"""What the way of arrays costs by itself: Arrow messages in, both stages with detectors that do next to nothing, the
embedded log, checkpoints. `python benchmarks/arrays.py [histograms|samples|poison] [--profile]`

Histograms: a lumisection of 10^5 TH1 × 100 and 10^3 TH2 × 100 × 100 float32 (80 MB) in 20 messages, P = 4.
Samples: 1000 channels (100 at 16,384 Hz, 300 at 2,048, 600 at 512: 2.5 kHz in the mean) in messages of a second, on
windows of 8 s with a second of context on both sides.
Poison: one of 25,250 histograms of a partition makes the detector raise; beside the same lumisections without it.
The bare decoding of the same messages, and numpy's copy of the same bytes, stand beside it in the same run.
"""

from __future__ import annotations

import cProfile
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rooms import rooms

from opintel.arrow_ipc import checked
from opintel.detector import (
    Closing,
    Decoded,
    Judge,
    Message,
    Pipeline,
    Record,
    Reduced,
    Reducer,
    WindowRows,
)
from opintel.finding import NS, Finding
from opintel.ids import hashed
from opintel.rows import Arrays, Batch, Columns, Numbers, TextColumn
from opintel.streams.ingest import Ingester
from opintel.streams.judging import JudgeStage
from opintel.streams.log_sqlite import SqliteLog
from opintel.streams.loop import calm_collector
from opintel.streams.reduce import ReduceStage
from opintel.streams.stream import FINDINGS, Stream
from opintel.streams.worker import Worker

LUMISECTION = 23_310_000_000
WARM = 2
"""First units that are not counted: keys are new only once."""
START = 1_700_000_000 * NS


class Array(msgspec.Struct, array_like=True):
    """One histogram, or one second of a channel."""

    data: list[float]
    end: int


class ArrayColumns(Columns):
    """`Array`s as columns."""

    ROW = Array
    data: Annotated[Arrays, Numbers("<f4", finite=False)]
    end: Annotated[NDArray[np.int64], Numbers("<i8")]


class ArrowWire:
    """Record batches of key, time, end, data."""

    def decode(self, messages: Sequence[Message]) -> Decoded[Array]:
        parts, at = [], []
        for n, message in enumerate(messages):
            with pa.ipc.open_stream(checked(message.body)) as reader:
                for batch in reader:
                    batch.validate(full=True)
                    parts.append(_rows(batch))
                    at.append(np.full(batch.num_rows, n))
        rows = Batch.joined(parts) if parts else Batch.of([], ArrayColumns)
        return Decoded(rows, np.concatenate(at) if at else np.empty(0, np.int64), np.arange(len(rows)), [])

    def redacted(self, body: bytes) -> bytes:
        return body[:100]


def _rows(batch: pa.RecordBatch) -> Batch[Array]:
    key, time, end, data = (batch.column(name) for name in ("key", "time", "end", "data"))
    offsets = np.frombuffer(key.buffers()[1], dtype=np.int32)[: len(batch) + 1]
    marks = hashed(np.frombuffer(key.buffers()[2], dtype=np.uint8), offsets, time.to_numpy())
    arrays = Arrays(data.values.to_numpy(), data.offsets.to_numpy().astype(np.int64))
    return Batch(TextColumn.of(key.to_pylist()), time.to_numpy(), marks, ArrayColumns(arrays, end.to_numpy()))


class Sums(Reducer[Array]):
    """The sum of each row, as cheap as it can be said."""

    name, version = "sums", 1

    def close(self, closing: WindowRows[Array]) -> Reduced:
        rows = closing.rows
        data = rows.payload.data
        sums = np.add.reduceat(data.values, data.start[:-1]).tolist()
        if any(map(math.isnan, sums)):
            raise ArithmeticError("a poisoned histogram")
        keys = rows.key.values
        scopes = [key[: key.index("|")] for key in keys]
        first = np.searchsorted(rows.key.code, np.arange(len(keys))).tolist()
        window = closing.window
        return Reduced(
            [Record(window, "sum", key, scope, [sums[n]]) for key, scope, n in zip(keys, scopes, first, strict=True)],
            {scope: {"sum": n} for scope, n in Counter(scopes).items()},
        )

    def scope(self, key: str) -> str:
        return key[: key.index("|")]


class Count(Judge):
    """Looks at every record and finds nothing."""

    name, version = "count", 1
    controls = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}

    def judge(self, closing: Closing) -> list[Finding]:
        self.tests = {"sum": len([record.payload for record in closing.records])}
        return []

    def state(self) -> Any:
        return None

    def restore(self, state: Any) -> None:
        pass


def pipeline(**fields: Any) -> Pipeline:
    return Pipeline("bench", ArrayColumns, list[float], ArrowWire, Sums, (Count,))._replace(**fields)


def message(keys: list[str], times: NDArray[np.int64], ends: NDArray[np.int64], arrays: Arrays) -> bytes:
    data = pa.ListArray.from_arrays(pa.array(arrays.start, pa.int32()), pa.array(arrays.values))
    columns = {"key": pa.array(keys), "time": pa.array(times), "end": pa.array(ends), "data": data}
    batch = pa.RecordBatch.from_pydict(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def lumisection(n: int, rng: np.random.Generator) -> list[bytes]:
    """20 subsystems, each 5000 TH1 and 50 TH2 in path order."""
    start = START + n * LUMISECTION
    bodies = []
    for s in range(20):
        sizes = np.where(np.arange(5050) % 101 == 100, 10_000, 100)
        values = rng.poisson(20, int(sizes.sum())).astype("<f4")
        keys = [f"sub{s:02}|folder{h // 500:02}/plot{h:05}" for h in range(5050)]
        times = np.full(5050, start)
        bodies.append(message(keys, times, times + LUMISECTION, Arrays(values, np.r_[0, np.cumsum(sizes)])))
    return bodies


RATES = [16_384] * 100 + [2_048] * 300 + [512] * 600


def second(n: int, rng: np.random.Generator) -> list[bytes]:
    """All channels for a second, in one message of each interferometer's 500."""
    bodies = []
    for half in (0, 1):
        sizes = np.array(RATES[half::2])
        values = rng.normal(size=int(sizes.sum())).astype("<f4")
        keys = [f"H{half}|channel{c:04}" for c in range(len(sizes))]
        times = np.full(len(sizes), START + n * NS)
        bodies.append(message(keys, times, times, Arrays(values, np.r_[0, np.cumsum(sizes)])))
    return bodies


def cpu(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def played(
    stream: Stream, pipe: Pipeline, units: list[list[bytes]], profile: cProfile.Profile | None
) -> dict[str, list[float]]:
    """CPU-seconds of each part of the way, for all units."""
    with tempfile.TemporaryDirectory() as folder:
        bus = SqliteLog(Path(folder) / "log.db")
        ingester = Ingester(bus, stream, pipe, pipe.wire(), "bench", live=False)
        raw, derived = bus.create(stream.topic, stream.partitions), bus.create(stream.derived, 1)
        bus.create(FINDINGS, 1)
        checkpoints = str(Path(folder) / "checkpoints")
        one = [
            Worker(bus, stream.topic, p, lambda p=p: ReduceStage(stream, pipe, p, raw.epoch, 1), checkpoints)  # type: ignore[misc]
            for p in range(stream.partitions)
        ]
        two = Worker(bus, stream.derived, 0, lambda: JudgeStage(stream, pipe, 0, derived.epoch), checkpoints)
        spent: dict[str, list[float]] = {"ingest": [], "stage 1": [], "stage 2": []}
        index = 0
        if profile is not None:
            profile.enable()
        for bodies in units:
            taking = 0.0
            for body in bodies:
                messages = [Message(body, "bench", index, index)]
                index += 1
                taking += cpu(lambda i=index, m=messages: ingester.take(m, i, START))  # type: ignore[misc]
            spent["ingest"].append(taking)
            spent["stage 1"].append(cpu(lambda: [worker.step() for worker in one for _ in range(99) if worker.lag]))
            spent["stage 2"].append(cpu(lambda: [two.step() for _ in range(99) if two.lag]))
        if profile is not None:
            profile.disable()
        bad = [aside.kind for aside in bus.asides()]
        assert set(bad) <= {"quarantined"}, bad
        bus.close()
        return spent


def report(name: str, units: list[list[bytes]], stream: Stream, pipe: Pipeline, unit: str, per_unit: float) -> None:
    size = sum(len(body) for body in units[0])
    wire = ArrowWire()
    decoding = cpu(lambda: [wire.decode([Message(body) for body in bodies]) for bodies in units]) / len(units)
    copying = cpu(lambda: [np.frombuffer(body, np.uint8).copy() for bodies in units for body in bodies]) / len(units)
    profile = cProfile.Profile() if "--profile" in sys.argv else None
    spent = played(stream, pipe, units, profile)
    counted = {part: np.array(seconds[WARM:]) for part, seconds in spent.items()}
    whole = np.sum(list(counted.values()), axis=0)
    print(f"{name}: {size / 1e6:.0f} MB a {unit}, P = {stream.partitions}; CPU-s a {unit}: median, least, mean")
    for part, seconds in [*counted.items(), ("in all", whole)]:
        print(f"  {part:12} {np.median(seconds):6.3f} {seconds.min():6.3f} {seconds.mean():6.3f}")
    print(f"  {per_unit / whole.mean():,.0f} a CPU-s; decoding alone {decoding:.3f}, a copy of the bytes {copying:.3f}")
    if profile is not None:
        rooms(name, profile)


def poison(rng: np.random.Generator) -> None:
    """What a poisoned histogram costs in a partition of 25,250, lumisection by lumisection."""
    stream = Stream("dqm", "dqm.raw", partitions=1, window=60 * NS, lateness=5 * NS, max_keys=4096)
    pipe = pipeline(ends=lambda batch: batch.payload.end)
    units = [lumisection(n, rng)[:5] for n in range(5)]
    sound = played(stream, pipe, units, None)["stage 1"]
    units[2] = [poisoned(body) if n == 3 else body for n, body in enumerate(units[2])]
    bad = played(stream, pipe, units, None)["stage 1"]
    print("poison: CPU-s of stage 1 a lumisection (its rows are closed with the next one)")
    for name, seconds in (("sound", sound), ("poisoned", bad)):
        print(f"  {name:12} {' '.join(f'{s:6.3f}' for s in seconds)}")


def poisoned(body: bytes) -> bytes:
    """The message with NaN in its first histogram."""
    with pa.ipc.open_stream(checked(body)) as reader:
        rows = _rows(reader.read_next_batch())
    values = rows.payload.data.values.copy()
    values[0] = np.nan
    return message(rows.key.tolist(), rows.time, rows.payload.end, Arrays(values, rows.payload.data.start))


def main() -> None:
    calm_collector()
    rng = np.random.default_rng(1)
    chosen = [word for word in sys.argv[1:] if not word.startswith("-")] or ["histograms", "samples", "poison"]
    if "histograms" in chosen:
        stream = Stream("dqm", "dqm.raw", window=60 * NS, lateness=5 * NS, max_keys=4096)
        pipe = pipeline(ends=lambda batch: batch.payload.end)
        report("histograms", [lumisection(n, rng) for n in range(10)], stream, pipe, "lumisection", 101_000)
    if "samples" in chosen:
        stream = Stream("gw", "gw.raw", window=8 * NS, lateness=2 * NS, skew=NS, max_keys=4096)
        pipe = pipeline(context=(NS, NS))
        report("samples", [second(n, rng) for n in range(60)], stream, pipe, "second", 1000)
    if "poison" in chosen:
        poison(rng)


if __name__ == "__main__":
    main()
