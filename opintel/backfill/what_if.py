"""Other settings of the detectors over an archive: its controls that carry settings say something else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import yaml

from opintel.backfill.stages import Settings
from opintel.detector import Pipeline
from opintel.finding import rfc3339
from opintel.streams.archive.reader import Archive, ArchivedTopic
from opintel.streams.controls import SETTINGS
from opintel.streams.log import Stored
from opintel.streams.records import Codec, Control
from opintel.streams.settings import settings_types

PREFIX = "detectors."
HEAD = 16
"""Bytes of a record in which a control says that it is one."""
_codec: Codec[Control] = Codec(Control)


def read_settings(written: Sequence[str], pipeline: Pipeline) -> Settings:
    """What `detectors.NAME.KEY=VALUE` says, NAME being the longest that is a detector's, VALUE as in YAML. Raises
    ValueError.
    """
    known = settings_types(pipeline)
    found: dict[str, dict[str, Any]] = {}
    for text in written:
        path, _, value = text.partition("=")
        names = [name for name in known if path.startswith(f"{PREFIX}{name}.")]
        if not names:
            there = ", ".join(f"{PREFIX}{name}" for name in known)
            raise ValueError(f"{text}: expected a setting of {there}")
        name = max(names, key=len)
        key = path.removeprefix(f"{PREFIX}{name}.")
        fields = [field.encode_name for field in msgspec.structs.fields(known[name])]
        if key not in fields:
            raise ValueError(f"{text}: {name} has the settings {', '.join(fields)}")
        try:
            found.setdefault(name, {})[key] = yaml.safe_load(value)
            msgspec.convert(found[name], known[name])
        except (yaml.YAMLError, msgspec.ValidationError) as error:
            raise ValueError(f"{text}: {' '.join(str(error).split())}") from error
    return found


def with_settings(batch: Sequence[Stored], stream: str, settings: Settings) -> Sequence[Stored]:
    """The records, those with the stream's settings saying these."""
    return [_changed(record, stream, settings) for record in batch] if settings else batch


class ChangedSetting(NamedTuple):
    """A setting that is to say something else."""

    name: str
    """`detectors.fts.failures.emit`."""
    detector: str
    key: str
    was: list[Any]
    """What the archived controls say it is, and what holds where they leave it out: each value once, in order."""
    now: Any


def changed_settings(settings: Settings, archived: Sequence[Settings], pipeline: Pipeline) -> list[ChangedSetting]:
    """What `settings` change of those that the archived controls carry."""
    known = settings_types(pipeline)
    changed = []
    for detector, values in settings.items():
        for key, now in values.items():
            was: list[Any] = []
            for said in archived:
                try:
                    held = msgspec.convert(said.get(detector) or {}, known[detector])
                except msgspec.ValidationError:  # nor do the detectors take them
                    continue
                if (value := msgspec.to_builtins(_field(held, key))) not in was:
                    was.append(value)
            changed.append(ChangedSetting(f"{PREFIX}{detector}.{key}", detector, key, was, now))
    return changed


def archived_settings(
    archive: Archive, topics: Sequence[ArchivedTopic], stream: str, until: int | None
) -> list[Settings]:
    """The settings of a stream that archived controls carry, up to the day of `until` (ns UTC), each once, in order;
    none: nothing is there to say something else.
    """
    found: dict[bytes, Settings] = {}
    last = "9999" if until is None else rfc3339(until)[:10]
    # each partition has all controls
    pieces = [piece for topic in topics for piece in (topic.pieces[0] if topic.pieces else ())]
    for piece in pieces:
        for group in archive.read(piece) if piece.file.day <= last else ():
            for _, value, _ in group:
                control = _settings(value, stream)
                if control is not None:
                    found.setdefault(msgspec.json.encode(control.value, order="deterministic"), control.value)
    return list(found.values())


def _settings(value: bytes, stream: str) -> Control | None:
    if b"control" not in value[:HEAD]:
        return None
    try:
        control = _codec.decode(value)
    except ValueError:
        return None
    mine = (control.kind, control.subject) == (SETTINGS, stream) and isinstance(control.value, dict)
    return control if mine else None


def _field(settings: msgspec.Struct, key: str) -> Any:
    names = {field.encode_name: field.name for field in msgspec.structs.fields(settings)}
    return getattr(settings, names[key])


def _changed(record: Stored, stream: str, settings: Settings) -> Stored:
    position, value, at = record
    control = _settings(value, stream)
    if control is None:
        return record
    said = dict(control.value)
    for name, values in settings.items():
        said[name] = {**(said.get(name) or {}), **values}
    return position, _codec.encode(msgspec.structs.replace(control, value=said)), at
