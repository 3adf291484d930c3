"""What a stream's controls may say, and what they say to a detector.

Both stages ask here, so that a control is refused, or in force, in both alike.
"""

from __future__ import annotations

from typing import Any

import msgspec

from opintel.detector import Controls, Pipeline
from opintel.streams.artefacts import MODEL, sha_of
from opintel.streams.controls import NOT_PLAIN, SETTINGS, ControlTable, is_plain
from opintel.streams.records import Control


def settings_types(pipeline: Pipeline) -> dict[str, type[msgspec.Struct]]:
    """Detector → the type of its settings: the reducer and the judges of a pipeline."""
    detectors: list[Any] = [pipeline.reducer(), *(make() for make in pipeline.judges)]
    return {detector.name: detector.Settings for detector in detectors}


def models_of(pipeline: Pipeline) -> set[str]:
    """The names of the artefacts that the detectors of a pipeline ask for."""
    detectors: list[Any] = [pipeline.reducer(), *(make() for make in pipeline.judges)]
    return {name for detector in detectors for name in detector.models}


def check(control: Control, held: ControlTable, pipeline: Pipeline, stream: str) -> None:
    """Raises ValueError for a control that is not to be taken: what is in force stays in force."""
    if held.full:
        raise ValueError("too many controls")
    if not is_plain(control.value):
        raise ValueError(NOT_PLAIN)
    if control.kind == MODEL:
        sha_of(control.value)
    if (control.kind, control.subject) == (SETTINGS, stream):
        _check_settings(control.value, settings_types(pipeline))


def of_detector(controls: Controls, stream: str, name: str, kind: type[msgspec.Struct]) -> Any:
    """A detector's settings, those in force."""
    given = controls.value(SETTINGS, stream) or {}
    return msgspec.convert(given.get(name, {}), kind)


def _check_settings(given: Any, known: dict[str, type[msgspec.Struct]]) -> None:
    if not isinstance(given, dict) or given.keys() - known.keys():
        raise ValueError(f"expected settings by detector ({', '.join(known)}), got {str(given)[:200]}")
    for name, values in given.items():
        try:
            msgspec.convert(values, known[name])
        except msgspec.ValidationError as error:
            raise ValueError(f"settings of {name}: {error}") from error
