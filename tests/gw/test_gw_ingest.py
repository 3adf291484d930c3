"""Samples on their way into the log: clocks that jump, frames that come twice or not at all, files that overlap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from contract.harness import LOGS

from gw.messages import GPS, NS, UTC, entry, message
from gw.sample_files import gwosc, noise
from opintel.detector import Judge, Message, Pipeline, Reducer
from opintel.gw.files import PARSERS
from opintel.gw.samples import Pieces
from opintel.gw.wire import GwWire
from opintel.streams.feeds import file_feed
from opintel.streams.ingest import Ingester
from opintel.streams.log import Log
from opintel.streams.records import Rows, raw_codec
from opintel.streams.stream import Stream

INGESTED = Pipeline("gw", Pieces, int, GwWire, Reducer, (Judge,), files=PARSERS)
STREAM = Stream("gw", "gw.samples", window=2 * NS, lateness=NS, skew=NS, interval=NS, partitions=1)


def ingester(bus: Log, source: str = "s", *, live: bool = True) -> Ingester:
    return Ingester(bus, STREAM, INGESTED, GwWire(), source, live=live)


def second(n: int) -> Message:
    table = [entry(7, "L1:PEM-MIC", 16)]
    return Message(message(table, [((GPS + n) * NS, 7, np.arange(1.0, 17.0))]), "t", n, n)


def rows(bus: Log) -> list[Rows]:
    found = [raw_codec(Pieces).decode(value) for _, value, _ in bus.read(STREAM.topic, 0, 0, 10**6)]
    return [one for one in found if isinstance(one, Rows)]


def test_a_clock_that_jumps_moves_no_window(tmp_path: Path) -> None:
    bus = LOGS["sqlite"](tmp_path)
    into = ingester(bus)
    for n, jump in enumerate((0, 0, 3600, 0, -3600, 0)):
        into.take([second(n + jump)], n + 1, (UTC + n + 1) * NS)
    (dead,) = bus.asides(kind="dead")
    assert "check the sender's clock" in dead.reason
    assert into.seen == (UTC + 5) * NS
    assert into.taken == 5


def test_frames_that_come_twice_or_not_at_all(tmp_path: Path) -> None:
    bus = LOGS["sqlite"](tmp_path)
    into = ingester(bus)
    for n, number in enumerate((0, 1, 1, 3, 0)):
        into.take([second(number)], n + 1, (UTC + 4) * NS)
    ids = [int(identity) for record in rows(bus) for identity in record.batch.id]
    assert len(ids) == 5
    assert len(set(ids)) == 3
    assert ids[1] == ids[2]
    assert ids[0] == ids[4]


def test_files_that_overlap_are_not_late(tmp_path: Path) -> None:
    strain = noise(40 * 64)
    paths = [
        gwosc(tmp_path / "b.hdf5", strain[12 * 64 :], 64, start=GPS + 12),
        gwosc(tmp_path / "a.hdf5", strain[: 30 * 64], 64),
    ]
    bus = LOGS["sqlite"](tmp_path)
    feed = file_feed(lambda name: ingester(bus, name, live=False), paths, final=True)
    while feed.step():
        pass
    assert not bus.asides(kind="dead")
    found = rows(bus)
    assert all(int(record.batch.time.min()) >= record.wm for record in found if len(record.batch))
    assert len({int(identity) for record in found for identity in record.batch.id}) == 40 * 5
