"""Messages as lines of JSON on standard error; needs no outside system."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

import msgspec

from opintel.alerts.sinks import Intent, Receipt


class LogSink(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One JSON line a message."""

    def open(self, secrets: Mapping[str, str]) -> StandardError:
        """The sink."""
        return StandardError()


class StandardError:
    """Writes one line a message, ASCII only, so that no sent text can steer a terminal."""

    def send(self, intent: Intent) -> Receipt:
        line = json.dumps({"message": intent.id, **json.loads(intent.body)}, ensure_ascii=True) + "\n"
        try:
            sys.stderr.write(line)
            sys.stderr.flush()
        except OSError as error:
            return Receipt("retry", f"cannot write: {error}"[:300])
        return Receipt("sent", "written")

    def close(self) -> None:
        """Nothing is held open."""
