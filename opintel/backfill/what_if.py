"""What other settings of the detectors would have found in an archive: the controls that carry settings say something
else to a backfill, and its findings are held against those without that.

Settings are part of a finding's model and so of its id: findings are compared by what they are about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import yaml

from opintel.backfill.stages import Settings
from opintel.detector import Pipeline
from opintel.finding import Finding, same_content
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


def has_settings(archive: Archive, topic: ArchivedTopic, stream: str) -> bool:
    """Whether the archived records say any settings of the stream: else nothing is there to say something else."""
    pieces = (piece for its in topic.pieces[:1] for piece in its)
    return any(_settings(r[1], stream) for piece in pieces for group in archive.read(piece) for r in group)


def _settings(value: bytes, stream: str) -> Control | None:
    if b"control" not in value[:HEAD]:
        return None
    try:
        control = _codec.decode(value)
    except ValueError:
        return None
    mine = (control.kind, control.subject) == (SETTINGS, stream) and isinstance(control.value, dict)
    return control if mine else None


def _changed(record: Stored, stream: str, settings: Settings) -> Stored:
    position, value, at = record
    control = _settings(value, stream)
    if control is None:
        return record
    said = dict(control.value)
    for name, values in settings.items():
        said[name] = {**(said.get(name) or {}), **values}
    return position, _codec.encode(msgspec.structs.replace(control, value=said)), at


class ChangedFinding(NamedTuple):
    """Findings about the same that say something else."""

    here: Finding
    there: Finding


class FindingsCompared(NamedTuple):
    """What one backfill found (`here`) against another one (`there`)."""

    only_here: list[Finding]
    only_there: list[Finding]
    changed: list[ChangedFinding]


def compare(here: Sequence[Finding], there: Sequence[Finding]) -> FindingsCompared:
    """By detector, kind, subject and window; each list by window end, then id."""
    ours, theirs = ({_about(finding): finding for finding in found} for found in (here, there))
    both = [ChangedFinding(ours[about], theirs[about]) for about in ours.keys() & theirs.keys()]
    return FindingsCompared(
        sorted((ours[about] for about in ours.keys() - theirs.keys()), key=_place),
        sorted((theirs[about] for about in theirs.keys() - ours.keys()), key=_place),
        sorted((change for change in both if not same_content(*map(_said, change))), key=lambda c: _place(c.here)),
    )


def _about(finding: Finding) -> tuple[Any, ...]:
    window = finding.window
    return (finding.detector, finding.kind, tuple(sorted(finding.subject.items())), window.start, window.end)


def _said(finding: Finding) -> Finding:
    return msgspec.structs.replace(finding, id="", model="")


def _place(finding: Finding) -> tuple[int, str]:
    return (finding.window.end, finding.id)
