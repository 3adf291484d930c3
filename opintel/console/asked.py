"""A question to something that may not answer: one at a time, in a thread of its own, so that no caller waits long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

WAIT = 3.0
"""Seconds that an answer may take."""
T = TypeVar("T")


class Asked(Generic[T]):
    """Asks `question` for everybody who wants to know."""

    def __init__(self, question: Callable[[], T]) -> None:
        self._question = question
        self._lock = threading.Lock()
        self._under_way: _Answer[T] | None = None

    def answer(self) -> T:
        """The answer, or the error that came instead. Raises TimeoutError where nothing has come after WAIT s."""
        with self._lock:
            asked = self._under_way
            if asked is None or asked.come.is_set():
                asked = self._under_way = _Answer(self._question)
        if not asked.come.wait(WAIT):
            raise TimeoutError(f"no answer within {WAIT:.0f} s")
        return asked.result()


class _Answer(Generic[T]):
    def __init__(self, question: Callable[[], T]) -> None:
        self.come = threading.Event()
        self._question = question
        self._result: list[T] = []
        self._error: Exception | None = None
        threading.Thread(target=self._ask, name="question", daemon=True).start()

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result[0]

    def _ask(self) -> None:
        try:
            self._result.append(self._question())
        except Exception as error:  # raised where it is wanted
            self._error = error
        self.come.set()
