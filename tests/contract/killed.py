"""What a child process runs: it plays a case and kills itself with SIGKILL at a step of the worker or the ingester. The
product has no switch for this: the harness wraps the log and the checkpoints.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from opintel.streams.checkpoints import Checkpoints

from .cases import CASES
from .harness import LOGS, drain, feed, workers

STEPS = ("read", "put_asides", "append", "put", "commit")


def main(folder: Path, name: str, count: int, step: str | None = None) -> None:
    """`step` is `before:append`, `after:put` …; it is the `count`th that kills (0: none does), of any name without
    `step`.
    """
    seen = 0

    def reached(label: str) -> None:
        nonlocal seen
        seen += step is None or label == step
        if seen == count:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrapped(method: str, call: Callable) -> Callable:
        def around(*args, **kwargs):
            reached(f"before:{method}")
            result = call(*args, **kwargs)
            reached(f"after:{method}")
            return result

        return around

    case = next(c for c in CASES if c.name == name)
    bus = LOGS["sqlite"](folder)
    for method in STEPS:
        if hasattr(bus, method):
            setattr(bus, method, wrapped(method, getattr(bus, method)))
    Checkpoints.put = wrapped("put", Checkpoints.put)  # type: ignore[method-assign]
    team = workers(bus, case, folder, batch=16, checkpoint_bytes=4096)
    for _ in feed(bus, case):
        for worker in team:
            worker.step()
    drain(team)
