"""Connectors: transports that deliver `Message`s with their place in a source.

What a message means, and whether it is valid, is the business of a domain's `wire.py`. A live source is one file here,
with its settings, and one line in `SOURCES`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from opintel.detector import Message
from opintel.streams.stream import Stream

MAX_BODY = 1 << 20
"""Bytes of a line or broker message that are kept."""

SOURCES = {
    "stomp": "opintel.streams.connectors.stomp:StompSettings",
    "kafka": "opintel.streams.connectors.kafka:KafkaSourceSettings",
    "lldd": "opintel.streams.connectors.lldd:LlddSettings",
    "prometheus": "opintel.streams.connectors.prometheus:PrometheusSettings",
    "arrow_dir": "opintel.streams.connectors.arrow_dir:ArrowDirSettings",
}
"""Key in a stream's YAML → the settings below it, imported only where a stream has the key."""


class Listened(NamedTuple):
    """What a source knows of its own currency."""

    until: int
    """All that it had at this time (ns UTC) has been read; 0 where that is not known yet."""
    withheld: str = ""
    """What it has and does not show to readers, where that is so."""


class Replayable(Protocol):
    """A live source that can be read again by position. It raises LogUnavailable while it is away."""

    delay: int
    """ns after their time until which messages may still come: 'listened to until now' means so long ago."""

    def read(self, position: Any, limit: int, first: int = 0) -> tuple[list[Message], Any]:
        """At most `limit` messages from `position` (plain data; None: at the beginning), and the position behind them:
        the same, and no messages, where all has been read. `first`: index of the first.
        """

    def listened(self, position: Any, now: int) -> Listened:
        """Until when all was read that it had; asked after a `read` that began at `now`, ns, and led to `position`."""

    def between(self, before: Any, after: Any, first: int = 0) -> list[Message]:
        """The messages of one earlier `read` once more."""

    def close(self) -> None:
        """Leaves the source."""


@runtime_checkable
class Acknowledged(Protocol):
    """A live source that keeps each message until the log has it, and then forgets it."""

    @property
    def connected(self) -> bool:
        """Whether the source was there when last heard of."""

    def read(self, limit: int, timeout: float) -> list[tuple[Any, Message]]:
        """At most `limit` messages with what acknowledges each, waiting up to `timeout` s; [] also while it is away."""

    def acknowledge(self, tokens: Iterable[Any]) -> None:
        """Says that the log has these messages."""

    def close(self) -> None:
        """Leaves the source."""


class SourceSettings(Protocol):
    """Settings of a live source (a msgspec struct): they open it."""

    def open(self, secrets: Mapping[str, str], stream: Stream) -> Replayable | Acknowledged:
        """The source, not yet connected. `secrets`: name → text of the `x_file` or `x_env` that the settings name.

        Raises ValueError (`KEY: what is wrong`), OSError, or ModuleNotFoundError that names the extra to install.
        """


def cut(body: bytes, limit: int = MAX_BODY) -> bytes:
    """`body`, or its first `limit` bytes and a NUL: no JSON text ends so, and no wire takes it for whole."""
    return body if len(body) <= limit else body[:limit] + b"\x00"
