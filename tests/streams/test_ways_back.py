"""A run's way back: after a detector has raised, what came out before is not said again, and the log is not read
again."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from contract.cases import FAILING
from contract.harness import LOGS, drain, feed, workers

from opintel.streams import run
from opintel.streams.log import Log, Stored
from opintel.streams.reduce import ReduceStage
from opintel.streams.run import Run
from opintel.streams.stage import DetectorFailed, Output

STREAM = FAILING.stream._replace(partitions=1)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Stored]:
    """The raw records of a story whose rows make the detector raise in three windows."""
    bus = LOGS["sqlite"](tmp_path_factory.mktemp("raw"))
    for _ in feed(bus, replace(FAILING, stream=STREAM)):
        pass
    found = bus.read(STREAM.topic, 0, 0, 10**6)
    bus.close()
    return found


class Counting(ReduceStage):
    """Counts the records that it is given, also by the stages that went before it."""

    given = 0

    def process(self, batch: Sequence[Stored], careful: bool) -> Output:
        Counting.given += len(batch)
        return super().process(batch, careful)


def stage() -> ReduceStage:
    return Counting(STREAM, FAILING.pipeline, 0, "e", 1)


def parts(records: Sequence[Stored], rng: random.Random) -> Iterator[Sequence[Stored]]:
    at = 0
    while at < len(records):
        n = rng.choice([1, 7, 40])
        yield records[at : at + n]
        at += n


def said(records: Sequence[Stored], seed: int) -> tuple[list[bytes], set[tuple[object, ...]]]:
    """What a run says: the records, and the places of what was set aside."""
    this = Run(stage, "r-0")
    outs = [this.feed(part) for part in parts(records, random.Random(seed))]
    return [e.value for out in outs for e in out.records], {a.where for out in outs for a in out.asides}


def test_the_detector_does_raise(records: Sequence[Stored]) -> None:
    with pytest.raises(DetectorFailed):
        stage().process(records, careful=False)


@pytest.mark.parametrize("weight", [0, 5000, 1 << 22])
def test_what_is_said_is_what_a_careful_pass_says(
    records: Sequence[Stored], weight: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "SNAPSHOT_BYTES", weight)
    careful = stage()
    outs = [careful.process([one], careful=True) for one in records]
    expected = [e.value for out in outs for e in out.records], {a.where for out in outs for a in out.asides}
    assert len(expected[0]) > 10
    for seed in range(3):
        assert said(records, seed) == expected


def test_a_restored_run_goes_back_to_where_it_was_restored(records: Sequence[Stored]) -> None:
    whole, cut = Run(stage, "r-0"), len(records) // 3
    first = whole.feed(records[:cut])
    state = whole.state()
    rest = whole.feed(records[cut:])
    again = Run(stage, "r-0")
    again.restore(state)
    assert again.feed(records[cut:]) == rest
    assert again.state() == whole.state()
    assert first.records != rest.records


def test_the_way_back_is_short_and_after_a_fault_shorter(
    records: Sequence[Stored], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one snapshot at the start only, each fault would cost all records before it."""
    monkeypatch.setattr(run, "SNAPSHOT_BYTES", 5000)
    Counting.given = 0
    said(records, 0)
    assert len(records) < Counting.given < 1.5 * len(records)


def test_a_worker_does_not_read_again_nor_say_again(tmp_path: Path) -> None:
    class Reading:
        """Notes where each partition of the raw topic is read."""

        def __init__(self, bus: Log) -> None:
            self._bus, self.read_at = bus, dict[int, list[int]]()

        def __getattr__(self, name: str) -> object:
            return getattr(self._bus, name)

        def read(self, topic: str, partition: int, position: int, limit: int) -> list[Stored]:
            if topic == FAILING.stream.topic:
                self.read_at.setdefault(partition, []).append(position)
            return self._bus.read(topic, partition, position, limit)

    bus = LOGS["sqlite"](tmp_path)
    reading = Reading(bus)
    team = workers(reading, FAILING, tmp_path, checkpoint_bytes=1 << 30)
    for _ in feed(bus, FAILING):
        drain(team)
    assert bus.aside_counts()[FAILING.stream.topic, "quarantined"] > 5
    assert all(at == sorted(at) for at in reading.read_at.values())
    assert team[-1].stage.repeated == 0
    bus.close()
