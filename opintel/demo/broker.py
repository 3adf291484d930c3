"""A Kafka broker of one's own on loopback, for the demo and the tests: a real one, with its data in a folder.

Its settings are the shipped `deploy/kafka/server.properties` with ports and folder of its own; its jars come from
`make parts`, from an Apache distribution (`KAFKA_HOME`), or by Maven into the user's cache. It never outlives the
process that started it, however that ends.
"""

from __future__ import annotations

import base64
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

START, STOP = 60.0, 20.0
"""s that a broker may take to answer, and to stop before it is killed."""
_TAIL = 2000
_HERE = Path(__file__).resolve()


class BrokerError(Exception):
    """A broker cannot be had or does not start; says why, with the end of its log."""


class Broker:
    """One broker and controller; `start` and `stop` or `kill` as often as you like, the data stay in `folder`.

    `port` 0 takes a free one, the same at every start. `properties` go over the shipped ones.
    """

    def __init__(
        self, folder: Path, *, port: int = 0, properties: Mapping[str, str] | None = None, jars: Path | None = None
    ) -> None:
        self.folder = folder
        self.port, controller = port or free_port(), free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self._jars = jars
        self._properties = {
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
            "log.dirs": str(folder.absolute() / "logs"),
            **(properties or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Of the running broker."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self, timeout: float = START) -> None:
        """Formats the folder at the first time, starts, and returns when the broker answers. Raises BrokerError."""
        if self.pid is not None:
            return
        self._end_guard()
        jars = self._jars = self._jars or find_jars()
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self.folder / "server.properties"
        own = "".join(f"{key}={value}\n" for key, value in self._properties.items())
        settings.write_text(f"{(shipped_folder() / 'server.properties').read_text()}\n{own}")
        self._format(jars, settings)
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                _java(jars, "kafka.Kafka", str(settings)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in a terminal ends us first, and we end the broker
            )
        # Ends the broker when our end of the pipe is closed, by us or by our death of whatever kind. (Linux's
        # PR_SET_PDEATHSIG would fire already when the thread ends that started the broker.)
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", f"read _; kill -9 {self._process.pid}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._await(timeout)

    def stop(self) -> None:
        """Lets the broker flush and leave; kills it if that takes longer than `STOP` s."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._process.wait()
        self._end_guard()

    def kill(self) -> None:
        """SIGKILL: what a power cut of the broker looks like, but for the page cache."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._end_guard()

    def tail(self) -> str:
        """The end of the broker's log, without stack frames."""
        try:
            return _last_lines((self.folder / "broker.log").read_bytes()[-16 * _TAIL :].decode(errors="replace"))
        except FileNotFoundError:
            return ""

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _format(self, jars: Path, settings: Path) -> None:
        if Path(self._properties["log.dirs"], "meta.properties").exists():
            return
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")
        tool = _java(jars, "kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", str(settings))
        done = subprocess.run(tool, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise BrokerError(f"formatting {self.folder} failed: {_last_lines(done.stderr or done.stdout)}")

    def _await(self, timeout: float) -> None:
        """A broker listens for clients only when it is ready to serve them."""
        assert self._process is not None
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                self._end_guard()
                raise BrokerError(f"the broker ended with {self._process.returncode}; its log ends:\n{self.tail()}")
            with socket.socket() as probe:
                probe.settimeout(1.0)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        self.kill()
        raise BrokerError(f"the broker did not answer within {timeout:g} s; its log ends:\n{self.tail()}")

    def _end_guard(self) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.wait()
            assert self._guard.stdin is not None
            self._guard.stdin.close()
            self._guard = None


def find_jars() -> Path:
    """The folder of Kafka's jars: of `make parts`, of `KAFKA_HOME`, of the user's cache, where Maven puts them now.

    Raises BrokerError that says what to install.
    """
    if shutil.which("java") is None:
        raise BrokerError("a Kafka broker needs Java 17 or newer (Debian: default-jdk-headless)")
    parts = os.environ.get("OPINTEL_PARTS") or _HERE.parents[2] / ".parts"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "opintel"
    places = [Path(parts, "kafka"), cache / "kafka"]
    if os.environ.get("KAFKA_HOME"):
        places.insert(1, Path(os.environ["KAFKA_HOME"], "libs"))
    found = next((place for place in places if any(place.glob("kafka_2.*.jar"))), None)
    return found or _fetch(cache)


def shipped_folder() -> Path:
    """Where `server.properties` and `pom.xml` are: in an installed wheel, or in a checkout."""
    in_wheel, in_checkout = _HERE.parents[1] / "_defaults" / "kafka", _HERE.parents[2] / "deploy" / "kafka"
    return in_wheel if in_wheel.is_dir() else in_checkout


def free_port() -> int:
    """A port of 127.0.0.1 that is free now.

    Below those that the system gives to outgoing connections (Linux: from 32768): a client that tries a dead broker's
    port again and again would one day be given that port itself, and keep the broker from coming back.
    """
    for _ in range(100):
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise BrokerError("no free port of 127.0.0.1 between 20000 and 32000")


def _fetch(cache: Path) -> Path:
    """By Maven, into a folder beside the place, then moved: whole or not at all."""
    if shutil.which("mvn") is None:
        raise BrokerError(
            "no Kafka here: set KAFKA_HOME to an unpacked Apache distribution (kafka.apache.org/downloads), or install"
            " Maven (Debian: maven), which fetches it (45 MB)"
        )
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as work:
            pom = shutil.copy(shipped_folder() / "pom.xml", work)
            copy = ("dependency:copy-dependencies", f"-DoutputDirectory={work}/jars", "-DincludeScope=runtime")
            subprocess.run(["mvn", "-B", "-q", "-f", pom, *copy], check=True, capture_output=True, text=True)
            shutil.rmtree(cache / "kafka", ignore_errors=True)
            Path(work, "jars").rename(cache / "kafka")
    except subprocess.CalledProcessError as error:
        raise BrokerError(f"Maven could not fetch Kafka: {_last_lines(error.stderr or error.stdout or '')}") from error
    except OSError as error:
        raise BrokerError(f"{cache} cannot hold Kafka: {error.strerror}") from error
    return cache / "kafka"


def _last_lines(text: str) -> str:
    """What a Java program says, without its stack frames; at most `_TAIL` characters of the end."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("\t")).strip()[-_TAIL:]


def _java(jars: Path, *command: str) -> list[str]:
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    # what lives for minutes gains nothing from the second compiler, which would cost more than the broker itself
    return ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", quiet, "-cp", f"{jars}/*", *command]
