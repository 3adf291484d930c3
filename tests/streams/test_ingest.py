"""Ingest is a function of its source: stamps, caps, dead letters, and going on after a crash at any point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from contract.cases import TOY_CASE, TOY_STREAM, toy_messages
from contract.harness import LOGS, drain, workers
from contract.toy import TOY, ToyWire
from hypothesis import given, settings
from hypothesis import strategies as st

from opintel.detector import Message
from opintel.finding import NS
from opintel.streams.connectors import Listened
from opintel.streams.connectors.files import FileSource
from opintel.streams.feeds import BrokerFeed, FileFeed, ReplayableFeed, file_feed
from opintel.streams.ingest import Ingester
from opintel.streams.log import Entry, Log, LogUnavailable
from opintel.streams.records import NEVER, Derived, Rows, Tick, derived_codec, raw_codec
from opintel.streams.sequencer import CopiedControls, Sequencer, control_topic, send_control

T0 = 1_700_000_000 * NS
CODEC = raw_codec(TOY.payload)


def made(bus: Log, *, live: bool, source: str = "s") -> Ingester:
    return Ingester(bus, TOY_STREAM, TOY, ToyWire(), source, live=live)


def stored(bus: Log, partition: int) -> list:
    return [CODEC.decode(v) for _, v, _ in bus.read(TOY_STREAM.topic, partition, 0, 10**6)]


def message(time: int, key: str = "a.k", value: int = 1, index: int = 0) -> Message:
    return Message(f"{key} {time} {value}".encode(), "f", index, index)


def test_a_stamp_is_the_largest_event_time_before_the_chunk_less_the_lateness(tmp_path: Path) -> None:
    bus = LOGS["sqlite"](tmp_path)
    ingester = made(bus, live=False)
    for n, time in enumerate((T0, T0 + 50 * NS, T0 + 10 * NS, T0 + 60 * NS)):
        ingester.take([message(time)], n + 1, T0)
    [partition] = [p for p in range(4) if bus.end(TOY_STREAM.topic, p)]
    stamps = [r.wm for r in stored(bus, partition)]
    assert stamps == [NEVER, *(T0 + s * NS - TOY_STREAM.lateness for s in (0, 50, 50))]


def test_a_live_event_time_beyond_the_skew_is_a_dead_letter_and_moves_no_stamp(tmp_path: Path) -> None:
    bus = LOGS["sqlite"](tmp_path)
    ingester = made(bus, live=True)
    ingester.take(
        [message(T0), message(T0 + TOY_STREAM.skew + 1, index=1), message(T0 + TOY_STREAM.skew, index=2)], 3, T0
    )
    assert ingester.seen == T0 + TOY_STREAM.skew
    [dead] = bus.asides(kind="dead")
    assert (dead.place, dead.position) == ("f:2", 1)
    assert "more than 15 s after its arrival: check the sender's clock" in dead.reason


def test_a_live_stamp_is_capped_at_arrival_plus_skew(tmp_path: Path) -> None:
    bus = LOGS["sqlite"](tmp_path)
    ingester = made(bus, live=True)
    ingester.take([message(T0 + 15 * NS)], 1, T0)
    ingester.take([message(T0 - 60 * NS)], 2, T0 - 60 * NS)  # our clock was set back
    [partition] = [p for p in range(4) if bus.end(TOY_STREAM.topic, p)]
    assert stored(bus, partition)[1].wm == T0 - 60 * NS + TOY_STREAM.skew - TOY_STREAM.lateness


def test_ticks_and_the_end_of_a_file_reach_every_partition(tmp_path: Path) -> None:
    bus = LOGS["sqlite"](tmp_path)
    ingester = made(bus, live=False)
    ingester.take([message(T0 + 5)], 1, T0)
    ingester.tick(T0 + 9 * NS)
    ingester.finish(T0)
    boundary = TOY_STREAM.grid.at_or_after(T0 + 6)
    for p in range(4):
        tick, end = [r for r in stored(bus, p) if isinstance(r, Tick)]
        assert tick.wm == tick.listened == T0 + 9 * NS - TOY_STREAM.lateness
        assert (end.wm, end.listened) == (boundary, T0 + 5)


def test_dead_letters_name_their_place_and_are_written_once(tmp_path: Path) -> None:
    bus = LOGS["sqlite"](tmp_path)
    for _ in range(2):
        made(bus, live=False).take([message(T0), Message(b"\xff junk", "x.jsonl", 7, 1)], 2, T0)
    [dead] = bus.asides(kind="dead")
    assert (dead.topic, dead.place, dead.excerpt) == ("toy.ingest", "x.jsonl:8", b"\xff junk")


class Torn:
    """A log that appends only a part of what it is given and then fails, as a crash between partitions would."""

    def __init__(self, bus: Log, entries: int) -> None:
        self._bus, self._left = bus, entries

    def __getattr__(self, name: str) -> object:
        return getattr(self._bus, name)

    def append(self, entries: Sequence[Entry]) -> None:
        if len(entries) > self._left:
            self._bus.append(entries[: self._left])
            raise OSError("crashed")
        self._left -= len(entries)
        self._bus.append(entries)


def whole(bus: Log, feed: FileFeed) -> None:
    while feed.step():
        pass


def content(bus: Log) -> list:
    """Rows and stamps by partition, whatever arrived when."""
    return [
        [(r.wm, [msgspec.to_builtins(x) for x in r.batch.rows()]) for r in stored(bus, p) if isinstance(r, Rows)]
        for p in range(TOY_STREAM.partitions)
    ]


@given(crashes=st.lists(st.integers(0, 40), max_size=6))
def test_after_a_crash_at_any_entry_each_partition_has_each_row_once(
    tmp_path_factory: pytest.TempPathFactory, crashes: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("ingest")
    source = folder / "rows.txt"
    source.write_bytes(b"\n".join(body for _, body in toy_messages(n=4000)) + b"\n")
    plain = LOGS["sqlite"](folder / "plain")
    whole(plain, file_feed(lambda name: made(plain, live=False, source=name), [source], final=True))
    torn = LOGS["sqlite"](folder / "torn")
    for left in crashes:
        cut = Torn(torn, left)
        try:
            whole(torn, file_feed(lambda name, cut=cut: made(cut, live=False, source=name), [source], final=True))  # type: ignore[arg-type]
        except OSError:
            continue
    whole(torn, file_feed(lambda name: made(torn, live=False, source=name), [source], final=True))
    assert content(torn) == content(plain)
    assert sum(len(rows) for partition in content(plain) for _, rows in partition) > 3900
    assert torn.aside_counts() == plain.aside_counts()


def test_a_broker_sends_again_by_itself_so_a_live_ingester_skips_no_partition(tmp_path: Path) -> None:
    """The chunk that a crash cut short is not known any more; the next one must reach all partitions."""
    bus = LOGS["sqlite"](tmp_path)
    rows = [message(T0 + n, f"a.{n}", index=n) for n in range(40)]
    with pytest.raises(OSError, match="crashed"):
        made(Torn(bus, 2), live=True).take(rows[:20], 20, T0)  # type: ignore[arg-type]
    again = made(bus, live=True)
    assert again.unfinished is None
    again.take(rows, 60, T0)
    keys = {row.key for p in range(4) for r in stored(bus, p) for row in r.batch.rows()}
    assert keys == {f"a.{n}" for n in range(40)}


def test_controls_are_versioned_sent_once_and_copied_to_all_partitions(tmp_path: Path) -> None:
    bus = LOGS["sqlite"](tmp_path)
    first = send_control(bus, TOY_STREAM, "settings", "toy", {"a": 1})
    assert first is not None
    assert send_control(bus, TOY_STREAM, "settings", "toy", {"a": 1}) is None
    second = send_control(bus, TOY_STREAM, "settings", "toy", {"a": 2})
    assert second is not None
    assert second.version == 2
    bus.append([Entry(control_topic(TOY_STREAM), 0, b"junk")])
    sequencer = Sequencer(bus, made(bus, live=True))
    assert sequencer.step()
    assert sequencer.idle()
    assert not sequencer.step()
    for p in range(4):
        assert [(c.id, c.version) for c in stored(bus, p)] == [(first.id, 1), (second.id, 2)]
    assert [a.topic for a in bus.asides(kind="dead")] == [control_topic(TOY_STREAM)]


def test_a_tailed_file_goes_on_where_it_stood(tmp_path: Path) -> None:
    bus = LOGS["sqlite"](tmp_path)
    source = tmp_path / "rows.txt"
    lines = [body for _, body in toy_messages(n=900)]
    for upto in (300, 600, len(lines)):
        source.write_bytes(b"\n".join(lines[:upto]) + b"\n")
        feed = FileFeed(FileSource([source]), made(bus, live=False))
        whole(bus, feed)
        assert feed.ingester.resume.messages == upto
    rows = [row for partition in content(bus) for _, part in partition for row in part]
    assert len(rows) == len([line for line in lines if len(line.split()) == 3])


class Broker:
    """A broker that hands out what it is set to, as `StompSource` does."""

    def __init__(self) -> None:
        self.connected, self.waiting, self.acknowledged = True, [], 0  # type: ignore[var-annotated]

    def read(self, limit: int, timeout: float) -> list:
        given, self.waiting = self.waiting[:limit], self.waiting[limit:]
        return [(n, m) for n, m in enumerate(given)]

    def acknowledge(self, tokens: Sequence[int]) -> None:
        self.acknowledged += len(list(tokens))

    def close(self) -> None:
        self.connected = False


def test_a_backlog_after_an_outage_is_not_made_late_by_a_tick(tmp_path: Path) -> None:
    """The broker was away for an hour; what waited there is judged, and ticks begin only when it is drained."""
    bus, broker, now = LOGS["sqlite"](tmp_path), Broker(), [T0]
    feeding = BrokerFeed(broker, made(bus, live=True), clock=lambda: now[0])  # type: ignore[arg-type]
    broker.connected = False
    for _ in range(360):
        feeding.step()
        now[0] += 10 * NS
    broker.connected = True
    broker.waiting = [message(T0 + n * NS, f"a.{n % 50}", n % 100, n) for n in range(3600)]
    while broker.waiting:
        feeding.step()
        now[0] += NS // 10
    assert not [r for p in range(4) for r in stored(bus, p) if isinstance(r, Tick)]
    assert broker.acknowledged == 3600
    for _ in range(30):
        feeding.step()
        now[0] += NS
    assert [r for r in stored(bus, 0) if isinstance(r, Tick)]
    drain(workers(bus, TOY_CASE, tmp_path))
    assert bus.aside_counts() == {}


def test_one_fast_clock_makes_nobody_late(tmp_path: Path) -> None:
    """A sender ahead by just less than the skew: rows that arrive as they happen stay in time."""
    bus = LOGS["sqlite"](tmp_path)
    ingester = made(bus, live=True)
    stream = TOY_STREAM
    assert stream.skew <= stream.lateness  # the configuration insists on it
    for n in range(600):
        now = T0 + n * NS
        ahead = [message(now + stream.skew, "a.fast", n % 100, 2 * n)] if n % 10 == 0 else []
        ingester.take([*ahead, message(now, "a.k", n % 100, 2 * n + 1)], n, now)
    drain(workers(bus, TOY_CASE, tmp_path))
    assert bus.aside_counts() == {}


def test_two_sources_keep_their_places_and_their_dead_letters(tmp_path: Path) -> None:
    bus = LOGS["sqlite"](tmp_path)
    bad = Message(b"junk", "f", 0, 0)
    for source in ("one", "two"):
        made(bus, live=False, source=source).take([bad, message(T0, "a.k", 1, 1)], 2, T0)
    assert bus.aside_counts()["toy.ingest", "dead"] == 2
    assert made(bus, live=False, source="one").unfinished == (None, 2)  # its place, though `two` wrote after it


def test_what_a_transport_refused_is_a_dead_letter_with_its_reason(tmp_path: Path) -> None:
    bus = LOGS["sqlite"](tmp_path)
    refused = Message(b"offsets 5 to 9 inflate to 3 GB", "fts-2", 9, 7, "refused")
    ingester = made(bus, live=False)
    ingester.take([message(T0), refused, Message(b"junk", "x", 3, 8), message(T0 + 1, value=2)], 4, T0)
    dead = {(a.position, a.row, a.place, a.reason, a.excerpt) for a in bus.asides(kind="dead")}
    assert dead == {
        (7, 0, "fts-2:10", "offsets 5 to 9 inflate to 3 GB", b""),
        (8, 0, "x:4", "expected `key time value`", b"junk"),
    }
    assert ingester.resume == (4, 4)
    assert sum(len(rows) for partition in content(bus) for _, rows in partition) == 2


def test_a_live_source_that_can_be_read_again_finishes_its_chunk(tmp_path: Path) -> None:
    """As files do: the chunk that a crash cut short is taken again, and reaches each partition once."""
    bus = LOGS["sqlite"](tmp_path)
    rows = [message(T0 + n, f"a.{n}", index=n) for n in range(40)]

    def reading(log: Log) -> Ingester:
        return Ingester(log, TOY_STREAM, TOY, ToyWire(), "kafka", live=True, replayable=True)

    reading(bus).take(rows[:20], {"t-0": 20}, T0)
    with pytest.raises(OSError, match="crashed"):
        reading(Torn(bus, 2)).take(rows[20:], {"t-0": 40}, T0)  # type: ignore[arg-type]
    again = reading(bus)
    assert again.unfinished == ({"t-0": 20}, {"t-0": 40})
    assert again.resume == ({"t-0": 20}, 20)
    again.take(rows[20:], again.unfinished.after, T0)
    assert reading(bus).unfinished is None or reading(bus).unfinished == ({"t-0": 20}, {"t-0": 40})
    keys = [row.key for p in range(4) for r in stored(bus, p) for row in r.batch.rows()]
    assert sorted(keys) == sorted(f"a.{n}" for n in range(40))


@pytest.mark.parametrize("records", range(12))
def test_a_chunk_that_is_too_large_for_a_record_is_in_several(
    records: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between them: those that are there are not sent again, the others are."""
    monkeypatch.setattr("opintel.streams.ingest.MAX_RECORD", 400)
    rows = [message(T0 + n, f"a.{n}", index=n) for n in range(100)]
    plain, torn = LOGS["sqlite"](tmp_path / "plain"), LOGS["sqlite"](tmp_path / "torn")
    made(plain, live=False).take(rows, 100, T0)
    assert all(len(value) < 800 for p in range(4) for _, value, _ in plain.read(TOY_STREAM.topic, p, 0, 10**6))
    assert sum(len(partition) for partition in content(plain)) > 12
    if records:
        with pytest.raises(OSError, match="crashed"):
            made(Torn(torn, records), live=False).take(rows, 100, T0)  # type: ignore[arg-type]
    again = made(torn, live=False)
    assert (again.unfinished is not None) == (records > 0)
    again.take(rows, 100, T0)
    assert content(torn) == content(plain)


