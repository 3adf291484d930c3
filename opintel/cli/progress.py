"""Progress of long work, on stderr, only on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def share_progress(title: str) -> Iterator[Callable[[float], None]]:
    """A bar; call what it yields with the share done, as often as you like."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda share: bar.update(task, completed=share)


@contextmanager
def bytes_progress(title: str, progress: Callable[[], tuple[int, int]]) -> Iterator[Callable[[], None]]:
    """The same for (bytes done, bytes there), which is asked for five times a second."""
    looked = 0.0

    with share_progress(title) as tell:

        def tick() -> None:
            nonlocal looked
            if time.monotonic() - looked > 0.2:
                looked = time.monotonic()
                done, there = progress()
                tell(done / max(there, 1))

        yield tick
