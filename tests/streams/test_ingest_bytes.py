"""What ingest does with weight: chunks are cut by bytes, a row that is too heavy is a dead letter, many are one."""

from __future__ import annotations

import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import pytest
from contract.harness import LOGS
from contract.histograms import BEGIN, HISTOGRAM, HISTOGRAM_STREAM, HISTOGRAMS, HistogramWire, Item, Part
from hypothesis import given
from hypothesis import strategies as st

from opintel.detector import Message
from opintel.finding import NS
from opintel.rejects import REASONS
from opintel.streams.ingest import HEAD, Ingester
from opintel.streams.log import Aside, Log
from opintel.streams.records import MAX_RECORD, Rows, raw_codec

CODEC = raw_codec(HISTOGRAMS.payload)
STREAM = HISTOGRAM_STREAM._replace(partitions=2)


def taken(bus: Log, bodies: list[bytes]) -> dict[int, list[tuple[int, Rows]]]:
    """Partition → (bytes, rows) of each record of one chunk."""
    ingester = Ingester(bus, STREAM, HISTOGRAMS, HistogramWire(), "s", live=False)
    ingester.take([Message(body, "f", n, n) for n, body in enumerate(bodies)], len(bodies), BEGIN)
    return {p: [(len(v), CODEC.decode(v)) for _, v, _ in bus.read(STREAM.topic, p, 0, 10**6)] for p in range(2)}


def message(items: list[Item]) -> bytes:
    return msgspec.msgpack.encode(Part("tracker", HISTOGRAM, 1, 1, BEGIN, NS, 1, 1, items))


def histograms(sizes: list[int], n: int = 0) -> list[Item]:
    """Histograms of so many bins."""
    return [Item(f"h{n}-{k}", 1, bins, "", np.arange(bins, dtype="<f4").tobytes()) for k, bins in enumerate(sizes)]


SIZES = st.lists(st.lists(st.sampled_from([1, 20, 100, 1600, 20_000, 40_000]), min_size=1, max_size=6), max_size=6)


@given(SIZES)
def test_a_record_is_light_or_holds_one_row(sizes: list[list[int]]) -> None:
    """TH1 beside TH2 in path order: all rows arrive, in order; only a row alone is heavier than a record may be."""
    most, heaviest = 60_000, 100_000
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setattr("opintel.streams.ingest.MAX_RECORD", most)
        patch.setattr("opintel.streams.ingest.MAX_ROW", heaviest)
        bus = LOGS["sqlite"](Path(folder))
        found = taken(bus, [message(histograms(some, n)) for n, some in enumerate(sizes)])
        asides = bus.asides()
        bus.close()
    paths = []
    for records in found.values():
        for n, (size, rows) in enumerate(records):
            assert (rows.part, rows.parts) == (n, len(records))
            assert size <= most or len(rows.batch) == 1
        for (_, one), (_, two) in itertools.pairwise(records):  # and no cut without need
            assert one.batch.weights().sum() + two.batch.weights()[0] > most - HEAD
        paths.append([key for _, rows in records for key in rows.batch.key.tolist()])
    expected = [f"tracker|h{n}-{k}" for n, some in enumerate(sizes) for k, bins in enumerate(some) if bins < 40_000]
    assert sorted(itertools.chain.from_iterable(paths)) == sorted(expected)
    order = {path: n for n, path in enumerate(expected)}
    assert all([order[p] for p in its] == sorted(order[p] for p in its) for its in paths)
    heavy = {n: some.count(40_000) for n, some in enumerate(sizes) if 40_000 in some}
    assert {a.position: a.count for a in asides} == heavy
    assert all("bytes a row" in a.reason for a in asides)


def test_a_lumisection_passes_kafka_whole(tmp_path: Path) -> None:
    """At the sizes of the product: 300 TH1 and five TH2 in one chunk."""
    bus = LOGS["sqlite"](tmp_path)
    found = taken(bus, [message(histograms([100] * 30 + [10_000] * (n % 2), n)) for n in range(10)])
    sizes = [size for records in found.values() for size, _ in records]
    assert max(sizes) <= MAX_RECORD
    assert sum(map(len, found.values())) >= 2
    bus.close()


def dead(bus: Log) -> list[Aside]:
    return sorted(bus.asides(kind="dead"), key=lambda aside: (aside.position, aside.row))


def test_one_dead_letter_a_message_and_reason(tmp_path: Path) -> None:
    """Its count says how many records, its place the first of them; beyond so many reasons the rest share one."""
    bus = LOGS["sqlite"](tmp_path)
    torn = [Item(f"t{n}", 1, 3, "", b"1234" * (4 + 3 * (n % 2))) for n in range(40)]  # 16 or 28 bytes, in rows of three
    whole = [Item(f"w{n}", 1, 1, "", b"1234") for n in range(5)]
    several = [Item(f"x{n}", 1, 2 + n, "", b"1234") for n in range(REASONS + 7)]
    found = taken(bus, [*(message([one]) for one in whole), message(torn + whole), message(several)])
    letters = dead(bus)
    of_torn = [a for a in letters if a.position == 5]
    assert [a.count for a in of_torn] == [20, 20]
    assert of_torn[0].place == "f:6, records 1, 3, 5, 7, 9"
    of_several = [a for a in letters if a.position == 6]
    assert len(of_several) == REASONS + 1
    assert of_several[-1].reason == "further records, for other reasons"
    assert of_several[-1].count == 7
    assert len({a.where for a in letters}) == len(letters) == 2 + REASONS + 1
    assert sum(len(rows.batch) for records in found.values() for _, rows in records) == 10
    bus.close()
