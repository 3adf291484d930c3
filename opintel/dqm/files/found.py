"""What a file holds: monitor elements with the run and lumisection they are of, and what is not read."""

from __future__ import annotations

from typing import NamedTuple

from opintel.dqm.elements import MonitorElement

EXTRA = "pip install 'opintel[root]'"
"""What brings uproot and h5py."""


class FileElement(NamedTuple):
    """A histogram of a file."""

    element: MonitorElement
    """Its path has no run and lumisection."""
    run: int | None = None
    lumisection: int | None = None


class Unread(NamedTuple):
    """An object that would be a histogram, and why it is not read."""

    name: str
    reason: str


def said(problem: BaseException) -> str:
    """An exception in one line."""
    return " ".join(str(problem).split())[:300] or type(problem).__name__
