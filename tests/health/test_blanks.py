"""Numbers that stand for 'no value' are missing, in all forms of the wire, and for the metrics that have them only."""

from __future__ import annotations

import msgspec
import pyarrow as pa
import pytest
from windows import closed

from opintel.detector import Message
from opintel.finding import NS, Window
from opintel.health.reducer import HealthReducer
from opintel.health.samples import Samples
from opintel.health.windows import SeriesWindow
from opintel.health.wire import HealthWire

BEGIN = 1_700_000_040


def said(messages: list[Message]) -> dict[str, SeriesWindow]:
    """Series → what stage 1 says of a minute with these messages."""
    rows = list(HealthWire().decode(messages).rows.rows())
    window = Window(BEGIN * NS, (BEGIN + 60) * NS)
    return {r.key: r.payload for r in closed(HealthReducer(), window, rows, Samples)}


def sample(name: str, value: object, n: int = 0) -> dict[str, object]:
    return {"timestamp": BEGIN + n, "value": value, "name": name, "labels": {"instance": "gpu7", "job": "g"}}


def as_json(name: str, value: object) -> Message:
    return Message(msgspec.json.encode(sample(name, value)))


BLANKS = [
    9223372036854775792,  # DCGM_INT64_BLANK
    9223372036854775795,  # DCGM_INT64_NOT_PERMISSIONED
    "9.223372036854776e+18",  # as Prometheus writes them
    140737488355328.0,  # DCGM_FP64_BLANK
    140737488355330.0,  # DCGM_FP64_NOT_SUPPORTED
    "140737488355331",
    2147483632,  # DCGM_INT32_BLANK
    2147483634,
]


@pytest.mark.parametrize("value", BLANKS)
@pytest.mark.parametrize("name", ["DCGM_FI_DEV_POWER_USAGE", "dcgm_gpu_temp", "cluster:dcgm_memory_clock"])
def test_a_blank_of_dcgm_is_a_sample_without_a_value(name: str, value: object) -> None:
    (one,) = said([as_json(name, value)]).values()
    assert (one.samples, one.missing, one.last.value) == (0, 1, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DCGM_FI_DEV_FB_USED", 0),
        ("DCGM_FI_DEV_XID_ERRORS", 79),
        ("DCGM_FI_DEV_FB_USED", -1),
        ("DCGM_FI_DEV_FB_FREE", 2147483631),
        ("DCGM_FI_DEV_FB_FREE", 140737488355344.0),
        ("node_filesystem_size_bytes", 140737488355328.0),
        ("process_virtual_memory_bytes", 2147483647),
        ("memory_limit_bytes", 9223372036854775807),
        ("dcgmlike_value", 2147483632),
    ],
)
def test_the_same_number_of_another_metric_is_a_value(name: str, value: float) -> None:
    (one,) = said([as_json(name, value)]).values()
    assert (one.samples, one.missing, one.last.value) == (1, 0, float(value))


def test_blanks_are_missing_in_arrow_too_and_in_a_counter() -> None:
    values = [1000.0, float(9223372036854775794), 1500.0]
    name = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION_total"
    table = pa.Table.from_pylist(
        [{**sample(name, v, 10 * n), "labels": None, "instance": "a"} for n, v in enumerate(values)]
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    (one,) = said([Message(sink.getvalue().to_pybytes())]).values()
    assert (one.samples, one.missing, one.last.value) == (1, 2, 25.0)