class Adrift:
    """A log whose appends are on their way: `land` brings the next record of a partition in, in the order that one
    writer sent them; a reader sees only what has landed.
    """

    def __init__(self, bus: Log) -> None:
        self._bus = bus
        self.under_way: dict[int, list[Entry]] = {}

    def __getattr__(self, name: str) -> object:
        return getattr(self._bus, name)

    def append(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self.under_way.setdefault(entry.partition, []).append(entry)

    def land(self, choice: int) -> None:
        partitions = sorted(self.under_way)
        partition = partitions[choice % len(partitions)]
        self._bus.append([self.under_way[partition].pop(0)])
        if not self.under_way[partition]:
            del self.under_way[partition]


class Incarnation:
    """An ingester that takes its chunk of the source when the one before is acknowledged."""

    def __init__(self, bus: Log, rows: list[Message], size: int) -> None:
        self.log, self._rows, self._size = Adrift(bus), rows, size
        self._ingester = Ingester(self.log, TOY_STREAM, TOY, ToyWire(), "kafka", live=True, replayable=True)  # type: ignore[arg-type]

    def step(self, choice: int) -> bool:
        """Something of it lands, or it goes on; whether there was anything to do."""
        if self.log.under_way:
            self.log.land(choice)
            return True
        ingester = self._ingester
        at = ingester.resume.position or 0
        end = ingester.unfinished.after if ingester.unfinished else min(at + self._size, len(self._rows))
        if at == len(self._rows):
            return False
        ingester.take(self._rows[at:end], end, self._rows[-1].index)
        return True


STORY = [message(T0 + (n - n % 7) * NS, f"a.k{n % 9}", n % 50, T0 + 300 * NS) for n in range(150)]


@settings(max_examples=2 * settings().max_examples)
@given(
    turns=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 5)), max_size=150),
    sizes=st.lists(st.integers(3, 40), min_size=3, max_size=8),
    small=st.booleans(),
)
def test_writers_that_do_not_know_of_each_other_lose_nothing(
    tmp_path_factory: pytest.TempPathFactory, turns: list[tuple[int, int]], sizes: list[int], small: bool
) -> None:
    """Two at a time, each replaced at any moment by one that reads the log as it is then; what the dead had sent lands
    later, between the records of others, or never.
    """
    folder = tmp_path_factory.mktemp("ingest")
    bus = LOGS["sqlite"](folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("opintel.streams.ingest.MAX_RECORD", 300 if small else 1 << 19)
        alive = [Incarnation(bus, STORY, size) for size in sizes[:2]]
        dead: list[Adrift] = []
        for what, choice in turns:
            if what < 6:
                alive[what % 2].step(choice)
            elif what == 6:
                if alive[choice % 2].log.under_way:
                    dead.append(alive[choice % 2].log)
                alive[choice % 2] = Incarnation(bus, STORY, sizes[(choice + len(dead)) % len(sizes)])
            elif dead:
                dead[choice % len(dead)].land(choice)
                dead = [log for log in dead if log.under_way]
        last = Incarnation(bus, STORY, 25)
        while last.step(0):
            pass
    plain = LOGS["sqlite"](folder / "plain")
    whole_story = Incarnation(plain, STORY, 25)
    while whole_story.step(0):
        pass

    def rows(log: Log) -> list[set[tuple[int, int]]]:
        records = ([r for r in stored(log, p) if isinstance(r, Rows)] for p in range(TOY_STREAM.partitions))
        return [{(row.time, row.id) for r in part for row in r.batch.rows()} for part in records]

    assert rows(bus) == rows(plain)
    counted = []
    for log, place in ((bus, folder), (plain, folder / "plain")):
        made(log, live=False, source="end").finish(T0 + 300 * NS)
        drain(workers(log, TOY_CASE, place))
        derived = derived_codec(TOY.record)
        found = (derived.decode(v) for _, v, _ in log.read(TOY_STREAM.derived, 0, 0, 10**6))
        records = [r for d in found if isinstance(d, Derived) for r in d.records]
        counted.append({(r.window, r.key): r.payload for r in records})
        log.close()
    assert counted[0] == counted[1]
    assert sum(count for count, *_ in counted[0].values()) == len(STORY)


def test_controls_that_a_process_has_copied_are_not_copied_again(tmp_path: Path) -> None:
    bus = LOGS["sqlite"](tmp_path)
    known: CopiedControls = {}
    ends = []
    for n in (1, 1, 2):
        send_control(bus, TOY_STREAM, "settings", "toy", {"a": n})
        Sequencer(bus, made(bus, live=True), known).step()
        ends.append(bus.end(TOY_STREAM.topic, 3))
    assert ends == [1, 1, 2]
    lost = LOGS["sqlite"](tmp_path / "restored")  # of other topics nothing is known
    send_control(lost, TOY_STREAM, "settings", "toy", {"a": 1})
    Sequencer(lost, made(lost, live=True), known).step()
    assert lost.end(TOY_STREAM.topic, 3) == 1


def test_the_place_of_a_source_is_found_behind_much_of_others(tmp_path: Path) -> None:
    bus = LOGS["sqlite"](tmp_path)
    made(bus, live=False, source="one").take([message(T0)], 1, T0)
    made(bus, live=True, source="two").tick(T0)
    [*_, (_, tick, _)] = bus.read(TOY_STREAM.topic, 0, 0, 10)
    bus.append([Entry(TOY_STREAM.topic, p, tick) for p in range(4) for _ in range(3000)])
    bus.append([Entry(TOY_STREAM.topic, p, b"junk") for p in range(4) for _ in range(300)])
    assert made(bus, live=False, source="one").unfinished == (None, 1)
    assert made(bus, live=True, source="two").resume == (None, 0)


def test_a_source_that_is_not_found_at_the_end_begins_at_its_start_and_that_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = LOGS["sqlite"](tmp_path)
    assert made(bus, live=False, source="new").resume == (None, 0)
    assert not caplog.records
    made(bus, live=False, source="one").take([message(T0)], 1, T0)
    two = made(bus, live=True, source="two")
    for _ in range(30):
        two.tick(T0)
    monkeypatch.setattr("opintel.streams.tail.WITHIN_BYTES", 100)
    assert made(bus, live=False, source="one").resume == (None, 0)
    assert "nothing of source one at the end of toy.raw" in caplog.text


class Cluster:
    """A cluster that is there or not, as `KafkaSource` shows it."""

    delay = 0

    def __init__(self) -> None:
        self.there, self.asked = True, 0

    def read(self, position: int | None, limit: int, first: int = 0) -> tuple[list[Message], int]:
        self.asked += 1
        if not self.there:
            raise LogUnavailable("no broker answers")
        return ([message(T0, index=first)], 1) if position is None else ([], position)

    def listened(self, position: int, now: int) -> Listened:
        return Listened(now)

    def close(self) -> None:
        """Nothing to free."""


def test_a_source_that_is_away_is_waited_for_and_nothing_ticks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("opintel.streams.feeds.FIRST_PAUSE", 0.0)
    bus, cluster = LOGS["sqlite"](tmp_path), Cluster()
    ingester = Ingester(bus, TOY_STREAM, TOY, ToyWire(), "kafka", live=True, replayable=True)
    feed = ReplayableFeed(cluster, ingester, lambda: T0)  # type: ignore[arg-type]
    assert feed.step()
    cluster.there = False
    ends = [bus.end(TOY_STREAM.topic, p) for p in range(4)]
    assert not any(feed.step() for _ in range(5))
    assert [bus.end(TOY_STREAM.topic, p) for p in range(4)] == ends
    cluster.there = True
    feed.step()
    assert sum(isinstance(r, Tick) for p in range(4) for r in stored(bus, p)) == 4
    told = [r.getMessage() for r in caplog.records if r.name == "opintel.streams.feeds"]
    assert told == ["ingest toy: no broker answers; looking again until it is there", "ingest toy: its source is back"]
