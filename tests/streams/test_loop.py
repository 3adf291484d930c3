"""The loop of a process: turns, leaving on SIGTERM, and the watchdog; vitals and their metrics."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from contract.cases import TOY_CASE, TOY_STREAM
from contract.harness import LOGS, drain, feed, workers
from contract.toy import TOY, ToyWire

from opintel.detector import Message
from opintel.finding import NS
from opintel.streams.ingest import Ingester, create_topics
from opintel.streams.log import Aside, Entry
from opintel.streams.loop import STALLED_EXIT, Stop, Watchdog, run
from opintel.streams.vitals import Stored, Vitals, lag, stream_status

T0 = 1_700_000_000 * NS


class Counted:
    """Works `n` times; remembers that it was closed."""

    def __init__(self, n: int) -> None:
        self.name, self.left, self.closed = f"c{n}", n, False

    def step(self) -> bool:
        self.left -= self.left > 0
        return self.left > 0

    def idle(self) -> bool:
        return self.left == 0

    def close(self) -> None:
        self.closed = True


def test_until_idle_waits_for_the_last_service() -> None:
    services = [Counted(3), Counted(50)]
    run(services, Stop(), until_idle=True)
    assert [s.left for s in services] == [0, 0]
    assert all(s.closed for s in services)


def test_an_error_of_a_service_closes_all_and_is_raised() -> None:
    services = [Counted(3), Counted(50)]
    services[0].step = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(ZeroDivisionError):
        run(services, Stop())
    assert all(s.closed for s in services)


CHILD = """
import sys, time
from opintel.streams.loop import Stop, Watchdog, run, stop_on_signals
class Service:
    name = "sleeper"
    def step(self):
        print("turn", flush=True)
        time.sleep(float(sys.argv[1]))
        return True
    def idle(self): return False
    def close(self): print("closed", flush=True)
stop = Stop()
with stop_on_signals(stop):
    run([Service()], stop, watchdog=Watchdog(float(sys.argv[2])))
"""


def child(turn: float, patience: float) -> subprocess.Popen[str]:
    started = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(turn), str(patience)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "turn\n"
    return started


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_orderly(number: signal.Signals) -> None:
    started = child(0.05, 60)
    os.kill(started.pid, number)
    out, _ = started.communicate(timeout=60)
    assert out.endswith("closed\n")
    assert started.returncode == 0


def test_a_hanging_service_is_told_with_its_stack_and_the_process_ends() -> None:
    started = child(60, 0.3)
    _, err = started.communicate(timeout=60)
    assert started.returncode == STALLED_EXIT
    assert "service sleeper has not come back" in err
    assert "in step" in err


BUSY_CHILD = """
import sys, time
from opintel.streams.loop import Stop, Watchdog, run, stop_on_signals
class Service:
    name = "worker"
    def step(self):
        print("turn", flush=True)
        for _ in range(60):  # a turn of 0.6 s of its own time, of 2 that it may take
            time.sleep(0.01)
        return True
    def idle(self): return False
    def close(self): print("closed", flush=True)
stop = Stop()
with stop_on_signals(stop):
    run([Service()], stop, watchdog=Watchdog(1.0))
