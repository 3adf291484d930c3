"""What would have been found under other settings: the archive's controls say others in their place.

A setting that is asked for holds from the first window on, whatever the archive's controls said of it; all else that
they said holds as it did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from opintel.detector import Pipeline
from opintel.streams.controls import SETTINGS
from opintel.streams.log import Stored
from opintel.streams.records import NEVER, Control, raw_codec
from opintel.streams.settings import settings_types

Instead = Mapping[str, Mapping[str, Any]]
"""Detector → its settings that are asked for."""
_ID = "what-if"
_MARK = b"control"
"""In the first bytes of each control, and of no other raw record."""
_codec = raw_codec(bytes)


def instead_of(asked: Sequence[tuple[str, Any]], pipeline: Pipeline) -> Instead:
    """Settings asked for as (path, value), `detectors.fts.failures.emit`. ValueError where there is no such setting."""
    known, found = settings_types(pipeline), dict[str, dict[str, Any]]()
    for path, value in asked:
        root, _, rest = path.partition(".")
        detector = max((name for name in known if rest.startswith(f"{name}.")), key=len, default=None)
        if root != "detectors" or detector is None:
            raise ValueError(f"expected detectors.NAME.SETTING, NAME one of {', '.join(sorted(known))}; got {path!r}")
        for key in reversed(rest[len(detector) + 1 :].split(".")):
            value = {key: value}
        found[detector] = _merged(found.get(detector, {}), value)
        try:
            msgspec.convert(found[detector], known[detector])
        except msgspec.ValidationError as error:
            there = ", ".join(field.name for field in msgspec.structs.fields(known[detector])) or "none"
            raise ValueError(f"{path}: {error}; settings of {detector}: {there}") from error
    return found


def leading(stream: str, instead: Instead) -> Stored:
    """A control ahead of all records, of a version below theirs. It is taken once, wherever else it comes."""
    return -1, _codec.encode(Control(_ID, SETTINGS, stream, 0, NEVER, dict(instead))), 0


def replaced(batch: Sequence[Stored], stream: str, instead: Instead) -> list[Stored]:
    """The records, the stream's settings replaced in those that are such controls."""
    return [
        (position, _of(value, stream, instead), at) if _MARK in value[:12] else (position, value, at)
        for position, value, at in batch
    ]


def _of(value: bytes, stream: str, instead: Instead) -> bytes:
    try:
        control = _codec.decode(value)
    except ValueError:  # stage 1 sets it aside
        return value
    if not isinstance(control, Control) or (control.kind, control.subject) != (SETTINGS, stream):
        return value
    said = control.value
    if not isinstance(said, dict) or not all(isinstance(its, dict) for its in said.values()):
        return value
    return _codec.encode(msgspec.structs.replace(control, value=_merged(said, instead)))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings inside each other, key by key; what is `above` wins."""
    both = {
        key: _merged(below[key], value) if isinstance(value, Mapping) and isinstance(below.get(key), Mapping) else value
        for key, value in above.items()
    }
    return {**below, **both}
