"""What `opintel dqm compare` lays side by side: the histograms of a file, of a folder of files, or of one object or
folder within a file (`FILE:PATH`), paired by name.

A DQMGUI file's run is in its folders and does not count in names; lumisections do. Two sides of one histogram each are
a pair whatever their names.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from opintel.dqm.comparing.element_comparison import NamedPair
from opintel.dqm.files import PARSERS
from opintel.dqm.files.found import FileElement, Unread
from opintel.dqm.files.opened import Opened, opened
from opintel.streams.connectors.parsed import FileRefused

SUFFIXES = tuple(PARSERS)
"""Of the files of a folder."""
MAX_FILES = 10_000


class ComparedSide(NamedTuple):
    """One of the two."""

    elements: list[FileElement]
    unread: list[Unread]


def side(place: str) -> ComparedSide:
    """The histograms of a file, a folder, or `FILE:PATH`. Raises FileRefused, with one line that names the file."""
    path = Path(place)
    if path.is_dir():
        return _folder(path)
    if not path.exists() and ":" in place:
        name, _, within = place.rpartition(":")
        if Path(name).is_file():
            return _within(Path(name), within.strip("/"))
    return ComparedSide(*opened(path))


def pairs(here: ComparedSide, there: ComparedSide) -> list[NamedPair]:
    """The histograms of both, by name."""
    if len(here.elements) == len(there.elements) == 1:
        [alone], [partner] = here.elements, there.elements
        return [NamedPair(_name(alone, False), alone.element, partner.element)]
    of_runs = any(len({one.run for one in part.elements}) > 1 for part in (here, there))
    observed, reference = ({_key(part, of_runs): part for part in side.elements} for side in (here, there))

    found: list[NamedPair] = []
    for key in {**observed, **reference}:
        one, other = observed.get(key), reference.get(key)
        name = _name(one or reference[key], of_runs)
        found.append(NamedPair(name, one.element if one else None, other.element if other else None))
    return found


def _key(one: FileElement, of_runs: bool) -> tuple[int | None, int | None, str]:
    return one.run if of_runs else None, one.lumisection, one.element.path


def _name(one: FileElement, of_runs: bool) -> str:
    if one.lumisection is not None:
        return f"run{one.run}_ls{one.lumisection}_{one.element.path}"
    return f"Run {one.run}/{one.element.path}" if of_runs and one.run is not None else one.element.path


def _folder(folder: Path) -> ComparedSide:
    files = [
        Path(base) / name
        for base, _, names in os.walk(folder)
        for name in names
        if name.endswith(SUFFIXES) and not name.startswith(".")
    ]
    if not files or len(files) > MAX_FILES:
        raise FileRefused(f"{folder}: expected 1 to {MAX_FILES} files ({', '.join(SUFFIXES)}), got {len(files)}")
    found, refused = ComparedSide([], []), list[FileRefused]()
    for path in sorted(files):
        try:
            one = opened(path)
        except FileRefused as problem:
            refused.append(problem)
            found.unread.append(Unread(str(path.relative_to(folder)), str(problem)))
            continue
        prefix = f"{path.relative_to(folder).with_suffix('').as_posix()}/" if len(files) > 1 else ""
        found.elements.extend(_renamed(element, prefix + element.element.path) for element in one.elements)
        found.unread.extend(Unread(prefix + name, reason) for name, reason in one.unread)
    if not found.elements:
        raise refused[0]
    return found


def _within(path: Path, within: str) -> ComparedSide:
    """One object of a file, or what is in a folder of it."""
    whole: Opened = opened(path)
    kept = [one for one in whole.elements if one.element.path == within]
    inside = [one for one in whole.elements if one.element.path.startswith(f"{within}/")]
    kept += [_renamed(one, one.element.path.removeprefix(f"{within}/")) for one in inside]
    if not kept:
        raise FileRefused(f"{path}: no histogram {within!r} in it")
    return ComparedSide(kept, [])


def _renamed(one: FileElement, path: str) -> FileElement:
    return one._replace(element=one.element._replace(path=path))
