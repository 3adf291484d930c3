"""The wire of the DQM stream: messages of a lumisection's histograms, manifests and published references.

`arrow_parts` reads Arrow messages, `json_messages` those in JSON (UHI's schema, manifests), `encoder` writes both.
Content is untrusted; every histogram becomes a row or a reason, and neither shows in what becomes of its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from opintel.arrow_ipc import is_arrow
from opintel.detector import Decoded, Message
from opintel.dqm.histograms import HistogramRow, Histograms
from opintel.dqm.wire import arrow_parts, json_messages
from opintel.dqm.wire.heads import LONGEST
from opintel.dqm.wire.shapes import Shapes
from opintel.finding import NS
from opintel.rejects import Reject, Rejects
from opintel.rows import Batch
from opintel.tables import columns_joined

EXCERPT = 4096
LUMISECTION = 23.31
"""s: 2^18 turns of the LHC."""


class DqmWire:
    """Decodes messages of histograms. `lumisection`: the length of one, s, in files that know no times."""

    def __init__(self, *, lumisection: float = LUMISECTION) -> None:
        if not 0 < lumisection <= LONGEST / NS:
            raise ValueError(f"lumisection: expected more than 0 and at most {LONGEST // NS} s, got {lumisection}")
        self._shapes = Shapes()
        self.parsing = {"lumisection": lumisection}
        """What the parser of whole files is called with."""

    def decode(self, messages: Sequence[Message]) -> Decoded[HistogramRow]:
        """The rows of the messages and what is wrong with the other histograms; nothing is raised."""
        parts = [self._one(message) for message in messages]
        if len(parts) == 1:
            return parts[0]
        return Decoded(
            Batch.joined([part.rows for part in parts] or [Batch.of([], Histograms)]),
            np.repeat(np.arange(len(parts)), [len(part.n) for part in parts]),
            np.concatenate([part.n for part in parts] or [np.empty(0, dtype=np.int64)]),
            [reject._replace(message=at) for at, part in enumerate(parts) for reject in part.rejects],
            columns_joined(part.columns for part in parts),
        )

    def redacted(self, body: bytes) -> bytes:
        """The start of a message as it may be kept: histograms name parts of a detector, not people."""
        return body[:EXCERPT]

    def _one(self, message: Message) -> Decoded[HistogramRow]:
        if message.form != "json":
            return _refused("a histogram comes in Arrow or JSON; text and tables hold none")
        if is_arrow(message.body):
            return arrow_parts.decode(message.body, self._shapes)
        rows, places, wrong = json_messages.decode(message.body, self._shapes)
        rejects = Rejects()
        for n, reason in wrong:
            rejects.add(0, n, reason)
        return Decoded(rows, np.zeros(len(rows), dtype=np.int64), np.array(places, dtype=np.int64), rejects.found())


def ends(batch: Batch[HistogramRow]) -> NDArray[np.int64]:
    """(rows,) the ends of the lumisections, ns UTC: of `Pipeline.ends`."""
    assert isinstance(batch.payload, Histograms)
    return batch.payload.end


def _refused(reason: str) -> Decoded[HistogramRow]:
    nothing = np.empty(0, dtype=np.int64)
    return Decoded(Batch.of([], Histograms), nothing, nothing, [Reject(0, [0], reason)])
