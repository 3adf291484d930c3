"""Which file each message of a window is about, so that a completion and a state of one file count once.

FTS sends a state after each completion, in any order and sometimes across the end of a window. `reducer` settles the
rows of a window here against the files of the last hours, which are part of its state.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.finding import NS
from opintel.fts.transfers import ABORTED, MESSAGE, OK, QUEUE, STATE, Transfer, Transfers
from opintel.rows import Batch, Columns, Index, Numbers

REMEMBERED = 2 * 3600 * NS
"""So long after its last message a file is known, so that what comes of it is nothing new."""
MOST_FILES = 50_000
"""Files of a link that are remembered: those of the latest messages."""
_NONE = -1
"""In place of a row: there is none."""
_Ints = NDArray[np.int64]
_Bools = NDArray[np.bool_]


class KnownFile(msgspec.Struct, array_like=True, gc=False):
    """What was counted of a file."""

    outcome: int
    completed: int
    """1 where a completion has said so, 0 where only states have."""


class KnownFiles(Columns):
    """`KnownFile`s as columns; in a `Batch` the key is the link's, the id the file's, the time its last message's."""

    ROW = KnownFile
    outcome: Annotated[NDArray[np.int8], Numbers("<i1", ABORTED, OK)]
    completed: Annotated[NDArray[np.int8], Numbers("<i1", 0, 1)]


class FileOutcomes(NamedTuple):
    """The outcomes of a window, each file once; what is named are places of rows."""

    last: Index
    """(files that count,) the message whose outcome counts."""
    described: Index
    """(files that count,) the message that says most of it: the last completion, else the last state."""
    failed: Index
    """(files that failed or were aborted, with a text,) the message that says why: the completion before the state."""
    arrived: Index
    """(files that arrived, with a completion,) it: it knows size and rate."""
    attempts: _Ints
    """(keys,) tries at files: completions, and files of which only states have come."""
    known: Batch[KnownFile]
    """To be remembered for the next windows."""


def settle(rows: Batch[Transfer], known: Batch[KnownFile], end: int) -> FileOutcomes:
    """Each file's outcome in a window that ends at `end` (ns UTC); `rows` are sorted by (key, time, id).

    A file's outcome is that of its last message. It counts where it is news: a state is none where the file is known
    with that outcome, nor is a completion where only states were. Another completion is another try.
    """
    transfers: Transfers = rows.payload
    known = known.take(np.flatnonzero(known.time >= end - REMEMBERED))
    code = {key: n for n, key in enumerate(rows.key.values)}
    known_key = np.array([code.get(key, _NONE) for key in known.key.values], dtype=np.int64)[known.key.code]
    before, at = np.flatnonzero(known_key != _NONE), np.flatnonzero(transfers.kind != QUEUE)

    # by file: what is known of it, then its rows in order of time
    key = np.concatenate([known_key[before], rows.key.code[at]])
    file = np.concatenate([known.id[before], np.where(transfers.kind == MESSAGE, rows.id, transfers.file)[at]])
    order = np.lexsort((file, key))
    key, file = key[order], file[order]
    row = np.concatenate([np.full(len(before), _NONE), at])[order]
    said = np.concatenate([known.payload.outcome[before], transfers.outcome[at]])[order]
    done = np.concatenate([known.payload.completed[before] == 1, transfers.kind[at] != STATE])[order]
    begins = np.ones(len(order), dtype=np.bool_)
    begins[1:] = (np.diff(key) != 0) | (np.diff(file) != 0)
    begin, group = np.flatnonzero(begins), np.cumsum(begins) - 1

    def latest(wanted: _Bools) -> _Ints:
        """(files,) the last row of each file among these."""
        return np.maximum.reduceat(np.where(wanted, row, _NONE), begin)

    new = row != _NONE
    last, outcome = latest(new), said[np.append(begin, len(order))[1:] - 1]
    here, old = last != _NONE, ~new[begin]
    completions = np.add.reduceat((new & done).astype(np.int64), begin)
    again = old & done[begin] & (completions > 0)
    counts = here & (~old | (outcome != said[begin]) | again)
    tries = np.where(here, completions + (counts & (completions == 0)) - (~counts & (completions > 0)), 0)

    described = latest(new & done)
    described = np.where(described == _NONE, last, described)
    same = new & (said == outcome[group])
    text = same & np.array([value != "" for value in transfers.error.values], dtype=np.bool_)[transfers.error.code[row]]
    why, arrived = latest(text & done), latest(same & done)
    why = np.where(why == _NONE, latest(text), why)

    kept = np.flatnonzero(here)
    kept = kept[
        transfers.file[last[kept]] != rows.id[last[kept]]
    ]  # a file without an id has its row's: it is not seen again
    completed = np.maximum.reduceat(done, begin)
    fresh = KnownFiles(outcome[kept], completed[kept].astype(np.int8))
    replaced = before[order[begin[here & old]]]
    left = known.take(np.setdiff1d(np.arange(len(known)), replaced))
    added = Batch[KnownFile](rows.key.take(last[kept]), rows.time[last[kept]], file[begin[kept]], fresh)
    return FileOutcomes(
        last[counts],
        described[counts],
        why[counts & (outcome != OK) & (why != _NONE)],
        arrived[here & (outcome == OK) & (arrived != _NONE)],
        np.bincount(key[begin], weights=tries, minlength=len(code)).astype(np.int64),
        _newest(Batch.joined([left, added]).by_key()),
    )


def _newest(known: Batch[KnownFile]) -> Batch[KnownFile]:
    """The same, sorted by (key, time, id), with at most MOST_FILES of a key: the latest."""
    after = np.searchsorted(known.key.code, known.key.code, side="right")
    return known.take(np.flatnonzero(after - np.arange(len(known)) <= MOST_FILES))
