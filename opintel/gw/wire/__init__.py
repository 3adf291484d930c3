"""The wire of the GW stream: a message holds a second or more of an interferometer's channels, in Arrow.

* `channels`: the channel table that comes with a message
* `arrow_rows`: its rows
* `seconds`: rows cut at whole GPS seconds, on one grid
* `gaps`: samples that are none
* `frames`: whole frames (GWF) that come as messages, parsed in another process
* `encoder`: writes messages
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from opintel.arrow_ipc import is_arrow
from opintel.detector import Decoded, Message
from opintel.gw.samples import PieceRow, Pieces
from opintel.gw.wire import arrow_rows, frames
from opintel.gw.wire.channels import ChannelTables, flags_of_settings
from opintel.rejects import Reject, Rejects
from opintel.rows import Batch
from opintel.tables import columns_joined

EXCERPT = 4096


class GwWire:
    """Decodes messages of samples. `state`: state vector → flag → the bits that are set where it is active, of
    channels whose table does not say what their bits mean.
    """

    def __init__(self, *, state: dict[str, dict[str, list[int]]] | None = None) -> None:
        flags = flags_of_settings(state or {})
        self._tables = ChannelTables(flags)
        self.parsing = {"state": sorted(flags)}
        """What the parser of whole files is called with."""
        self._parser = frames.FrameParser(self.parsing)

    def decode(self, messages: Sequence[Message]) -> Decoded[PieceRow]:
        """The pieces of the messages and what is wrong with other rows; nothing is raised."""
        return _joined([self._one(message) for message in messages])

    def redacted(self, body: bytes) -> bytes:
        """The start of a message as it may be kept: samples name parts of a detector, not people."""
        return body[:EXCERPT]

    def _one(self, message: Message) -> Decoded[PieceRow]:
        body = message.body
        if message.form == "json" and is_arrow(body):
            return arrow_rows.decode(body, self._tables)
        if message.form == "json" and body.startswith(frames.BEGIN):
            return self._frame(body)
        return _refused("expected samples as an Arrow IPC stream or a frame, got a message of another form")

    def _frame(self, body: bytes) -> Decoded[PieceRow]:
        """The records of a frame are the messages that it becomes, and what is not read."""
        found, unread = self._parser.parse(body)
        parts = [arrow_rows.decode(one, self._tables) for one in found] + [_refused(reason) for reason in unread]
        together = _joined(parts)
        rejects = Rejects()
        for reject in together.rejects:
            rejects.add(0, reject.message, reject.reason)
        return together._replace(message=together.message * 0, n=together.message, rejects=rejects.found())


def _joined(parts: Sequence[Decoded[PieceRow]]) -> Decoded[PieceRow]:
    """What a message each became."""
    if len(parts) == 1:
        return parts[0]
    return Decoded(
        Batch.joined([part.rows for part in parts] or [Batch.of([], Pieces)]),
        np.repeat(np.arange(len(parts)), [len(part.n) for part in parts]),
        np.concatenate([part.n for part in parts] or [np.empty(0, dtype=np.int64)]),
        [reject._replace(message=at) for at, part in enumerate(parts) for reject in part.rejects],
        columns_joined(part.columns for part in parts),
    )


def _refused(reason: str) -> Decoded[PieceRow]:
    nothing = np.empty(0, dtype=np.int64)
    return Decoded(Batch.of([], Pieces), nothing, nothing, [Reject(0, [0], reason)])
