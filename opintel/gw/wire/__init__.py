"""The wire of the GW stream: a message holds a second or more of an interferometer's channels, in Arrow.

* `channels`: the channel table that comes with a message
* `arrow_rows`: its rows
* `seconds`: rows cut at whole GPS seconds, on one grid
* `gaps`: samples that are none
* `encoder`: writes messages
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from opintel.arrow_ipc import is_arrow
from opintel.detector import Decoded, Message
from opintel.gw.samples import PieceRow, Pieces
from opintel.gw.wire import arrow_rows
from opintel.gw.wire.channels import ChannelTables, flags_of_settings
from opintel.rejects import Reject
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

    def decode(self, messages: Sequence[Message]) -> Decoded[PieceRow]:
        """The pieces of the messages and what is wrong with other rows; nothing is raised."""
        parts = [self._one(message) for message in messages]
        if len(parts) == 1:
            return parts[0]
        return Decoded(
            Batch.joined([part.rows for part in parts] or [Batch.of([], Pieces)]),
            np.repeat(np.arange(len(parts)), [len(part.n) for part in parts]),
            np.concatenate([part.n for part in parts] or [np.empty(0, dtype=np.int64)]),
            [reject._replace(message=at) for at, part in enumerate(parts) for reject in part.rejects],
            columns_joined(part.columns for part in parts),
        )

    def redacted(self, body: bytes) -> bytes:
        """The start of a message as it may be kept: samples name parts of a detector, not people."""
        return body[:EXCERPT]

    def _one(self, message: Message) -> Decoded[PieceRow]:
        if message.form == "json" and is_arrow(message.body):
            return arrow_rows.decode(message.body, self._tables)
        nothing = np.empty(0, dtype=np.int64)
        reason = "expected samples as an Arrow IPC stream, got a message of another form"
        return Decoded(Batch.of([], Pieces), nothing, nothing, [Reject(0, [0], reason)])
