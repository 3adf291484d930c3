"""Messages as lines of JSON, on standard error or in a file; needs no outside system."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from opintel.alerts.sinks import Intent, Receipt


class LogFile:
    """Appends one line a message, ASCII only, so that no sent text can steer a terminal."""

    def __init__(self, path: str = "") -> None:
        self._path = Path(path) if path else None

    def send(self, intent: Intent) -> Receipt:
        line = json.dumps({"message": intent.id, **json.loads(intent.body)}, ensure_ascii=True) + "\n"
        try:
            if self._path is None:
                sys.stderr.write(line)
                sys.stderr.flush()
            else:
                with self._path.open("a", encoding="ascii") as file:
                    file.write(line)
        except OSError as error:
            return Receipt("retry", f"cannot write: {error}"[:300])
        return Receipt("sent", "written")

    def close(self) -> None:
        """Nothing is held open."""
