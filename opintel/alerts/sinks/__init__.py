"""Where messages go: a sink is one method, `send`, and `close`.

`opintel.alerts.delivery` gives it a message that the outbox holds and does what the receipt says. Trap: a sink may
be given the same message again after a crash; it passes the message's id on, so that the receiver can tell. A sink is
one file here, with its settings, and one line in `SINKS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

SINKS = {
    "log": "opintel.alerts.sinks.log:LogSink",
    "file": "opintel.alerts.sinks.file:FileSink",
    "webhook": "opintel.alerts.sinks.webhook:WebhookSink",
}
"""`type` in `routes.yaml` → the settings of such a sink, imported only where one is configured."""


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


class SinkSettings(Protocol):
    """Settings of a sink (a msgspec struct): they open it."""

    def open(self, secrets: Mapping[str, str]) -> Sink:
        """The sink. `secrets`: name → text of the `x_file` or `x_env` that the settings name.

        Raises ValueError (`KEY: what is wrong`) or OSError where it cannot work.
        """
