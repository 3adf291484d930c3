"""Who looks at a cluster's topics must be alone: from then on this process reads them as they are now, and a step under
way would go on in a re-created topic with what it knows of the old one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 2.0
"""Seconds that a look waits for the steps under way: the topics of one that hangs are compared at its next turn."""


class Gate:
    """Steps, which may overlap, and looks, which do not overlap with them. A step makes no look.

    `patience`: 0 for the embedded log, whose topics are never re-created.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._changed = threading.Condition()
        self._steps: set[object] = set()
        self._looking = False

    @contextmanager
    def step(self) -> Iterator[None]:
        """Waits while somebody looks."""
        with self._changed:
            self._changed.wait_for(lambda: not self._looking)
            step = object()
            self._steps.add(step)
        try:
            yield
        finally:
            with self._changed:
                self._steps.discard(step)
                self._changed.notify_all()

    @contextmanager
    def look(self) -> Iterator[None]:
        """Waits for the steps under way; for one that hangs no second time."""
        with self._changed:
            self._changed.wait_for(lambda: not self._looking)
            self._looking = True
            self._changed.wait_for(lambda: not self._steps, self._patience)
            self._steps.clear()
        try:
            yield
        finally:
            with self._changed:
                self._looking = False
                self._changed.notify_all()
