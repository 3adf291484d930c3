"""What a client may take of the console: one of so many connections, the time of a request and of its answer, bytes.

uvicorn gives up a connection only when it is idle after an answer. Half a request, a body that never ends or an answer
that no client reads would hold a file of this process for ever; with enough of them none is left for a log or a source.
"""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 128
"""At once; for one more the one goes that has waited longest for its request, or itself where none waits."""
HEAD_SECONDS = 10.0
"""That a request's head may take, from the connection or the head's first byte on …"""
EXCHANGE_SECONDS = 60.0
"""… and its body and the answer, until the last byte of it is taken."""
MOST_BYTES = 1 << 20
"""Of a request."""


class BoundedHttp(H11Protocol):
    """A connection."""

    _timer: asyncio.TimerHandle | None = None
    _received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait(HEAD_SECONDS)
        if len(self.connections) > MOST_CONNECTIONS:
            others = cast("list[BoundedHttp]", list(self.connections))
            waiting = [one for one in others if one.waits and one is not self]
            oldest = min(waiting, key=lambda one: one.until, default=self)
            self.connections.discard(oldest)
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        waited, self._received = self.waits, self._received + len(data)
        if self._received > MOST_BYTES:
            self.transport.abort()
            return
        super().data_received(data)
        if waited and not self.waits:
            self._wait(EXCHANGE_SECONDS)
        elif waited and self._timer is None:
            self._wait(HEAD_SECONDS)

    def on_response_complete(self) -> None:
        self._received = 0
        self._wait(None)  # until the next byte uvicorn's own timer runs
        super().on_response_complete()

    @property
    def waits(self) -> bool:
        """Whether no whole head has come that is not answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def until(self) -> float:
        """When it will have waited long enough, by the loop's clock; those that are idle after an answer come first."""
        return 0.0 if self._timer is None else self._timer.when()

    def _wait(self, seconds: float | None) -> None:
        """Gives up the connection after so long; None: not at all."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)
