"""Where messages go: a sink is one method, `send`, and `close`.

`opintel.alerts.delivery` gives it a message that the outbox holds and does what the receipt says. Trap: a sink may
be given the same message again after a crash; it passes the message's id on, so that the receiver can tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

from opintel.alerts.settings import LogSink, Routes


class Intent(NamedTuple):
    """One message, as it was written when it was decided."""

    id: str
    """Stable over retries and runs: the ticket's key and the message's number."""
    ticket: str
    sequence: int
    kind: str
    body: str
    """JSON."""


class Receipt(NamedTuple):
    """`sent`: done; `retry`: try again later; `failed`: never will be. `detail` is one bounded line for operators."""

    outcome: Literal["sent", "retry", "failed"]
    detail: str


class Sink(Protocol):
    """Sends one message at a time."""

    def send(self, intent: Intent) -> Receipt:
        """Hands the message over. Expected troubles are receipts, not exceptions."""

    def close(self) -> None:
        """Frees what it holds."""


def open_sinks(routes: Routes) -> Mapping[str, Sink]:
    """The configured sinks by name. Raises ValueError where one cannot work (a secret is missing)."""
    from opintel.alerts.sinks.log import LogFile
    from opintel.alerts.sinks.webhook import open_webhook

    return {
        name: LogFile(setting.path) if isinstance(setting, LogSink) else open_webhook(name, setting)
        for name, setting in sorted(routes.sinks.items())
    }
