"""A child process that archives a log and kills itself with SIGKILL between two. The product
has no switch for this: the calls to the system are wrapped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from contract.archived import DAYS, archivers, small_files

from opintel.streams.archive.store import ArchiveStore
from opintel.streams.log_sqlite import SqliteLog


def killed(log: Path, url: str, step: str, count: int) -> None:
    """Archives the raw topic of a log until the `count`th call of a kind (`any`: of all kinds) ends the process."""
    small_files(setattr)
    seen = 0

    def wrapped(kind: str, call: Callable) -> Callable:
        def around(*args, **kwargs):
            nonlocal seen
            mine = step in (kind, "any")
            seen += mine
            if seen == count and mine:
                if kind == "write":  # some of it is there
                    args[0]._put = lambda name, body: half(Path(url, name), body)
                    call(*args, **kwargs)
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return around

    def half(path: Path, body: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(f".{path.name}.torn.part").write_bytes(body[: len(body) // 2])

    ArchiveStore.write = wrapped("write", ArchiveStore.write)  # type: ignore[method-assign]
    ArchiveStore.remove = wrapped("remove", ArchiveStore.remove)  # type: ignore[method-assign]
    os.fsync, os.replace = wrapped("fsync", os.fsync), wrapped("rename", os.replace)
    bus = SqliteLog(log)
    bus.commit = wrapped("commit", bus.commit)  # type: ignore[method-assign]
    team = archivers(bus, url, DAYS)
    while sum(one.step() for one in team):
        pass
