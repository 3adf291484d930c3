"""Who sends the messages of a simulation: its FTS instances, and how long messages travel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from opintel.fts.simulated.faults import spans
from opintel.fts.simulated.grid import Link
from opintel.fts.simulated.monit import MS, Attempt, Envelopes, FileTransfer
from opintel.fts.simulated.traffic import DUPLICATES, HOMES
from opintel.fts.transfers import ABORTED, FAILED, OK
from opintel.simulation import HOUR, Fault

LATEST = 120.0
"""s of delivery delay at most; copies of a message may come later."""
_FINAL = {OK: "FINISHED", FAILED: "FAILED", ABORTED: "CANCELED"}
_REWORDED = "[transfer-agent 4.1] {} (reported by the worker)"
"""What an upgraded FTS makes of an error text."""


def instance_names(first: str, count: int) -> tuple[str, ...]:
    """The names of the FTS instances. Raises ValueError for a count that is not simulated."""
    if not 1 <= count <= len(HOMES):
        raise ValueError(f"instances: expected 1 to {len(HOMES)}, got {count}")
    return (first, *(f"fts-{letter}.{first.partition('.')[2]}" for letter in "bc"[: count - 1]))


class Stamps(NamedTuple):
    """Of messages: ids, and when each and its copy arrive (ns; 0: it has none)."""

    ids: list[str]
    arrivals: list[int]
    copies: list[int]


class Post:
    """Messages on their way."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._number = 0
        self._sent: list[tuple[int, int, bytes]] = []

    def stamps(self, times: npt.NDArray[np.int64]) -> Stamps:
        """For messages of these times (ns)."""
        rng, n = self._rng, len(times)
        digits = rng.bytes(20 * n).hex()
        delay = np.minimum(1.0 + rng.lognormal(math.log(4.0), 0.9, n), LATEST)
        arrivals = times + (delay * 1000).astype(np.int64) * MS
        copied = rng.random(n) < DUPLICATES
        copies = np.where(copied, arrivals + rng.integers(20_000, 600_000, n) * MS, 0)
        return Stamps([digits[i : i + 40] for i in range(0, 40 * n, 40)], arrivals.tolist(), copies.tolist())

    def send(self, body: bytes, arrival: int, copy: int = 0) -> None:
        """Puts a message, and perhaps its copy, on its way."""
        self._number += 2
        self._sent.append((arrival, self._number, body))
        if copy:
            self._sent.append((copy, self._number + 1, body))

    def collect(self) -> list[tuple[int, int, bytes]]:
        """(arrival, running number, message) of all that was sent since the last call, in no order."""
        sent, self._sent = self._sent, []
        return sent


class Sender:
    """One FTS: what it says of files, where it speaks at all."""

    def __init__(
        self, instance: str, links: tuple[Link, ...], truth: Sequence[Fault], post: Post, *, states: bool
    ) -> None:
        self.envelopes = Envelopes(instance, links)
        self._post, self._states = post, states
        self._dark, self._reworded = (
            [(start, end) for scope, start, end in spans(truth, kind) if scope == instance]
            for kind in ("instance-dark", "reworded")
        )

    def complete(
        self, file: FileTransfer, attempt: Attempt, message_id: str, arrival: int, copy: int, later: int | None
    ) -> None:
        """The message of a finished attempt; and `later` (ms) the file's state, if this FTS sends states and the
        attempt was the last (None: it is not)."""
        if _within(attempt.end, self._dark):
            return
        if attempt.error and _within(attempt.end, self._reworded):
            attempt = attempt._replace(error=_REWORDED.format(attempt.error))
        self._post.send(self.envelopes.complete(file, attempt, message_id, arrival), arrival, copy)
        if self._states and later is not None:
            words = attempt.wording
            reason = f"{words.scope or 'TRANSFER'} [{words.code}] {attempt.error}" if words else ""
            state, at = _FINAL[attempt.outcome], attempt.end + later * MS
            self.state(file, state, reason, at, at - HOUR, message_id[::-1], arrival + later * MS, 0)

    def state(
        self,
        file: FileTransfer,
        state: str,
        reason: str,
        time: int,
        submitted: int,
        message_id: str,
        arrival: int,
        copy: int,
        *,
        staging: bool = False,
    ) -> None:
        """A file's new state."""
        if not _within(time, self._dark):
            body = self.envelopes.state(
                file,
                state,
                reason,
                submitted=submitted,
                time=time,
                message_id=message_id,
                arrival=arrival,
                staging=staging,
            )
            self._post.send(body, arrival, copy)


class Senders:
    """All FTS of a simulation."""

    def __init__(
        self, names: Sequence[str], links: tuple[Link, ...], truth: Sequence[Fault], post: Post, *, states: bool
    ) -> None:
        self.post = post
        self.every = [
            Sender(name, links, truth, post, states=states or number > 0) for number, name in enumerate(names)
        ]
        self._homes = HOMES[len(names) - 1]

    def of(self, file: FileTransfer) -> Sender:
        """The FTS that has a file."""
        return self.every[self._homes.get(file.vo, 0)]


def _within(time: int, spans: Sequence[tuple[int, int]]) -> bool:
    return any(start <= time < end for start, end in spans)
