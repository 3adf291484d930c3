"""Stage 1 of the FTS domain: transfers by link in, one `LinkWindow` a link and closed window out.

Rows come from `opintel.fts.wire` through the worker, keyed `scope|source|destination`; records go to the judges of the
scope. A file counts once a window, by its last outcome there, so retries are not failures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from opintel.detector import Controls, Record, Row
from opintel.finding import Window
from opintel.fts.masking import form_id, mask
from opintel.fts.records import ABORTED, LINK, MESSAGES, OK, SLICES, LinkWindow, Transfer

FORMS: Final = 30
"""Error forms listed in one link-window; the rest is counted in `other_forms`."""
EXAMPLE: Final = 300
"""Characters of an example."""


class FtsReducer:
    """`Reducer[Transfer]`: collects the rows of open windows, does everything else when a window closes.

    The records depend on the set of rows in the window, not on their order: the last outcome of a file is the largest
    (time, row id), an example the smallest. Memory: one entry a file (a bare message counts as one), with its error
    text if it failed, while its window is open, which the stream's lateness bounds. The cap on keys is the worker's.
    """

    name = "fts.links-and-errors"
    version = 1

    def __init__(self) -> None:
        self._keys: dict[str, dict[int, _Open]] = {}

    def update(self, rows: Sequence[Row[Transfer]], window_starts: Sequence[int]) -> None:
        """Takes rows with the start (ns UTC) of each one's window."""
        keys = self._keys
        for row, start in zip(rows, window_starts, strict=True):
            windows = keys.get(row.key)
            if windows is None:
                windows = keys[row.key] = {}
            window = windows.get(start)
            if window is None:
                window = windows[start] = _Open()
            transfer = row.payload
            kind = transfer.kind
            if kind == "queue":
                window.queue = max(window.queue, (row.time, row.id, transfer.submitted, transfer.active))
                continue
            window.attempts += 1
            file = row.id if kind == "message" else transfer.file
            last = window.files.get(file)
            if last is None or row.time > last[0] or (row.time == last[0] and row.id > last[1]):
                window.files[file] = (
                    row.time,
                    row.id,
                    transfer.outcome,
                    transfer.bytes,
                    transfer.throughput,
                    transfer.error,
                )

    def close(self, window: Window, keys: Sequence[str], controls: Controls) -> list[Record[Any]]:
        """One record a key with rows in `window`, by (kind, key); forgets the window."""
        records = []
        for key in keys:
            windows = self._keys.get(key, {})
            rows = windows.pop(window.start, None)
            if not windows:
                self._keys.pop(key, None)
            if rows is not None:
                scope, source, destination = _parts(key)
                bare = not source and not destination
                payload = _link_window(source, destination, rows, window)
                name = "" if bare else f"{source}|{destination}"
                records.append(Record(window, MESSAGES if bare else LINK, name, scope, payload))
        return sorted(records, key=lambda r: (r.kind, r.key, r.scope))

    def scope(self, key: str) -> str:
        """The FTS instance."""
        return _parts(key)[0]

    def drop(self, key: str) -> None:
        """Forgets a key."""
        self._keys.pop(key, None)

    def state(self) -> dict[str, Any]:
        """key → [[window start, attempts, queue, files, messages], …], sorted, of lists and scalars."""
        return {
            key: [[start, *windows[start].plain()] for start in sorted(windows)]
            for key, windows in sorted(self._keys.items())
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`, on a fresh reducer."""
        for key, windows in state.items():
            self._keys[key] = {start: _Open.from_plain(*plain) for start, *plain in windows}


def _parts(key: str) -> tuple[str, str, str]:
    """(scope, source, destination); a foreign key without them belongs to no link."""
    parts = key.rsplit("|", 2)
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else (key, "", "")


_Last = tuple[int, int, int, int, float, str]
"""A file's last outcome: time, row id, outcome, bytes, throughput, error."""
_NO_QUEUE: Final = (-(2**63), -(2**63), 0, 0)
"""Before any (time, row id, submitted, active)."""


class _Open:
    """The rows of one key in one window that is still open."""

    __slots__ = ("attempts", "files", "queue")

    def __init__(self) -> None:
        self.attempts = 0
        self.queue: tuple[int, int, int, int] = _NO_QUEUE
        self.files: dict[int, _Last] = {}
        """Last outcome by file; a bare message is a file of its own."""

    def plain(self) -> list[Any]:
        files = [[file, *last] for file, last in sorted(self.files.items())]
        return [self.attempts, list(self.queue), files]

    @classmethod
    def from_plain(cls, attempts: int, queue: list[int], files: list[list[Any]]) -> _Open:
        made = cls()
        made.attempts = attempts
        made.queue = (queue[0], queue[1], queue[2], queue[3])
        made.files = {file: (t, i, outcome, size, rate, error) for file, t, i, outcome, size, rate, error in files}
        return made


def _link_window(source: str, destination: str, rows: _Open, window: Window) -> LinkWindow:
    begin, length = window.start, window.end - window.start
    ok = failed = aborted = size = 0
    slices: dict[int, list[int]] = {}
    log_rates: dict[int, list[float]] = {}
    errors: list[tuple[int, int, str]] = []
    for time, id, outcome, bytes_, throughput, error in rows.files.values():
        at = (time - begin) * SLICES // length
        if outcome == OK:
            ok += 1
            slices.setdefault(at, [0, 0])[0] += 1
            size += bytes_
            if 0.0 < throughput < math.inf:
                log_rates.setdefault(at, []).append(math.log(throughput))
            continue
        if outcome == ABORTED:
            aborted += 1
        else:
            failed += 1
            slices.setdefault(at, [0, 0])[1] += 1
        if error:
            errors.append((time, id, error))
    forms = _forms(errors) if errors else []
    rates = [rate for part in log_rates.values() for rate in part]
    return LinkWindow(
        source=source,
        destination=destination,
        ok=ok,
        failed=failed,
        aborted=aborted,
        attempts=rows.attempts,
        bytes=size,
        # fsum is exact before its last rounding, so the sums do not depend on the order of rows
        slices=[
            (at, slices[at][0], slices[at][1], len(log_rates.get(at, ())), math.fsum(log_rates.get(at, ())))
            for at in sorted(slices)
        ],
        log_rate=(len(rates), math.fsum(rates), math.fsum([rate * rate for rate in rates])),
        forms=forms[:FORMS],
        other_forms=sum(count for _, _, count, _ in forms[FORMS:]),
        submitted=rows.queue[2],
        active=rows.queue[3],
    )


def _forms(errors: list[tuple[int, int, str]]) -> list[tuple[str, str, int, str]]:
    """(template id, form, count, earliest example) of the errors (time, row id, text), most frequent first."""
    found: dict[str, list[tuple[int, int, str]]] = {}
    for error in errors:
        found.setdefault(mask(error[2]), []).append(error)
    forms = [(form_id(form), form, len(same), min(same)[2][:EXAMPLE]) for form, same in found.items()]
    return sorted(forms, key=lambda form: (-form[2], form[0], form[1]))
