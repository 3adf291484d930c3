"""Speed of the health wire: samples per CPU-second of this process, by form of message.

python benchmarks/health_wire.py [--series 5000] [--repeat 5]

Each form carries the same samples, 20 of each series: one or 500 a JSON message, a series a result of a Prometheus
matrix (500 samples or so a message), 20,000 an Arrow message, a row a message of CSV. Median of the repeats, keys
known after the first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from opintel.detector import Message
from opintel.health.wire import HealthWire

CHUNK, POINTS, START = 2000, 20, 1_700_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=5000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    given = samples(options.series, POINTS)
    forms = {
        "JSON sample": _messages([json.dumps(sample).encode() for sample in given[: len(given) // 5]]),
        "JSON list": _messages([json.dumps(part).encode() for part in parts(given, 500)]),
        "Prometheus matrix": _messages([_matrix(part) for part in parts(sorted(given, key=_series), 500)]),
        "Arrow, map": _messages([arrow(part, _map) for part in parts(given, 20_000)]),
        "Arrow, JSON labels": _messages([arrow(part, _text) for part in parts(given, 20_000)]),
        "Arrow, label columns": _messages([arrow(part, columns) for part in parts(given, 20_000)]),
        "Arrow, 500 a message": _messages([arrow(part, _map) for part in parts(given, 500)]),
        "CSV row": _messages([_row(sample) for sample in given[: len(given) // 5]], "table"),
    }
    print(f"{len(given)} samples of {options.series} series, {options.repeat} repeats: median (range)")
    for name, messages in forms.items():
        wire, rates = HealthWire(), []
        for _ in range(options.repeat + 1):
            rates.append(_rate(wire, messages))
        print(f"{name:22}{_shown(rates[1:])} k samples per CPU-second")


def _rate(wire: HealthWire, messages: Sequence[Message]) -> float:
    rows, begun = 0, time.process_time()
    for start in range(0, len(messages), CHUNK):
        decoded = wire.decode(messages[start : start + CHUNK])
        assert not decoded.rejects
        rows += len(decoded.rows)
    return rows / (time.process_time() - begun)


def samples(series: int, points: int) -> list[dict[str, Any]]:
    """A value a minute of each series, 50 metrics a host, minute by minute."""
    rng = np.random.default_rng(1)
    names = [f"node_metric_{n}" for n in range(50)]
    return [
        {
            "timestamp": START + 60 * point,
            "value": float(value),
            "name": names[n % len(names)],
            "labels": {"job": "node", "instance": f"host{n // 50:04}.example.org:9100", "device": f"sd{n % 7}"},
        }
        for point in range(points)
        for n, value in enumerate(rng.standard_normal(series))
    ]


def _series(sample: dict[str, Any]) -> tuple[str, str]:
    return sample["name"], sample["labels"]["instance"]


def parts(samples: Sequence[dict[str, Any]], size: int) -> list[Sequence[dict[str, Any]]]:
    """Runs of at most `size`."""
    return [samples[at : at + size] for at in range(0, len(samples), size)]


def _messages(bodies: Sequence[bytes], form: str = "json") -> list[Message]:
    return [Message(body, "file", n, n, form) for n, body in enumerate(bodies)]


def _matrix(samples: Sequence[dict[str, Any]]) -> bytes:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in samples:
        metric = {"__name__": one["name"], **one["labels"]}
        series = found.setdefault(_series(one), {"metric": metric, "values": []})
        series["values"].append([one["timestamp"], str(one["value"])])
    data = {"resultType": "matrix", "result": list(found.values())}
    return json.dumps({"status": "success", "data": data}).encode()


def arrow(samples: Sequence[dict[str, Any]], labels: Any) -> bytes:
    """An Arrow stream; `labels` makes their columns."""
    columns = {name: pa.array([sample[name] for sample in samples]) for name in ("timestamp", "value", "name")}
    table = pa.table({**columns, **labels([sample["labels"] for sample in samples])})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _map(labels: Sequence[dict[str, str]]) -> dict[str, Any]:
    return {"labels": pa.array([list(one.items()) for one in labels], pa.map_(pa.string(), pa.string()))}


def _text(labels: Sequence[dict[str, str]]) -> dict[str, Any]:
    return {"labels": pa.array([json.dumps(one) for one in labels])}


def columns(labels: Sequence[dict[str, str]]) -> dict[str, Any]:
    """A column a label."""
    return {name: pa.array([one[name] for one in labels]) for name in labels[0]}


def _row(sample: dict[str, Any]) -> bytes:
    heading = ",".join(["timestamp", "value", "name", *sample["labels"]])
    cells = [sample["timestamp"], sample["value"], sample["name"], *sample["labels"].values()]
    return f"{heading}\n{','.join(map(str, cells))}".encode()


def _shown(rates: list[float]) -> str:
    low, middle, high = min(rates), statistics.median(rates), max(rates)
    return f"{middle / 1e3:8.0f} ({low / 1e3:.0f}-{high / 1e3:.0f})"


if __name__ == "__main__":
    main()
