"""Which controls are in force for a window: the table that both stages keep inside their state.

A control is a record in every raw partition. It takes effect at a window that has no row yet, so that a window
is judged under one set of controls from its first row to its close.
"""

from __future__ import annotations

from typing import Any

import msgspec

from opintel.detector import Controls
from opintel.streams.records import Control

SETTINGS = "settings"
"""Kind of the control that carries a stream's detector settings; its subject is the stream."""
MAX_CONTROLS = 10_000
MAX_DEPTH = 64
"""Lists and mappings inside each other."""
MAX_VALUE = 64 * 1024
"""Bytes of a control's value in JSON."""
NOT_PLAIN = "a control's value is plain JSON, at most 64 kB and 64 levels"


class InForce(msgspec.Struct, array_like=True):
    """A control and the window start from which it holds."""

    start: int
    control: Control


def is_plain(value: Any) -> bool:
    """Whether a value is plain JSON data of bounded size and depth, so that it can be kept and compared everywhere."""
    if not _is_flat(value, MAX_DEPTH):  # how deep a process can go depends on where it stands
        return False
    try:
        text = msgspec.json.encode(value)
        return len(text) <= MAX_VALUE and bool(msgspec.json.decode(text) == value)
    except (TypeError, ValueError, RecursionError, OverflowError):
        return False


def _is_flat(value: Any, depth: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return depth > 0 and all(_is_flat(one, depth - 1) for one in inside)


class ControlTable:
    """The controls of one partition (stage 1) or scope (stage 2), by id."""

    def __init__(self) -> None:
        self._held: dict[str, InForce] = {}

    def __contains__(self, control_id: str) -> bool:
        return control_id in self._held

    @property
    def full(self) -> bool:
        """Whether no further control can be taken; a topic is untrusted."""
        return len(self._held) >= MAX_CONTROLS

    def add(self, control: Control, start: int) -> None:
        """Takes a control that holds for windows starting at or after `start`."""
        self._held[control.id] = InForce(start, control)

    def at(self, window_start: int) -> Controls:
        """What is in force for the window: of each (kind, subject) the highest version, ties by id."""
        best: dict[tuple[str, str], tuple[int, str, Any]] = {}
        for held in self._held.values():
            control = held.control
            rank = (control.version, control.id, control.value)
            place = (control.kind, control.subject)
            if held.start <= window_start and (place not in best or rank[:2] > best[place][:2]):
                best[place] = rank
        return Controls({place: (version, value) for place, (version, _, value) in best.items()})

    def state(self) -> list[Any]:
        """Plain data, sorted."""
        return sorted((msgspec.to_builtins(h) for h in self._held.values()), key=lambda h: h[1][1])

    def restore(self, state: list[Any]) -> None:
        """The inverse of `state`."""
        self._held = {h.control.id: h for h in msgspec.convert(state, list[InForce])}
