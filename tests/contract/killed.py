"""Run as a child process: plays a case and kills itself with SIGKILL at a named step of the worker or the ingester.

`python killed.py FOLDER CASE COUNT [STEP]` where STEP is `before:append`, `after:put` … and COUNT its occurrence (-1:
never); without STEP the COUNTth step of any name. The product has no switch for this: the harness wraps the log and
the checkpoints.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from contract.cases import CASES
from contract.harness import LOGS, drain, feed, workers
from opintel.streams.checkpoints import Checkpoints

STEPS = ("read", "put_asides", "append", "put", "commit")


def main(folder: Path, name: str, count: int, step: str | None) -> None:
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


if __name__ == "__main__":
    if sys.argv[3] == "-1":
        count, step = 0, None
    else:
        count, step = int(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else None
    main(Path(sys.argv[1]), sys.argv[2], count, step)
