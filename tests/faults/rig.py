"""A site over a real broker whose services are processes that a small supervisor starts again, a story that is fed to
it piece by piece, and the comparison of what came of it with the undisturbed run of the same story.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from fcntl import LOCK_EX, flock
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import msgspec
import pytest
import yaml
from kafka import KafkaAdminClient

from opintel.alerts.sinks.webhook import read_secret
from opintel.demo.broker import Broker
from opintel.demo.receiver import Receiver
from opintel.fts.simulated.simulate import FtsSimulator
from opintel.site.load import load_site
from opintel.site.shipped import copy_shipped
from opintel.site.system import System
from opintel.store.database import open_store, sqlite_url
from opintel.store.queries import findings, incidents, outbox_empty
from opintel.streams.feeds import file_feed
from opintel.streams.ingest import CHUNK
from opintel.streams.log import LogUnavailable
from opintel.streams.vitals import lag, stream_status

STREAM = "fts"
HOURS, LONG_HOURS = 3.0, 12.0
RATE, LONG_RATE = 7_000.0, 12_000.0
"""Messages an hour of a short and of a long story: findings and incidents of each kind, quickly judged."""
SERVICES = ("ingest", "stage1", "stage2", "alerts", "delivery")
SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
LEAVE = 30.0
Json = dict[str, Any]


class Outcome(NamedTuple):
    """What a run came to. Findings by id, incidents with their tickets as the store has them; in the receiver: key →
    (times created, state, messages)."""

    findings: dict[str, Json]
    incidents: list[Json]
    tickets: dict[str, tuple[int, str, int]]


class Story(NamedTuple):
    """Messages in pieces of whole chunks, so that chunks and their stamps do not depend on when a piece appears."""

    long: bool
    pieces: list[bytes]
    expected: Outcome


class Row(NamedTuple):
    """A line of the soak's table."""

    scenario: str
    story: str
    kills: int
    findings: int
    differing: int
    incidents: int
    tickets: int
    doubled: int
    seconds: float


def shared_story(tmp_path_factory: pytest.TempPathFactory, *, long: bool = False) -> Story:
    """The story and what an undisturbed run of it comes to, made once for all processes of a test run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"undisturbed-{long}"
    folder.mkdir(exist_ok=True)
    kept = folder / "story"
    with (folder / "lock").open("w") as lock:
        flock(lock, LOCK_EX)
        if not kept.exists():
            made = tell(Path(mkdtemp(dir=folder)), LONG_HOURS if long else HOURS, long)
            kept.with_suffix(".part").write_bytes(msgspec.msgpack.encode(made))
            kept.with_suffix(".part").rename(kept)
    return msgspec.msgpack.decode(kept.read_bytes(), type=Story)


def tell(folder: Path, hours: float, long: bool, *, shipped: Path | None = None) -> Story:
    """A story and what an undisturbed run of it over the embedded log comes to (under another build's shipped YAML)."""
    messages = [body for _, body in FtsSimulator(seed=5, hours=hours, rate=LONG_RATE if long else RATE).messages()]
    pieces = [b"\n".join(messages[n : n + CHUNK]) + b"\n" for n in range(0, len(messages), CHUNK)]
    with closing(Receiver(read_secret(SECRET)).start()) as receiver:
        settings(folder / "etc", receiver.url, shipped=shipped)
        story = Story(long, pieces, Outcome({}, [], {}))
        (folder / "in").mkdir()
        publish(folder / "in", story.pieces, 0)
        run = command("run", "--ingest", f"{STREAM}=in", "--until-idle", "--config", "etc", "--data", "data")
        done = subprocess.run(run, cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return story._replace(expected=outcome(folder / "data", receiver))


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "opintel.cli", *arguments]


def settings(folder: Path, receiver: str, *, shipped: Path | None = None, **site: Any) -> None:
    """The shipped YAML (of another build's source tree); every incident is a ticket of the receiver by itself, retries
    come soon."""
    if shipped is None:
        copy_shipped(folder)
    else:
        for name in ("streams", "alerts"):
            shutil.copytree(shipped / name, folder / name)
    secret = folder / "secret"
    secret.write_text(SECRET)
    routes = {
        "sinks": {"tickets": {"type": "webhook", "url": f"{receiver}/tickets", "secret_file": str(secret)}},
        "routes": [{"sinks": ["tickets"], "ticket": "auto"}],
        "delivery": {"first": "1s", "longest": "2s"},
    }
    (folder / "alerts/routes.yaml").write_text(yaml.safe_dump(routes))
    (folder / "site.yaml").write_text(yaml.safe_dump(site))


def publish(folder: Path, pieces: Iterable[bytes], first: int) -> None:
    """Each piece becomes a file that is there as a whole or not at all."""
    for n, piece in enumerate(pieces, first):
        part = folder / f".{n:04d}.jsonl"
        part.write_bytes(piece)
        part.rename(folder / f"{n:04d}.jsonl")


def outcome(data: Path, receiver: Receiver) -> Outcome:
    store = open_store(sqlite_url(data / "store.db"))
    try:
        found, opened = findings(store), incidents(store)
    finally:
        store.close()
    plain: list[Json] = json.loads(msgspec.json.encode(found))
    tickets = {t["key"]: (t["created"], t["state"], len(t["sequences"])) for t in receiver.tickets()}
    return Outcome({one["id"]: one for one in plain}, json.loads(msgspec.json.encode(opened)), tickets)


class Service:
    """A process of `opintel run`, its stderr in a file."""

    def __init__(self, arguments: tuple[str, ...], log: Path, env: Mapping[str, str]) -> None:
        self.arguments, self.log, self.env = arguments, log, dict(env)
        self.exits: list[int] = []
        """Of those that ended and were started again."""
        self.process = self._spawn()

    @property
    def pid(self) -> int:
        return self.process.pid

    def told(self) -> str:
        return self.log.read_text(errors="replace")

    def again(self) -> None:
        """Starts it once more where it has ended."""
        if (code := self.process.poll()) is not None:
            self.exits.append(code)
            self.process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        env = {**os.environ, "PYTHONUNBUFFERED": "1", **self.env}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command("run", *self.arguments),
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                start_new_session=True,
            )


