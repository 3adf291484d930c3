"""A Prometheus server as a stream's source, on the real one: every sample once, whenever it is asked and whatever is
away.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from contract.cases import HEALTH_STREAM
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opintel.demo.broker import free_port
from opintel.detector import Message
from opintel.durations import Duration
from opintel.finding import NS, rfc3339
from opintel.health.pipeline import PIPELINE
from opintel.health.wire import HealthWire
from opintel.streams.connectors.prometheus import PrometheusSettings, PrometheusSource
from opintel.streams.feeds import ReplayableFeed
from opintel.streams.ingest import CHUNK, Ingester
from opintel.streams.log import Entry, Log
from opintel.streams.log_sqlite import SqliteLog
from opintel.streams.records import NEVER, Rows, Tick, raw_codec
from opintel.streams.windows import Grid

T0 = 1_699_999_200
"""s: the first sample; a multiple of the step."""
STEP, SAMPLES, INSTANCES = 15, 241, 5
DELAY = 30
END = T0 + (SAMPLES - 1) * STEP
QUERIES = ["load", 'label_replace(rate(hits_total[1m]), "__name__", "hits:rate1m", "", "")']
PAST = Duration((SAMPLES - 1) * STEP * NS)
CODEC = raw_codec(PIPELINE.payload)


class Server:
    """A Prometheus over a folder, by default with nothing to collect."""

    def __init__(self, binary: Path, folder: Path, config: str = "global: {}\n") -> None:
        self.port, self.folder, self._binary = free_port(), folder, binary
        self.url = f"http://127.0.0.1:{self.port}"
        (folder / "prometheus.yml").write_text(config)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                self._binary,
                f"--config.file={self.folder}/prometheus.yml",
                f"--storage.tsdb.path={self.folder}/data",
                "--storage.tsdb.retention.time=90y",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stderr=subprocess.DEVNULL,
        )
        eventually(self._ready)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def eventually(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def binary(part: Callable[[str], Path]) -> Path:
    """The server, which lies beside promtool."""
    return part("promtool").with_name("prometheus")


@pytest.fixture(scope="module")
def server(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An hour of five gauges and five counters, every 15 s from T0."""
    folder = tmp_path_factory.mktemp("prometheus")
    lines = ["# TYPE load gauge"]
    lines += [f'load{{job="node",instance="i{i}"}} {load(i, n)} {T0 + n * STEP}' for i, n in places()]
    lines += ["# TYPE hits counter"]
    lines += [f'hits_total{{job="node",instance="i{i}"}} {n * (i + 1)} {T0 + n * STEP}' for i, n in places()]
    (folder / "past.txt").write_text("\n".join([*lines, "# EOF\n"]))
    promtool = binary.with_name("promtool")
    made = subprocess.run(
        [promtool, "tsdb", "create-blocks-from", "openmetrics", folder / "past.txt", folder / "data"],
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    server = Server(binary, folder)
    server.start()
    yield server
    server.kill()


def places() -> list[tuple[int, int]]:
    return [(i, n) for i in range(INSTANCES) for n in range(SAMPLES)]


def load(instance: int, n: int) -> float:
    return instance + n / 1000


class Clock:
    """ns, set by the test."""

    def __init__(self, seconds: float = END + DELAY) -> None:
        self.now = int(seconds * NS)

    def __call__(self) -> int:
        return self.now


Make = Callable[..., PrometheusSource]


@pytest.fixture
def make() -> Iterator[Make]:
    """Sources, closed at the end."""
    made: list[PrometheusSource] = []

    def source(url: str, clock: Clock | None = None, lateness: int = HEALTH_STREAM.lateness, **keys: Any) -> Any:
        given = {
            "queries": QUERIES,
            "step": Duration(STEP * NS),
            "delay": Duration(DELAY * NS),
            "history": PAST,
            **keys,
        }
        asked = PrometheusSettings(url=url, **given)
        made.append(PrometheusSource(asked, lateness=lateness, clock=clock or Clock()))
        return made[-1]

    yield source
    for one in made:
        one.close()


def read_all(source: PrometheusSource, position: Any, first: int = 0) -> tuple[list[Message], list[Any]]:
    """All messages from a position to the end, and the position after each read."""
    messages: list[Message] = []
    positions = [position]
    while True:
        some, after = source.read(positions[-1], CHUNK, first + len(messages))
        if not some and after == positions[-1]:
            return messages, positions
        messages += some
        positions.append(msgspec.json.decode(msgspec.json.encode(after)))  # as a log brings it back


def samples(messages: Sequence[Message]) -> list[tuple[str, int, float]]:
    """(series, s, value) of what the health wire makes of them; nothing may be rejected."""
    found = HealthWire().decode(messages)
    assert found.rejects == []
    return [(row.key, row.time // NS, row.payload.value) for row in found.rows.rows()]


def loads(after: int = T0) -> list[tuple[str, int, float]]:
    return sorted(
        (f'node|load{{instance="i{i}",job="node"}}', T0 + n * STEP, load(i, n))
        for i, n in places()
        if T0 + n * STEP > after
    )


def test_every_sample_comes_once_and_in_step(server: Server, make: Make) -> None:
    messages, positions = read_all(make(server.url), None)
    assert [m.index for m in messages] == list(range(len(messages)))
    found = samples(messages)
    assert sorted(s for s in found if "load" in s[0]) == loads()
    rates = {(key, at): value for key, at, value in found if "hits:rate1m" in key}
    assert len(rates) == len(found) - len(loads()) == INSTANCES * (SAMPLES - 1)
    assert rates['node|hits:rate1m{instance="i2",job="node"}', END] == pytest.approx(3 / STEP)
    assert messages[0].file == f"query 1, {rfc3339((T0 + STEP) * NS)} to {rfc3339((T0 + 3 * STEP) * NS)}"
    # by no more than the lateness is one query ahead of another: else its samples would make theirs late
    assert all(max(p.values()) - min(p.values()) <= 1000 * 3 * STEP for p in positions[1:])


def test_it_begins_one_step_before_now_less_the_delay(server: Server, make: Make) -> None:
    source = make(server.url, Clock(END - 7 + DELAY), history=Duration(0))
    messages, positions = read_all(source, None)
    assert {at for _, at, _ in samples(messages)} == {END - STEP}
    assert len(messages) == 2
    assert source.read(positions[-1], CHUNK) == ([], positions[-1])


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(waits=st.lists(st.tuples(st.integers(0, 1500), st.integers(1, 9), st.booleans()), max_size=8))
def test_whenever_it_is_read_the_samples_are_the_same_and_each_stretch_again_has_the_same_bytes(
    server: Server, make: Make, waits: list[tuple[int, int, bool]]
) -> None:
    clock = Clock(T0 + 900)
    source = make(server.url, clock, history=Duration(600 * NS))
    (_, position), messages, stretches = source.read(None, CHUNK), [], []
    for seconds, reads, restarted in [*waits, (5000, 10**6, True)]:
        clock.now = min(clock.now + seconds * NS, (END + DELAY) * NS)
        if restarted:
            source = make(server.url, clock)
        for _ in range(reads):
            some, after = source.read(position, CHUNK, len(messages))
            if not some and after == position:
                break
            stretches.append((position, after, len(messages), some))
            messages += some
            position = after
    assert sorted(s for s in samples(messages) if "load" in s[0]) == loads(T0 + 900 - DELAY - 600)
    other = make(server.url, clock)
    assert all(other.between(before, after, first) == some for before, after, first, some in stretches)


def test_queries_may_come_and_go(server: Server, make: Make) -> None:
    clock = Clock(T0 + 600 + DELAY)
    _, positions = read_all(make(server.url, clock, queries=["load", "up"]), None)
    clock.now += 300 * NS
    messages, _ = read_all(make(server.url, clock, queries=['load{instance="i1"}', "load"]), positions[-1])
    # a new one begins where the others stand
    assert {at for _, at, _ in samples(messages)} == set(range(T0 + 600 + STEP, T0 + 901, STEP))
    assert len(samples(messages)) == (1 + INSTANCES) * 300 // STEP


def test_stretches_without_a_sample_are_passed_without_a_message(server: Server, make: Make) -> None:
    source = make(server.url, queries=["nothing_of_this_name"])
    messages, positions = read_all(source, None)
    assert messages == []
    assert list(positions[-1].values()) == [END * 1000]


def test_a_query_that_is_refused_is_told_and_does_not_stop_the_others(server: Server, make: Make) -> None:
    queries = ["load{", "load + on(job) load", "load"]
    source = make(server.url, Clock(T0 + 150 + DELAY), queries=queries, history=Duration(150 * NS))
    messages, _ = read_all(source, None)
    told = [(m.file[:7], m.body.decode()) for m in messages if m.form == "refused"]
    assert len([t for t in told if t[0] == "query 1"]) == 4  # one a stretch of three steps or less
    assert told[0][1].startswith("Prometheus refuses the query: ")
    assert "parse error" in told[0][1]
    assert any("many-to-many" in text for place, text in told if place == "query 2")
    good = [m for m in messages if m.form == "json"]
    assert sorted(samples(good)) == [s for s in loads() if s[1] <= T0 + 150]


@pytest.mark.parametrize(("limit", "value"), [("MAX_SAMPLES", 33), ("MAX_BYTES", 1500)])
def test_too_large_an_answer_is_asked_for_in_shorter_stretches(
    server: Server, make: Make, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    source = make(server.url, queries=["load"], lateness=40 * STEP * NS)
    whole, _ = read_all(source, None)
    monkeypatch.setattr(f"opintel.streams.connectors.prometheus.{limit}", value)
    messages, positions = read_all(source, None)
    assert len(messages) > 4 * len(whole)  # halved three times and more
    assert sorted(samples(messages)) == loads()
    for before, after, one in zip(positions[1:], positions[2:], messages, strict=False):
        assert source.between(before, after, one.index) == [one]


@pytest.mark.parametrize(("limit", "value"), [("MAX_SAMPLES", INSTANCES - 1), ("MAX_BYTES", 100)])
def test_what_is_too_large_for_one_step_is_refused(
    server: Server, make: Make, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(f"opintel.streams.connectors.prometheus.{limit}", value)
    source = make(server.url, Clock(T0 + 60 + DELAY), queries=["load"], history=Duration(60 * NS))
    messages, _ = read_all(source, None)
    assert [m.file for m in messages] == [f"query 1, {rfc3339((T0 + n * STEP) * NS)}" for n in range(1, 5)]
    assert {m.form for m in messages} == {"refused"}
    assert all(b"split it into queries that select fewer series" in m.body for m in messages)


class Torn:
    """A log that appends only a part of what it is given and then fails, as a crash between partitions would."""

    def __init__(self, bus: Log, entries: int) -> None:
        self._bus, self._left = bus, entries

    def __getattr__(self, name: str) -> object:
        return getattr(self._bus, name)

    def append(self, entries: Sequence[Entry]) -> None:
        part = entries[: self._left]
        self._left -= len(part)
        self._bus.append(part)
        if len(part) < len(entries):
            raise ConnectionError("torn")


def feed_of(source: PrometheusSource, bus: Log, clock: Clock) -> ReplayableFeed:
    ingester = Ingester(bus, HEALTH_STREAM, PIPELINE, HealthWire(), "prometheus", live=True, replayable=True)
    return ReplayableFeed(source, ingester, clock)


def take_all(feed: ReplayableFeed) -> None:
    while feed.step():
        pass


def in_log(bus: Log) -> list[tuple[str, int, float]]:
    """The samples in the log, in order; none may have come behind the close of its window, by a row or a tick."""
    grid, found = Grid(HEALTH_STREAM.window), []
    for p in range(HEALTH_STREAM.partitions):
        watermark = NEVER
        for _, value, _ in bus.read(HEALTH_STREAM.topic, p, 0, 10**6):
            record = CODEC.decode(value)
            if isinstance(record, Rows | Tick):
                watermark = max(watermark, record.wm)
            if isinstance(record, Rows):
                rows = list(record.batch.rows())
                assert all(grid.at_or_after(row.time + 1) > watermark for row in rows)
                found += [(row.key, row.time // NS, row.payload.value) for row in rows]
    return sorted(found)


def ticks(bus: Log) -> list[Tick]:
    records = (CODEC.decode(value) for _, value, _ in bus.read(HEALTH_STREAM.topic, 0, 0, 10**6))
    return [record for record in records if isinstance(record, Tick)]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 25), max_size=4))
def test_crashes_between_two_partitions_lose_and_double_nothing_and_make_nothing_late(
    server: Server, make: Make, tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    bus, clock, past = SqliteLog(tmp_path_factory.mktemp("log") / "log.db"), Clock(), Duration(600 * NS)
    for entries in cuts:
        try:
            take_all(feed_of(make(server.url, clock, history=past), Torn(bus, entries), clock))  # type: ignore[arg-type]
        except ConnectionError:
            continue
    take_all(feed_of(make(server.url, clock, history=past), bus, clock))
    found = in_log(bus)
    assert [s for s in found if "load" in s[0]] == loads(END - 600)
    assert len(found) == 2 * len(loads(END - 600))
    assert bus.asides() == []
    bus.close()


def test_a_tick_says_no_more_than_was_listened_to(server: Server, make: Make, tmp_path: Path) -> None:
    bus, clock = SqliteLog(tmp_path / "log.db"), Clock(T0 + 300 + DELAY)
    feed = feed_of(make(server.url, clock, history=Duration(300 * NS)), bus, clock)
    while clock.now <= (T0 + 1500) * NS:
        take_all(feed)
        clock.now += 7 * NS  # seven does not divide a step
    found = ticks(bus)
    assert len(found) > 15
    for tick in found:  # all up to then was read before it, and no more could be
        assert tick.listened == tick.arrival - HEALTH_STREAM.lateness
        assert tick.arrival - STEP * NS < tick.source.seen <= tick.arrival
    assert [s for s in in_log(bus) if "load" in s[0]] == [s for s in loads() if s[1] <= clock.now // NS - 7 - DELAY]
    bus.close()


def test_while_it_is_away_nothing_ticks_and_then_nothing_is_lost_or_doubled(
    server: Server, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("opintel.streams.feeds.FIRST_PAUSE", 0.0)
    monkeypatch.setattr("opintel.streams.feeds.LONGEST_PAUSE", 0.0)
    bus, clock = SqliteLog(tmp_path / "log.db"), Clock(T0 + 900 + DELAY)
    feed = feed_of(make(server.url, clock, history=Duration(900 * NS)), bus, clock)
    take_all(feed)
    before = len(ticks(bus))
    assert before == 1
    server.kill()
    clock.now = (END + DELAY) * NS
    try:
        assert not any(feed.step() for _ in range(5))
        assert len(ticks(bus)) == before
        assert f"Prometheus {server.url} cannot be reached" in caplog.text
    finally:
        server.start()
    take_all(feed)
    assert [s for s in in_log(bus) if "load" in s[0]] == loads()
    assert ticks(bus)[-1].arrival == END * NS
    bus.close()


def test_what_is_refused_has_its_place_in_the_log(server: Server, make: Make, tmp_path: Path) -> None:
    bus, clock = SqliteLog(tmp_path / "log.db"), Clock(T0 + 15 + DELAY)
    queries = ["load", "rate(hits_total[1m])", "load{"]
    take_all(feed_of(make(server.url, clock, queries=queries, history=Duration(0)), bus, clock))
    told = {(a.kind, a.place.split(",")[0]): a.reason for a in bus.asides("health.ingest")}
    assert told["dead", "query 3"].startswith("Prometheus refuses the query: ")
    assert "name" in told["dead", "query 2"]  # a rate has lost its name: the wire says so
    assert {place for _, place in told} == {"query 2", "query 3"}
    assert len(in_log(bus)) == INSTANCES
    bus.close()


class Exporter:
    """Two gauges for a Prometheus to collect."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = f'# TYPE level gauge\nlevel{{tank="a"}} {time.time() % 60}\nlevel{{tank="b"}} 2\n'.encode()
                self.send_response(200)
                self.send_header("content-type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing to say."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.place = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collecting(binary: Path, tmp_path: Path) -> Iterator[Server]:
    exporter = Exporter()
    config = (
        "global: {scrape_interval: 1s}\nscrape_configs:\n"
        f"  - {{job_name: tanks, static_configs: [{{targets: ['{exporter.place}']}}]}}\n"
    )
    (tmp_path / "server").mkdir()
    server = Server(binary, tmp_path / "server", config)
    server.start()
    yield server
    server.kill()
    exporter.close()


def test_opintel_run_brings_what_prometheus_collects_into_the_log(collecting: Server, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPINTEL_")}
    cli = [sys.executable, "-m", "opintel.cli"]
    subprocess.run([*cli, "init", "etc"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    (tmp_path / "etc/streams/fts.yaml").unlink()
    (tmp_path / "etc/streams/health.yaml").write_text(
        "name: health\ndomain: health\ntopic: health.metrics\n"
        "window: 2s\nlateness: 1s\nskew: 1s\ninterval: 1s\n"
        f"prometheus:\n  url: {collecting.url}\n  queries: [level, 'up{{job=\"tanks\"}}']\n  step: 1s\n  delay: 2s\n"
    )
    checked = subprocess.run([*cli, "check", "etc"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    run = [*cli, "run", "ingest", "stage1", "stage2", "--config", "etc", "--data", "data"]
    times: list[int] = []
    for _ in range(2):
        with (tmp_path / "said").open("wb") as said:
            child = subprocess.Popen(run, cwd=tmp_path, env=environment, stderr=said)
            try:
                known = len(times)
                eventually(lambda known=known: len(level_times(tmp_path)) >= known + 4)  # type: ignore[misc]
                child.send_signal(signal.SIGTERM)
                assert child.wait(20) == 0, (tmp_path / "said").read_text()
            finally:
                child.kill()
                child.wait()
        times = level_times(tmp_path)
    # one a second, over the restart too
    assert times == list(range(times[0], times[-1] + 1))
    bus = SqliteLog(tmp_path / "data/log.db")
    try:
        assert {group for (group, _, _), at in bus.committed().items() if at > 0} == {"stage1", "stage2"}
        assert bus.aside_counts() == {}
    finally:
        bus.close()


def level_times(folder: Path) -> list[int]:
    """s of the samples of tank b in the log, in order of the log."""
    if not (folder / "data/log.db").exists():
        return []
    bus = SqliteLog(folder / "data/log.db")
    try:
        return [
            row.time // NS
            for p in range(4)
            for _, value, _ in bus.read("health.metrics", p, 0, 10**6)
            if isinstance(record := CODEC.decode(value), Rows)
            for row in record.batch.rows()
            if "level{" in row.key and 'tank="b"' in row.key
        ]
    finally:
        bus.close()
