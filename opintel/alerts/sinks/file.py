"""Messages as lines of JSON, appended to a file: for a ticket system that reads files, or a record of what was sent.

A message counts as sent when its line is on disk. One that comes again after a crash is known by its id among the
file's last lines, and a line that a crash cut off stays as it is, ended by a newline: no JSON text, so readers see it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from opintel.alerts.sinks import Intent, Receipt
from opintel.paths import FilePath

LOOKED_AT = 1 << 20
"""Bytes of the file's end in which a message's earlier copy is looked for: it came shortly before."""


class FileSink(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One JSON line a message, in a file."""

    path: FilePath
    """The file; its folder has to be there, and the file is made."""

    def open(self, secrets: Mapping[str, str]) -> JsonLines:
        """The sink; ValueError where nothing can be appended at the path."""
        path = Path(self.path)
        if not self.path or (path.exists() and not path.is_file()):  # a device or pipe has no end to look at
            raise ValueError(f"path: expected a file, got {self.path!r}")
        if not path.parent.is_dir():
            raise ValueError(f"path: there is no folder {path.parent}")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise ValueError(f"path: {path} cannot be written")
        return JsonLines(path)


class JsonLines:
    """Appends `{"message": ID, …}`, the message's body with its id in front; ASCII only."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, intent: Intent) -> Receipt:
        line = json.dumps({"message": intent.id, **json.loads(intent.body)}, ensure_ascii=True).encode() + b"\n"
        begin = f'{{"message": {json.dumps(intent.id)}, '.encode()
        try:
            with self._path.open("ab+") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - LOOKED_AT))
                *whole, cut_off = file.read().split(b"\n")
                known = any(earlier.startswith(begin) for earlier in whole)
                if not known:
                    file.write(b"\n" + line if cut_off else line)
                    file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            return Receipt("retry", f"cannot write: {error}"[:300])
        return Receipt("sent", "is there already" if known else "written")

    def close(self) -> None:
        """Nothing is held open."""
