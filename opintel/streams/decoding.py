"""A domain's wire, held to its promise never to raise for what a message says: one for which it does is a dead letter,
its neighbours are taken, and the stream goes on.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from opintel.detector import Decoded, Message, Wire
from opintel.rejects import Reject
from opintel.rows import Batch
from opintel.streams.stage import CRASH
from opintel.tables import columns_joined


def decode(wire: Wire[Any], messages: Sequence[Message], payload: type) -> Decoded[Any]:
    """What the wire makes of the messages; where it raises, of each half of them. `payload` is the pipeline's."""
    try:
        return wire.decode(messages)
    except CRASH:
        raise
    except Exception as error:
        if len(messages) < 2:
            none = np.empty(0, dtype=np.int64)
            return Decoded(
                Batch.of([], payload), none, none, [Reject(n, [0], _bug(error)) for n in range(len(messages))]
            )
    middle = len(messages) // 2
    first, second = decode(wire, messages[:middle], payload), decode(wire, messages[middle:], payload)
    return Decoded(
        Batch.joined([first.rows, second.rows]),
        np.concatenate([first.message, second.message + middle]),
        np.concatenate([first.n, second.n]),
        [*first.rejects, *(reject._replace(message=reject.message + middle) for reject in second.rejects)],
        columns_joined([first.columns, second.columns]),
    )


def excerpt_of(wire: Wire[Any], body: bytes) -> bytes:
    """The start of a message as it may be kept; none of it where the wire raises, as nobody has looked for names."""
    try:
        return wire.redacted(body)
    except CRASH:
        raise
    except Exception:
        return b""


def _bug(error: Exception) -> str:
    """What was raised and where, without the error's own words, which may hold the message's."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    return f"expected rows or reasons of the wire, got {type(error).__name__} in {place}"
