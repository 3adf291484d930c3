"""The rows of the FTS domain: `Transfers`, which `opintel.fts.wire` makes and `opintel.fts.reducer` counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.rows import Columns, Numbers, TextColumn

OK, FAILED, ABORTED = 1, 0, -1
"""`t_final_transfer_state_flag`; a filter on 0 would drop the aborts."""


class Transfer(msgspec.Struct, array_like=True, gc=False):
    """One event of a file's transfer, of any FTS message type and year, with personal data replaced.

    `kind` is `complete` or `state` (a final outcome of the file), `queue` (the optimiser's view of a link) or `message`
    (a bare error text without hosts or times: it has templates, no link).
    """

    kind: str
    scope: str
    """The FTS instance (`endpnt`)."""
    source: str
    destination: str
    """Host names, lower case, without protocol and port."""
    file: int
    """Hash of job and file id: a file's retries share it."""
    outcome: int
    """OK, FAILED or ABORTED."""
    error: str = ""
    """The error as sent, at most 1024 characters; empty on success."""
    bytes: int = 0
    """File size as a completion has it; counted on success only."""
    throughput: float = 0.0
    """bytes/s of a successful transfer; 0 where unknown (the field is meaningless on failure)."""
    duration: float = 0.0
    """s from start to end of the transfer process; 0 where unknown."""
    submitted: int = 0
    active: int = 0
    """Optimiser's queue of the link; `queue` only."""
    vo: str = ""
    activity: str = ""
    """Who moves the file, and what for; empty where the message does not say."""
    job: str = ""
    log_link: str = ""
    """The job's id and the URL (http or https) of FTS's log about it, where the file did not arrive."""


KINDS = ("complete", "state", "queue", "message")
"""Kinds of transfer, in the order of their codes."""
STATE, QUEUE, MESSAGE = 1, 2, 3
_Count = Annotated[NDArray[np.int64], Numbers("<i8", 0)]
_Real = Annotated[NDArray[np.float64], Numbers("<f8", 0.0)]
_LATER = ("vo", "activity", "job", "log_link")
"""Columns that an earlier build does not write."""


class Transfers(Columns):
    """`Transfer`s as columns. Scope, source and destination stand in the row's key, `scope|source|destination`."""

    ROW = Transfer
    ADDED = len(_LATER)
    kind: Annotated[NDArray[np.int8], Numbers("<i1", 0, len(KINDS) - 1)]
    """Place in KINDS."""
    file: Annotated[NDArray[np.int64], Numbers("<i8")]
    outcome: Annotated[NDArray[np.int8], Numbers("<i1", ABORTED, OK)]
    error: TextColumn
    bytes: _Count
    throughput: _Real
    duration: _Real
    submitted: _Count
    active: _Count
    vo: TextColumn
    activity: TextColumn
    job: TextColumn
    log_link: TextColumn

    @classmethod
    def of(cls, payloads: Sequence[Transfer]) -> Transfers:
        return cls(
            np.array([KINDS.index(p.kind) for p in payloads], dtype=np.int8),
            np.array([p.file for p in payloads], dtype=np.int64),
            np.array([p.outcome for p in payloads], dtype=np.int8),
            TextColumn.of([p.error for p in payloads]),
            np.array([p.bytes for p in payloads], dtype=np.int64),
            np.array([p.throughput for p in payloads], dtype=np.float64),
            np.array([p.duration for p in payloads], dtype=np.float64),
            np.array([p.submitted for p in payloads], dtype=np.int64),
            np.array([p.active for p in payloads], dtype=np.int64),
            *(TextColumn.of([getattr(p, name) for p in payloads]) for name in _LATER),
        )

    def row(self, n: int, key: str) -> Transfer:
        return Transfer(
            KINDS[self.kind[n]],
            *parts_of(key),
            int(self.file[n]),
            int(self.outcome[n]),
            self.error.values[self.error.code[n]],
            int(self.bytes[n]),
            float(self.throughput[n]),
            float(self.duration[n]),
            int(self.submitted[n]),
            int(self.active[n]),
            *(column.values[column.code[n]] for column in (self.vo, self.activity, self.job, self.log_link)),
        )


def parts_of(key: str) -> tuple[str, str, str]:
    """(scope, source, destination); a foreign key without them belongs to no link."""
    parts = key.rsplit("|", 2)
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else (key, "", "")
