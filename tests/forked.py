"""Processes that a test may kill, without the second of imports that each would begin with: a server imports what they
need once and forks them. Each is a process of its own, with nothing of the test's own process in it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "httpx",
        "pytest",
        "opintel.alerts.delivery",
        "opintel.alerts.service",
        "opintel.alerts.sinks.webhook",
        "opintel.dqm.quality.judge",
        "opintel.dqm.simulated.simulate",
        "opintel.dqm.wire",
        "opintel.fts.pipeline",
        "opintel.fts.simulated.simulate",
        "opintel.health.pipeline",
        "opintel.health.wire",
        "opintel.site.clustering.service",
        "opintel.streams.ingest",
        "opintel.streams.log_kafka",
        "opintel.streams.log_sqlite",
        "opintel.streams.worker",
    ]
)


def exit_code(function: Callable[..., object], *arguments: Any, seconds: float = 120.0) -> int:
    """Calls a function of a module in a process of its own; its exit status, −9 for SIGKILL, 1 for an exception, whose
    traceback is on stderr. TimeoutError where it does not end.
    """
    return exit_codes(function, [arguments], seconds)[0]


def exit_codes(
    function: Callable[..., object], arguments: Sequence[tuple[Any, ...]], seconds: float = 120.0
) -> list[int]:
    """The same of several processes at once, each with arguments of its own."""
    children = [_FORKS.Process(target=function, args=its) for its in arguments]
    for child in children:
        child.start()
    codes: list[int] = []
    for child in children:
        child.join(seconds)
        if child.exitcode is None:
            child.kill()
            child.join()
            raise TimeoutError(f"expected {function.__module__}.{function.__name__} to end within {seconds:g} s")
        codes.append(child.exitcode)
    return codes