class Site:
    """A site's folder, its services and its ticket system. One at a time on a broker: `close` removes its topics."""

    def __init__(
        self, folder: Path, story: Story, broker: Broker, *, receiver: Receiver | None = None, **site: Any
    ) -> None:
        self.folder, self.story, self.broker = folder, story, broker
        self.receiver = receiver or Receiver(read_secret(SECRET)).start()
        self.services: dict[str, Service] = {}
        self.kills = 0
        self.fed = 0
        """Pieces."""
        self._began = time.monotonic()
        self.source = folder / "in"
        self.source.mkdir()
        settings(folder / "etc", self.receiver.url, bus={"bootstrap": [broker.bootstrap]}, **site)
        self.system = System(folder / "data", load_site(folder / "etc"))
        self.stream = self.system.stream(STREAM).stream

    # services

    def start(self, name: str, *services: str, env: Mapping[str, str] | None = None) -> Service:
        """`opintel run SERVICES` (default: the first word of the name) as `name`; it is started again when it ends."""
        chosen = services or (name.split()[0],)
        source = ("--ingest", f"{STREAM}={self.source}") if "ingest" in chosen else ()
        arguments = (*chosen, *source, "--config", "etc", "--data", "data")
        arguments += ("--port", "0") if "console" in chosen else ()
        self.services[name] = Service(arguments, self.folder / f"{name}.log", env or {})
        return self.services[name]

    def kill(self, name: str) -> None:
        """SIGKILL of a process that lives; it is started again by the next `look`."""
        process = self.services[name].process
        assert process.poll() is None, f"{name} had ended before it was killed: {self.services[name].told()[-1000:]}"
        process.kill()
        process.wait()
        self.kills += 1

    def leave(self, *names: str) -> None:
        """SIGTERM; they leave with 0 and are not started again."""
        gone = {name: self.services.pop(name) for name in names}
        for service in gone.values():
            service.process.send_signal(signal.SIGTERM)
        for name, service in gone.items():
            try:
                assert service.process.wait(LEAVE) == 0, f"{name}: {service.told()[-2000:]}"
            finally:
                service.process.kill()
                service.process.wait()

    def look(self) -> None:
        """The supervisor's round. A service ends by a kill of ours, or the test fails."""
        for name, service in self.services.items():
            service.again()
            assert set(service.exits) <= {-signal.SIGKILL}, f"{name} ended by itself: {service.told()[-2000:]}"
        assert sum(len(s.exits) for s in self.services.values()) <= self.kills

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.look()
            time.sleep(min(0.1, left))

    def until(self, holds: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                told = "\n".join(f"{name}: …{service.told()[-700:]}" for name, service in self.services.items())
                raise AssertionError(f"it did not come about: {what}\n{told}")
            self.look()
            time.sleep(0.1)

    def says(self, name: str, pattern: str, times: int = 1, seconds: float = 60.0) -> list[str]:
        """Waits until a service's log has the pattern so often; all its matches."""
        service = self.services[name]
        self.until(lambda: len(re.findall(pattern, service.told())) >= times, f"{name} says {pattern!r}", seconds)
        return re.findall(pattern, service.told())

    def url(self, name: str = "console") -> str:
        return self.says(name, r"console: (\S+)")[-1].rstrip("/")

    # the story

    def feed(self, share: float) -> None:
        """Gives the source more of the story, up to that share of it."""
        upto = max(self.fed, round(share * len(self.story.pieces)))
        publish(self.source, self.story.pieces[self.fed : upto], self.fed)
        self.fed = upto

    def taken(self) -> bool:
        """Whether the log has all that was fed and the two stages have worked on it."""
        return self._log(
            lambda: self._raw_messages() >= self._fed_messages() and lag(self.system.log, self.stream) == 0
        )

    def judged(self) -> bool:
        """Whether alerts have decided on all that is in the log."""
        return self.taken() and self._log(lambda: self.system.undecided() == 0)

    def finish(self) -> None:
        """The rest of the story, the end of its source (said by us, as the ingest tails it), and all of it judged."""
        self.feed(1.0)
        self.until(self.taken, "all was taken")
        watched = self.system.stream(STREAM)
        end = file_feed(lambda name: self.system.ingester(watched, name, live=False), [self.source], final=True)
        while end.step():
            pass
        self.until(self.judged, "all was judged")

    def settle(self) -> None:
        """Until the outbox is empty; then all leave."""
        self.until(lambda: outbox_empty(self.system.store), "all was sent")
        self.leave(*self.services)

    def outcome(self) -> Outcome:
        return outcome(self.folder / "data", self.receiver)

    def check(self, scenario: str, without: tuple[str, ...] = ()) -> Row:
        """Everything as in the undisturbed run: findings by id and content, incidents, each ticket once by its key.

        With `without`, findings of these detectors do not count, nor the words and pictures of the others.
        """
        row, found, expected = self.row(scenario), self.outcome(), self.story.expected
        ids = found.findings.keys() | expected.findings.keys()
        told = ("summary", "evidence") if without else ()
        both = [
            tuple(side.get(id) and {k: v for k, v in side[id].items() if k not in told} for side in sides)
            for sides in [(found.findings, expected.findings)]
            for id in sorted(ids)
        ]
        differing = [(one, other) for one, other in both if one != other and (one or other)["detector"] not in without]
        assert not differing, f"{len(differing)} findings differ, the first (found, expected): {differing[0]}"
        assert found.incidents == expected.incidents
        assert found.tickets == expected.tickets
        assert not row.doubled
        return row

    def row(self, scenario: str) -> Row:
        """What came of it, for the table."""
        found, expected = self.outcome(), self.story.expected
        ids = found.findings.keys() | expected.findings.keys()
        differing = sum(found.findings.get(id) != expected.findings.get(id) for id in ids)
        doubled = sum(created != 1 for created, _, _ in found.tickets.values())
        counts = (len(found.findings), differing, len(found.incidents), len(found.tickets), doubled)
        story = "long" if self.story.long else "short"
        return Row(scenario, story, self.kills, *counts, time.monotonic() - self._began)

    def close(self) -> None:
        """Ends what still runs and removes the topics."""
        for service in self.services.values():
            service.process.send_signal(signal.SIGTERM)
        for service in self.services.values():
            try:
                service.process.wait(LEAVE)
            except subprocess.TimeoutExpired:
                service.process.kill()
                service.process.wait()
        self.receiver.close()
        self.system.close()
        self.broker.start()
        empty(self.broker)

    def _raw_messages(self) -> int:
        return stream_status(self.system.log, self.stream).messages

    def _fed_messages(self) -> int:
        return sum(piece.count(b"\n") for piece in self.story.pieces[: self.fed])

    def _log(self, asked: Callable[[], bool]) -> bool:
        try:
            return asked()
        except LogUnavailable:
            return False


def empty(broker: Broker) -> None:
    """Removes all topics but Kafka's own, and waits until they are gone."""
    admin = KafkaAdminClient(bootstrap_servers=[broker.bootstrap])
    try:
        end = time.monotonic() + 30
        while names := [name for name in admin.list_topics() if not name.startswith("__")]:
            assert time.monotonic() < end, f"topics stay: {names}"
            admin.delete_topics(names, raise_errors=False)
            time.sleep(0.1)
    finally:
        admin.close()


def get(url: str) -> tuple[int, str]:
    """Status and text; (0, why) where no server answers."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)
