"""The door through which detectors get what was learned elsewhere: files known by their SHA-256.

A control of kind `model` says from which window on which file stands for a name, so that a replay opens the same ones.
The worker opens them here and hands them over; they are in no checkpoint. A file is looked for below each URL (a folder
or any fsspec URL) as `<sha256>`, then in `*/SHA256SUMS`, the list that sha256sum(1) writes.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from opintel.detector import Artefact, Controls
from opintel.streams.log import LogUnavailable

MODEL = "model"
"""Kind of the control that says which artefact is in force; its subject is the name, its value `{"sha256": …}`."""
MOST = 512 << 20
"""Bytes of an artefact."""
KEPT = 8
"""Artefacts that stay open; two of a name while one takes over."""
SUMS = "SHA256SUMS"
_SHA = re.compile(r"[0-9a-f]{64}")
_LINE = re.compile(r"([0-9a-f]{64}) [ *]([^/\\\x00-\x1f]{1,255})")
log = logging.getLogger(__name__)


class ArtefactUnavailable(LogUnavailable):
    """What a control names cannot be opened now: the stream waits, as its findings would be others without it."""


class Door(Protocol):
    """Opens an artefact; raises ArtefactUnavailable."""

    def __call__(self, sha256: str) -> Artefact: ...


def closed(sha256: str) -> Artefact:
    """The door of a process that has been given no place to look."""
    raise ArtefactUnavailable(f"artefact {sha256}: no place to look for it is configured")


def sha_of(value: Any) -> str:
    """The SHA-256 in a `model` control's value. ValueError where there is none."""
    sha = value.get("sha256") if isinstance(value, dict) else None
    if not isinstance(sha, str) or not _SHA.fullmatch(sha):
        raise ValueError(f"expected {{sha256: 64 hexadecimal digits}}, got {str(value)[:100]}")
    return sha


def in_force(names: Sequence[str], controls: Controls, door: Door) -> Mapping[str, Artefact]:
    """name → artefact of those that a control names; the others are missing. Raises ArtefactUnavailable."""
    return {name: door(sha) for name, sha in in_force_shas(names, controls).items()}


def in_force_shas(names: Sequence[str], controls: Controls) -> dict[str, str]:
    """name → SHA-256 of those that a control names."""
    values = {name: controls.value(MODEL, name) for name in names}
    return {name: sha_of(value) for name, value in values.items() if value is not None}


class Artefacts:
    """A door to the files below some URLs."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self._open: dict[str, Artefact] = {}

    def __call__(self, sha256: str) -> Artefact:
        found = self._open.pop(sha256, None) or self._read(sha256)
        self._open[sha256] = found  # the newest last
        if len(self._open) > KEPT:
            del self._open[next(iter(self._open))]
        return found

    def _read(self, sha256: str) -> Artefact:
        import fsspec

        failed = []
        for url in self._urls:
            try:
                fs, root = fsspec.core.url_to_fs(url)
                for path in _places(fs, root.rstrip("/"), sha256):
                    if fs.exists(path) and (size := fs.size(path)) is not None and size <= MOST:
                        data = fs.cat_file(path)
                        if hashlib.sha256(data).hexdigest() == sha256:
                            return Artefact(sha256, data)
                        log.warning("artefact %s: the content is another, passed over", path)
            except Exception as error:  # each file system has errors of its own
                failed.append(f"{type(error).__name__}: {error}"[:300])
        raise ArtefactUnavailable(
            f"artefact {sha256}: expected a file of that name, or its line in a {SUMS}, in {len(self._urls)} places"
            + "".join(f"; {text}" for text in failed)
        )


def _places(fs: Any, root: str, sha256: str) -> list[str]:
    """Where the file may be."""
    places = [f"{root}/{sha256}"]
    for sums in sorted(fs.glob(f"{root}/*/{SUMS}")):
        folder = sums.rsplit("/", 1)[0]
        lines = fs.cat_file(sums, end=1 << 20).decode("utf-8", "replace").splitlines()
        named = [match[2] for match in map(_LINE.fullmatch, lines) if match and match[1] == sha256]
        places += [f"{folder}/{name}" for name in named if name not in (".", "..")]
    return places
