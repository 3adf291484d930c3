"""What it costs to refuse a message, by wire, beside what it costs to take one of the same form.

python benchmarks/refusal.py

Hostile messages hold as many records as they can that are none, up to 1 MB. Printed of each: its bytes, the bytes that
stay in the log (dead letters, and the record of the chunk), the peak of the memory that ingest asks for besides the
message, and CPU time from the message to the log, the best of five.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from opintel.detector import Message, Pipeline, Reducer, Wire
from opintel.dqm.elements import BinAxis, MonitorElement, axes_text
from opintel.dqm.histograms import Histograms
from opintel.dqm.wire import DqmWire, ends
from opintel.dqm.wire.encoder import parts_of
from opintel.dqm.wire.heads import Head
from opintel.fts.pipeline import PIPELINE as FTS
from opintel.fts.wire import FtsWire
from opintel.fts.wire import arrow as fts_arrow
from opintel.health.pipeline import PIPELINE as HEALTH
from opintel.health.wire import HealthWire
from opintel.streams.ingest import Ingester
from opintel.streams.log_sqlite import SqliteLog
from opintel.streams.stream import Stream

SIZE = 1_000_000
NOW = 1_700_000_000
ROWS = 100_000
REPEAT = 5
DQM = Pipeline("dqm", Histograms, None, DqmWire, Reducer, (), ends=ends)
HEAD = Head(1, 1, NOW * 10**9, NOW * 10**9 + 1, "Calo")


class Case(NamedTuple):
    """Messages of one form."""

    name: str
    pipeline: Pipeline
    wire: Callable[[], Wire[Any]]
    refused: bytes
    taken: bytes
    """A valid one; empty where there is none."""
    form: str = "json"


class Cost(NamedTuple):
    """Of one message."""

    kept: int
    """Bytes in the log."""
    letters: int
    memory: int
    """Bytes, peak."""
    seconds: float


def cases() -> list[Case]:
    """All wires."""
    sample = {"timestamp": NOW, "value": 1.5, "name": "load", "labels": {"job": "node", "instance": "a"}}
    record = {
        "endpnt": "fts.example.org",
        "src_hostname": "a.example",
        "dst_hostname": "b.example",
        "tr_id": "t",
        "tr_timestamp_complete": NOW * 1000,
        "t_final_transfer_state_flag": 1,
    }
    disk = {
        "json_format_version": [1, 0],
        "smartctl": {},
        "serial_number": "s",
        "local_time": {"time_t": NOW},
    }
    attribute = {"id": 5, "name": "x", "value": 100, "raw": {"value": 0, "string": "0"}}
    cells = ",".join(f"c{n}" for n in range(10_000))
    return [
        Case("fts, a letter", FTS, FtsWire, b"x", _json({"data": record})),
        Case("fts, JSON list", FTS, FtsWire, _filled("[", "{}", "]"), b""),
        Case("fts, JSON list, longest", FTS, FtsWire, _list("{}", 10_000), _json([record] * 1000)),
        Case("fts, JSON list of starts", FTS, FtsWire, _list('{"file_size":"a"}', 10_000), b""),
        Case("fts, Arrow", FTS, FtsWire, _transfers(ROWS), fts_arrow.packed([record] * 1000)),
        Case("fts, Arrow, each another", FTS, FtsWire, _transfers(ROWS, different=True), b""),
        Case("fts, text", FTS, FtsWire, b"", b"error " * (SIZE // 6), "text"),
        Case("health, JSON list", HEALTH, HealthWire, _filled("[", "{}", "]"), _json([sample] * 1000)),
        Case("health, samples", HEALTH, HealthWire, _filled("[", '{"timestamp":1,"value":1}', "]"), b""),
        Case("health, pairs", HEALTH, HealthWire, _filled('{"data":{"result":[{"values":[', "[1,1]", "]}]}}"), b""),
        Case("health, large labels", HEALTH, HealthWire, _matrix(), b""),
        Case("health, Arrow", HEALTH, HealthWire, _samples(ROWS), _samples(1000, NOW)),
        Case("health, Arrow, each another", HEALTH, HealthWire, _samples(ROWS, different=True), b""),
        Case("health, smartctl", HEALTH, HealthWire, _table(disk, "{}", SIZE // 3), _table(disk, attribute, 30)),
        Case("health, CSV", HEALTH, HealthWire, f"time,{cells}\n{NOW},1".encode(), b"time,a\n%d,1" % NOW, "table"),
        Case("dqm, Arrow, no axes", DQM, DqmWire, _histograms("{}"), _taken()),
        Case("dqm, Arrow, lists too short", DQM, DqmWire, _histograms(_ONE_BIN), b""),
        Case("dqm, Arrow, other axes each", DQM, DqmWire, _histograms(_ONE_BIN, different=True), b""),
        Case("dqm, UHI", DQM, DqmWire, _uhi("{}", SIZE // 11), _uhi(_GOOD_UHI, 100)),
        Case("dqm, UHI, sparse", DQM, DqmWire, _uhi(_SPARSE, SIZE // 200), b""),
        Case("dqm, manifest", DQM, DqmWire, _manifest("\\u0001"), _manifest("Calo/h")),
        Case("health, text", HEALTH, HealthWire, b"x" * SIZE, b"", "text"),
    ]


def cost(case: Case, body: bytes, *, memory: bool = True) -> Cost:
    """Of one message through ingest, into a log of its own."""
    stream = Stream(case.pipeline.domain, "raw", partitions=1)
    with TemporaryDirectory() as folder:
        bus = SqliteLog(Path(folder) / "log.db")
        ingester = Ingester(bus, stream, case.pipeline, case.wire(), "s", live=True)
        seconds, peak = float("inf"), 0
        for n in range(REPEAT + memory):
            if memory and n == REPEAT:
                tracemalloc.start()
            begin = time.process_time()
            ingester.take([Message(body, "file", 0, n, case.form)], n, NOW * 10**9)
            if memory and n == REPEAT:
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
            else:
                seconds = min(seconds, time.process_time() - begin)
        letters = [a for a in bus.asides(limit=10**6) if a.position == 0]
        kept = sum(len(msgspec.msgpack.encode(letter)) for letter in letters)
        kept += len(bus.read("raw", 0, 0, 1)[0][1])
        bus.close()
    return Cost(kept, len(letters), peak, seconds)


def main() -> None:
    print(f"{'':28}{'bytes':>9}{'kept':>9}{'letters':>8}{'memory kB':>11}{'us':>9}{'us a kB':>9}")
    for case in cases():
        for name, body in ((f"{case.name}, refused", case.refused), (f"{case.name}, taken", case.taken)):
            if body:
                found = cost(case, body)
                us = found.seconds * 1e6
                print(
                    f"{name:38}{len(body):9}{found.kept:9}{found.letters:8}{found.memory // 1000:11}{us:9.0f}"
                    f"{us / len(body) * 1000:9.1f}"
                )


def _json(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _list(element: str, n: int) -> bytes:
    return f"[{','.join([element] * n)}]".encode()


def _filled(begin: str, element: str, end: str) -> bytes:
    """As many elements as go into SIZE bytes."""
    return (begin + ",".join([element] * ((SIZE - len(begin) - len(end)) // (len(element) + 1))) + end).encode()


def _matrix() -> bytes:
    """A series of which the labels are half of the message, and as many values as go into the rest."""
    labels = ",".join(f'"l{n}":"{n}"' for n in range(SIZE // 2 // 17))
    return _filled(f'{{"data":{{"result":[{{"metric":{{{labels}}},"values":[', f"[{NOW},1]", "]}]}}")


def _table(disk: dict[str, Any], attribute: Any, n: int) -> bytes:
    one = attribute if isinstance(attribute, str) else _json(attribute).decode()
    return _json(disk)[:-1] + b',"ata_smart_attributes":{"table":' + _list(one, n) + b"}}"


def _transfers(rows: int, *, different: bool = False) -> bytes:
    end = np.arange(rows) if different else np.zeros(rows, dtype=np.int64)
    return _arrow(
        {
            "src_hostname": pa.array(["a"] * rows),
            "dst_hostname": pa.array(["b"] * rows),
            "t_final_transfer_state_flag": pa.array(np.zeros(rows, dtype=np.int8)),
            "tr_timestamp_complete": pa.array(end, type=pa.int32()),
        }
    )


def _samples(rows: int, time: int = 0, *, different: bool = False) -> bytes:
    times = np.arange(rows) if different else np.full(rows, time)
    return _arrow(
        {
            "timestamp": pa.array(times, type=pa.int32()),
            "value": pa.array(np.ones(rows), type=pa.float32()),
            "name": pa.array(["load"] * rows).dictionary_encode(),
        }
    )


_ONE_BIN = axes_text((BinAxis.regular(1, 0.0, 1.0),), flow=False)
_AXIS = '{"type":"regular","lower":0,"upper":%d,"bins":%d,"underflow":false,"overflow":false,"circular":false}'
_GOOD_UHI = f'{{"uhi_schema":1,"axes":[{_AXIS % (3, 3)}],"storage":{{"type":"int","values":[1,2,3]}}}}'
_SPARSE = (
    f'{{"uhi_schema":1,"axes":[{_AXIS % (10**6, 10**6)}],"storage":{{"type":"int","index":[[9,9]],"values":[1,2]}}}}'
)


def _histograms(axes: str, *, different: bool = False) -> bytes:
    """As many rows with an empty list of values as go into SIZE bytes."""
    rows = SIZE // (len(axes) + 20 if different else 14)
    texts = [axes.replace("1.0", f"{n}.5") for n in range(1, rows + 1)] if different else [axes] * rows
    columns = {
        "path": pa.array([f"h{n}" for n in range(rows)]),
        "axes": pa.array(texts) if different else pa.array(texts).dictionary_encode(),
        "values": pa.array([[]] * rows, pa.list_(pa.uint8())),
    }
    return _arrow(columns, {"opintel.dqm": _json(HEAD.plain())})


def _taken() -> bytes:
    element = MonitorElement("", (BinAxis.regular(50, 0.0, 1.0),), "count", np.ones(50), None, flow=False)
    return next(parts_of(HEAD, [element._replace(path=f"h{n}") for n in range(1000)]))


def _uhi(histogram: str, n: int) -> bytes:
    named = ",".join(f'"h{i}":{histogram}' for i in range(n))
    return _json(HEAD.plain())[:-1] + f',"histograms":{{{named}}}}}'.encode()


def _manifest(path: str) -> bytes:
    paths = ",".join([f'"{path}"'] * (SIZE // 20))
    return _json(HEAD.plain())[:-1] + f',"manifest":{{"paths":[{paths}]}}}}'.encode()


def _arrow(columns: dict[str, Any], metadata: dict[str, Any] | None = None) -> bytes:
    table = pa.table(columns, metadata=metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


if __name__ == "__main__":
    main()