"""


def test_a_process_that_was_paused_does_not_hang() -> None:
    paused = subprocess.Popen(
        [sys.executable, "-c", BUSY_CHILD], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert paused.stdout is not None
    assert paused.stdout.readline() == "turn\n"
    paused.send_signal(signal.SIGSTOP)
    time.sleep(3.0)
    paused.send_signal(signal.SIGCONT)
    assert paused.stdout.readline() == "turn\n"
    paused.send_signal(signal.SIGTERM)
    out, err = paused.communicate(timeout=60)
    assert paused.returncode == 0, err
    assert out.endswith("closed\n")
    assert "has not come back" not in err


def test_the_watchdog_is_quiet_while_services_come_back() -> None:
    watchdog = Watchdog(0.1)
    watchdog.begin("a", apart=True)
    assert watchdog.stalled() is None
    while (found := watchdog.stalled()) is None:
        time.sleep(0.01)
        watchdog.look()
    assert found[0] == "a"
    assert found[1] >= 0.1
    watchdog.rest()
    assert watchdog.stalled() is None


def test_status_counts_lag_asides_and_the_watermark(tmp_path: Path) -> None:
    bus = LOGS["sqlite"](tmp_path)
    team = workers(bus, TOY_CASE, tmp_path)
    for _ in feed(bus, TOY_CASE):
        pass
    before = stream_status(bus, TOY_STREAM)
    assert before.lag == sum(bus.end(TOY_STREAM.topic, p) for p in range(4)) > 0
    assert before.messages == len(TOY_CASE.messages())
    drain(team)
    after = stream_status(bus, TOY_STREAM)
    assert after.lag == lag(bus, TOY_STREAM) == 0
    assert after.asides["late"] > 0
    assert after.asides["dead"] > 0
    assert after.asides["gap"] == 0
    assert after.watermark is not None
    bus.append([Entry(TOY_STREAM.topic, 2, b"junk")])
    assert stream_status(bus, TOY_STREAM).watermark == after.watermark


def test_a_file_withholds_nothing_however_old_it_is(tmp_path: Path) -> None:
    bus = LOGS["sqlite"](tmp_path)
    long_after = T0 + 1000 * TOY_STREAM.interval
    ingester = Ingester(bus, TOY_STREAM, TOY, ToyWire(), "files:a", live=False)
    ingester.take([Message(f"a.k1 {T0} 1".encode())], 1, long_after)
    ingester.finish(long_after)
    status = stream_status(bus, TOY_STREAM)
    assert status.arrival == long_after
    assert not status.live
    assert status.withheld is None


def test_metrics_pass_promtool(part: Callable[[str], Path], tmp_path: Path) -> None:
    bus = LOGS["sqlite"](tmp_path)
    team = workers(bus, TOY_CASE, tmp_path)
    for _ in feed(bus, TOY_CASE):
        pass
    drain(team)
    vitals = Vitals(
        bus,
        [TOY_STREAM],
        now=time.time_ns,
        stalled=lambda: False,
        stored=lambda: Stored({("toy", "total"): 5}, {("toy", "open"): 1}),
        parts=lambda: {"alerts": (2, False)},
    )
    text = vitals.text()
    checked = subprocess.run([part("promtool"), "check", "metrics"], input=text, capture_output=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for line in (b'opintel_messages_total{stream="toy"}', b'opintel_asides_total{kind="late",stream="toy"}'):
        assert line in text
    assert b'opintel_findings_total{kind="total",stream="toy"} 5.0' in text


def test_asides_are_of_the_streams_own_topics_whatever_their_names(tmp_path: Path) -> None:
    bus = LOGS["sqlite"](tmp_path)
    stream = TOY_STREAM._replace(topic="site.transfers")
    create_topics(bus, stream)
    topics = ("site.transfers", stream.derived, "toy.ingest", "toy.controls", "toy.other", "site.other")
    bus.put_asides([Aside("dead", topic, 0, 1, 0, "bad") for topic in topics])
    assert stream_status(bus, stream).asides["dead"] == 4


def test_records_that_are_gone_are_no_lag(tmp_path: Path) -> None:
    bus = LOGS["sqlite"](tmp_path)
    create_topics(bus, TOY_STREAM)
    bus.append([Entry(TOY_STREAM.topic, 1, b"x") for _ in range(7)])
    assert lag(bus, TOY_STREAM) == 7
    bus.trim(TOY_STREAM.topic, time.time_ns())
    bus.append([Entry(TOY_STREAM.topic, 1, b"x")])
    assert lag(bus, TOY_STREAM) == 1


def test_metrics_without_the_topics_say_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bus = LOGS["sqlite"](tmp_path)
    vitals = Vitals(bus, [TOY_STREAM], now=time.time_ns, stalled=lambda: False, stored=lambda: None)
    assert b"opintel_log_up 0.0" in vitals.text()
    vitals.text()
    assert [r.getMessage() for r in caplog.records] == [
        f"no metrics of the log: {tmp_path / 'log.db'}: no topic 'toy.raw'"
    ]
    create_topics(bus, TOY_STREAM)
    assert b"opintel_log_up 1.0" in vitals.text()
