"""A demo's services as processes of their own: `opintel run SERVICE`, each started again when it ends, as a supervisor
would.

At first they are forked from this process, which has imported for all of them what takes seconds; one that is started
again is a process from scratch, as after a crash, because threads and connections have come up here meanwhile.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from opintel.site.domains import DOMAINS, pipeline_of
from opintel.site.errors import UserError
from opintel.streams.loop import LEAVE

TRIES = 5
"""Restarts of one service after which something else must be wrong."""
SHARED = (
    *("opintel.site.check", "opintel.site.team", "opintel.site.alerting", "opintel.site.delivery"),
    "opintel.site.clustering.service",
    *("opintel.site.sinks", "opintel.site.storage", "opintel.console.running", "opintel.console.app"),
)
"""What services import when they need it, besides domains and their simulators."""
Invoke = Callable[[Sequence[str]], int]
"""Runs `opintel ARGUMENTS` in this process; its exit code."""
log = logging.getLogger(__name__)


class Fleet:
    """Processes by name. Their stderr goes to files in `logs`; they leave when we die.

    `size` processes are forked at once, to be started later: this process must have no threads and connections yet.
    """

    def __init__(self, logs: Path, invoke: Invoke, size: int) -> None:
        self._logs = logs
        self._arguments: dict[str, Sequence[str]] = {}
        self._processes: dict[str, _Forked | subprocess.Popen[bytes]] = {}
        self._restarts: dict[str, int] = {}
        logs.mkdir(parents=True, exist_ok=True)
        for module in SHARED:
            import_module(module)
        for stories in filter(None, [pipeline_of(domain).stories for domain in DOMAINS]):
            stories()
        self._waiting: list[_Forked] = []
        for _ in range(size):
            self._waiting.append(_Forked(invoke, self._waiting))

    def start(self, name: str, *arguments: str) -> None:
        """Starts `opintel ARGUMENTS` as the service `name`."""
        self._arguments[name], self._restarts[name] = arguments, 0
        if self._waiting:
            self._processes[name] = forked = self._waiting.pop()
            forked.start(self._log(name), arguments)
        else:
            self._spawn(name)

    def kill(self, name: str) -> None:
        """SIGKILL; `look` starts it again."""
        self._processes[name].kill()

    def look(self) -> None:
        """Starts again what has ended. UserError where one keeps ending: it says why in its log."""
        for name, process in self._processes.items():
            if process.poll() is None:
                continue
            self._restarts[name] += 1
            if self._restarts[name] > TRIES:
                end = self._log(name).read_text(errors="replace").strip().splitlines()[-8:]
                raise UserError("\n".join([f"service {name} does not stay (exit {process.returncode}):", *end]))
            self._spawn(name)

    def leave(self, *names: str) -> None:
        """SIGTERM to the named (default: all), and SIGKILL to what is not gone in time; they are not started again."""
        leaving = {n: self._processes.pop(n) for n in names or tuple(self._processes)}
        for process in leaving.values():
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + LEAVE + 2
        for name, process in leaving.items():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("service %s did not leave in time", name)
                process.kill()
                process.wait()

    def listing(self) -> list[dict[str, Any]]:
        """[{name, pid, restarts}] of those that run."""
        return [{"name": n, "pid": p.pid, "restarts": self._restarts[n]} for n, p in self._processes.items()]

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _spawn(self, name: str) -> None:
        command = [sys.executable, "-m", "opintel.cli", *self._arguments[name]]
        with self._log(name).open("ab") as file:
            self._processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # they leave when it is closed: by our death, however it comes
                stdout=file,
                stderr=file,
                start_new_session=True,  # Ctrl-C is ours to hear
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )


class _Forked:
    """A process that was forked before it is known what it is to do; with what a fleet asks of a `Popen`."""

    def __init__(self, invoke: Invoke, others: Sequence[_Forked]) -> None:
        """`others`: forked before, whose pipes are not for this one."""
        self.returncode: int | None = None
        reading, self._writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            for other in others:
                os.close(other._writing)
            os.close(self._writing)
            _serve(invoke, reading)
        os.close(reading)

    def start(self, file: Path, arguments: Sequence[str]) -> None:
        """Has it run the command, its stdout and stderr going to the end of a file."""
        os.write(self._writing, msgspec.json.encode([str(file), *arguments]) + b"\n")

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
                os.close(self._writing)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired where it runs longer than so many s."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        """Sends a signal to it while it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _serve(invoke: Invoke, orders: int) -> None:
    """The life of a forked process: waits for its orders, which become its stdin (it leaves when that ends), and obeys.
    Ends the process."""
    code = 1
    try:
        os.setsid()  # Ctrl-C is its parent's to hear
        os.dup2(orders, 0)
        line = bytearray()
        while not line.endswith(b"\n"):
            if not (byte := os.read(0, 1)):
                os._exit(0)
            line += byte
        file, *arguments = msgspec.json.decode(bytes(line), type=list[str])
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        if (title := Path("/proc/self/comm")).exists():  # what `top` shows, on Linux
            title.write_text(Path(file).stem[:15])
        logging.getLogger().handlers.clear()  # the command has a way of its own to log
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = invoke(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
