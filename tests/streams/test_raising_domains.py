"""A domain whose wire or ends of windows raise for a message loses that message, with its place, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract.cases import TOY_STREAM
from contract.harness import LOGS
from contract.toy import COLUMN_TOY, TOY, ColumnWire, ToyWire
from numpy.typing import NDArray
from stored import stored

from opintel.detector import Message, Pipeline
from opintel.finding import NS
from opintel.rows import Batch
from opintel.streams.ingest import Ingester
from opintel.streams.records import Rows, raw_codec
from opintel.streams.reduce import ReduceStage

T0 = 1_700_000_000 * NS
CURSED = 13


class MuteWire(ColumnWire):
    """Raises over what it cannot read, and over how that begins."""

    def redacted(self, body: bytes) -> bytes:
        raise LookupError(body)


def messages(*texts: str) -> list[Message]:
    return [Message(text.encode(), "f", n, n) for n, text in enumerate(texts)]


def values(pipeline: Pipeline, folder: Path, *texts: str) -> tuple[list[int], list[Any]]:
    """The values that ingest takes of messages, in order, and its dead letters."""
    bus = LOGS["sqlite"](folder)
    wire = MuteWire() if pipeline is COLUMN_TOY else pipeline.wire()
    Ingester(bus, TOY_STREAM, pipeline, wire, "s", live=True).take(messages(*texts), 1, T0)
    codec = raw_codec(pipeline.payload)
    records = [codec.decode(v) for p in range(4) for _, v, _ in bus.read(TOY_STREAM.topic, p, 0, 10**6)]
    rows = [row for record in records if isinstance(record, Rows) for row in record.batch.rows()]
    found = sorted(row.payload.value for row in rows), list(bus.asides(kind="dead"))
    bus.close()
    return found


@pytest.mark.parametrize("pipeline", [TOY, COLUMN_TOY], ids=["structs", "columns"])
def test_a_message_for_which_the_wire_raises_is_a_dead_letter(pipeline: Pipeline, tmp_path: Path) -> None:
    bad = [2, 3, 9]
    texts = [f"a.{n} never 1" if n in bad else f"a.{n} {T0} {n}" for n in range(11)]
    taken, dead = values(pipeline, tmp_path, *texts, "one word")
    assert taken == [n for n in range(11) if n not in bad]
    assert [aside.place for aside in dead] == [f"f:{n + 1}" for n in [*bad, 11]]
    assert {aside.reason.partition(" in ")[0] for aside in dead[:3]} == {
        "expected rows or reasons of the wire, got ValueError"
    }
    assert "toy.py:" in dead[0].reason
    assert "never" not in dead[0].reason
    assert dead[0].excerpt == (b"" if pipeline is COLUMN_TOY else b"a.2 never 1")


def ends(batch: Batch[Any]) -> NDArray[np.int64]:
    if any(row.payload.value == CURSED for row in batch.rows()):
        raise KeyError(CURSED)
    return batch.time + 5 * NS


def test_a_row_for_which_the_ends_of_windows_raise_is_a_dead_letter(tmp_path: Path) -> None:
    texts = [f"a.{n} {T0} {n}" for n in range(CURSED - 5, CURSED + 5)]
    taken, dead = values(TOY._replace(ends=ends), tmp_path, *texts)
    assert taken == [n for n in range(CURSED - 5, CURSED + 5) if n != CURSED]
    assert [(aside.place, aside.reason) for aside in dead] == [
        ("f:6", f"expected a window of 1 to {TOY_STREAM.ttl} ns")
    ]


def test_such_a_row_that_another_writer_appended_is_one_too(tmp_path: Path) -> None:
    bus = LOGS["sqlite"](tmp_path)
    stream = TOY_STREAM._replace(partitions=1)
    texts = [f"a.{n} {T0} {n}" for n in range(CURSED - 1, CURSED + 2)]
    Ingester(bus, stream, TOY, ToyWire(), "s", live=True).take(messages(*texts), 1, T0)
    stage = ReduceStage(stream, TOY._replace(ends=ends), 0, "e", 1)
    out = stage.process(stored((at, value) for at, value, _ in bus.read(stream.topic, 0, 0, 10)), careful=False)
    assert [(aside.kind, aside.place) for aside in out.asides] == [("dead", "rows 2")]
    assert stage.max_event == T0 + 5 * NS - 1


def test_ends_of_another_number_than_the_rows_are_none(tmp_path: Path) -> None:
    taken, dead = values(TOY._replace(ends=lambda batch: np.array([T0, T0])), tmp_path, f"a.k {T0} 1")
    assert taken == []
    assert len(dead) == 1
