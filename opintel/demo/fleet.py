"""A demo's services as processes of their own: `opintel run SERVICE`, each started again when it ends, as a supervisor
would.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opintel.site.errors import UserError
from opintel.streams.loop import LEAVE

TRIES = 5
"""Restarts of one service after which something else must be wrong."""
log = logging.getLogger(__name__)


class Fleet:
    """Processes by name. Their stderr goes to files in `logs`; they leave when we die."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._arguments: dict[str, Sequence[str]] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._restarts: dict[str, int] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, *arguments: str) -> None:
        """Starts `opintel ARGUMENTS` as the service `name`."""
        self._arguments[name], self._restarts[name] = arguments, 0
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
