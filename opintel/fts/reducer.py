"""Stage 1 of the FTS domain: transfers by link in, one `LinkWindow` a link and closed window out.

Rows come from `opintel.fts.wire` through the worker, keyed `scope|source|destination`; records go to the judges of the
scope. A file counts once a window, by its last outcome there (`files`): retries are not failures, and a completion and
the state that follows it are one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from opintel.detector import Record, Reduced, Reducer, WindowRows
from opintel.finding import Window
from opintel.fts.files import FileOutcomes, KnownFile, KnownFiles, settle
from opintel.fts.link_windows import LINK, MESSAGES, OTHERS, SLICES, LinkWindow
from opintel.fts.templates.merging import form_id
from opintel.fts.texts.masking import mask
from opintel.fts.transfers import ABORTED, FAILED, OK, QUEUE, Transfer, Transfers, parts_of
from opintel.rows import Batch, Index, TextColumn

FORMS: Final = 30
"""Error forms listed in one link-window; the rest is counted in `other_forms`."""
EXAMPLE: Final = 300
"""Characters of an example."""
FACETS: Final = 8
"""VOs and activities listed of one link-window; the rest is one entry."""
JOBS: Final = 3
"""Jobs named for an error form."""
MOST_BYTES: Final = 1 << 62
"""Bytes of a link and window at most: sizes are what senders say."""
RATES: Final = (1e-6, 1e13)
"""Bytes/s between which a throughput is taken for one: what lies outside is unknown."""
_Ints = NDArray[np.int64]
_Reals = NDArray[np.float64]


class FtsReducer(Reducer[Transfer]):
    """`Reducer[Transfer]`: what it says of a window follows from the window's rows and the files of the last hours.

    The last outcome of a file is the largest (time, row id), an example the smallest.
    """

    name = "fts.links-and-errors"
    version = 5

    def __init__(self) -> None:
        self._known = Batch[KnownFile].of([], KnownFiles)

    def close(self, closing: WindowRows[Transfer]) -> Reduced:
        """One record a key with rows in the window, by (kind, key)."""
        window = closing.window
        records = []
        files = settle(closing.rows, self._known, window.end)
        self._known = files.known
        for key, payload in _link_windows(closing.rows, files, window):
            scope, source, destination = parts_of(key)
            bare = not source and not destination
            name = "" if bare else f"{source}|{destination}"
            records.append(Record(window, MESSAGES if bare else LINK, name, scope, payload))
        return Reduced(sorted(records, key=lambda r: (r.kind, r.key, r.scope)))

    def scope(self, key: str) -> str:
        """The FTS instance."""
        return parts_of(key)[0]

    def drop(self, key: str) -> None:
        """Forgets the link's files."""
        names = self._known.key.values
        if key in names:
            self._known = self._known.take(np.flatnonzero(self._known.key.code != names.index(key)))

    def state(self) -> Any:
        """The files that are known."""
        return self._known.plain()

    def restore(self, state: Any) -> None:
        """The inverse of `state`, on a fresh reducer."""
        self._known = Batch.from_plain(state, KnownFiles)


def _link_windows(rows: Batch[Transfer], files: FileOutcomes, window: Window) -> Iterator[tuple[str, LinkWindow]]:
    """Each key's window."""
    names, key = rows.key
    transfers: Transfers = rows.payload
    keys, queues = len(names), transfers.kind == QUEUE

    def cells_of(index: Index) -> _Ints:
        """(rows,) key and slice as one number."""
        return key[index].astype(np.int64) * SLICES + (rows.time[index] - window.start) * SLICES // (
            window.end - window.start
        )

    outcome, arrived = transfers.outcome[files.last], files.arrived
    cell = cells_of(files.last)
    ok, failed = (np.bincount(cell[outcome == this], minlength=keys * SLICES) for this in (OK, FAILED))
    logs, of_log = _log_rates(cells_of(arrived), transfers.throughput[arrived])
    bounds = np.searchsorted(of_log, np.arange(keys * SLICES + 1))
    cells = np.flatnonzero(ok + failed + np.diff(bounds))
    by_slice = (cells % SLICES, ok[cells], failed[cells], np.diff(bounds)[cells])
    slices = list(zip(*[c.tolist() for c in by_slice], _sums(logs, bounds[cells], bounds[cells + 1]), strict=True))
    of_key = np.searchsorted(cells, np.arange(keys + 1) * SLICES).tolist()
    begin, end = bounds[:-1:SLICES], bounds[SLICES::SLICES]
    log_rates = list(zip((end - begin).tolist(), _sums(logs, begin, end), _sums(logs * logs, begin, end), strict=True))
    oks, faileds = (column.reshape(keys, SLICES).sum(axis=1).tolist() for column in (ok, failed))
    aborted = np.bincount(key[files.last[outcome == ABORTED]], minlength=keys).tolist()
    attempts = files.attempts.tolist()
    sizes = _sizes(key[arrived].astype(np.int64), transfers.bytes[arrived], keys)
    errors = _errors(rows, files.failed)
    facets = _facets(rows, files)
    queue = _queues(rows, np.flatnonzero(queues))
    for k, name in enumerate(names):
        _, source, destination = parts_of(name)
        forms = _forms(rows.payload, errors[k]) if k in errors else []
        submitted, active = queue.get(k, (0, 0))
        yield (
            name,
            LinkWindow(
                source=source,
                destination=destination,
                ok=oks[k],
                failed=faileds[k],
                aborted=aborted[k],
                attempts=attempts[k],
                bytes=sizes[k],
                slices=slices[of_key[k] : of_key[k + 1]],
                log_rate=log_rates[k],
                forms=[form for form, _ in forms[:FORMS]],
                other_forms=sum(count for (_, _, count, _), _ in forms[FORMS:]),
                submitted=submitted,
                active=active,
                facets=facets.get(k, []),
                jobs=[jobs for _, jobs in forms[:FORMS]],
            ),
        )


def _sizes(key: _Ints, sizes: _Ints, keys: int) -> list[int]:
    """The sum of each key's sizes, at most MOST_BYTES."""
    roughly = np.bincount(key, weights=sizes, minlength=keys)
    exactly = np.zeros(keys, dtype=np.int64)
    np.add.at(exactly, key, sizes)
    return [int(n) for n in np.where(roughly < MOST_BYTES, exactly, MOST_BYTES).tolist()]


def _log_rates(cell: _Ints, throughput: _Reals) -> tuple[_Reals, _Ints]:
    """ln of the throughputs (bytes/s) that are known, and their cells, in order of cell."""
    known = (throughput >= RATES[0]) & (throughput <= RATES[1])
    order = np.argsort(cell[known], kind="stable")
    # numpy's log may differ in the last bit from one CPU to another
    logs = np.array([math.log(rate) for rate in throughput[known][order].tolist()], dtype=np.float64)
    return logs, cell[known][order]


def _sums(values: _Reals, begin: _Ints, end: _Ints) -> list[float]:
    """The sum of values[begin:end] for each span, rounded once: it does not depend on the order of rows."""
    count = end - begin
    padded = np.concatenate([values, np.zeros(2)])
    sums = np.where(count == 0, 0.0, padded[begin] + np.where(count == 1, 0.0, padded[begin + 1]))
    many = np.flatnonzero(count > 2)
    plain = values.tolist()
    spans = zip(begin[many].tolist(), end[many].tolist(), strict=True)
    sums[many] = [math.fsum(plain[first:after]) for first, after in spans]
    found: list[float] = sums.tolist()
    return found


def _queues(rows: Batch[Transfer], index: Index) -> dict[int, tuple[int, int]]:
    """Key's code → (submitted, active) as the optimiser said last."""
    index = index[np.lexsort((rows.id[index], rows.time[index]))]
    said = (rows.key.code[index], rows.payload.submitted[index], rows.payload.active[index])
    return {k: (submitted, active) for k, submitted, active in zip(*(column.tolist() for column in said), strict=True)}


def _facets(rows: Batch[Transfer], files: FileOutcomes) -> dict[int, list[tuple[str, str, int, int]]]:
    """Key's code → (VO, activity, ok, failed), most failures first, then most files; the last of all that are left."""
    outcome = rows.payload.outcome[files.last]
    vo, activity = (c.take(files.described).ordered() for c in (rows.payload.vo, rows.payload.activity))
    vos, activities = len(vo.values), len(activity.values)
    cell = (rows.key.code[files.last].astype(np.int64) * vos + vo.code) * activities + activity.code
    cells, place = np.unique(cell, return_inverse=True)
    ok, failed = (np.bincount(place[outcome == this], minlength=len(cells)).tolist() for this in (OK, FAILED))
    found: dict[int, list[tuple[str, str, int, int]]] = defaultdict(list)
    for at, *counts in zip(cells.tolist(), ok, failed, strict=True):
        link, who = divmod(at, vos * activities)
        if any(counts):
            found[link].append((vo.values[who // activities], activity.values[who % activities], *counts))
    return {link: _first_facets(every) for link, every in found.items()}


def _first_facets(every: list[tuple[str, str, int, int]]) -> list[tuple[str, str, int, int]]:
    ranked = sorted(every, key=lambda facet: (-facet[3], -facet[2], facet[:2]))
    first, rest = ranked[:FACETS], ranked[FACETS:]
    left = [(OTHERS, OTHERS, sum(ok for *_, ok, _ in rest), sum(failed for *_, failed in rest))]
    return first + left if rest else first


_Error = tuple[int, int, int, str, str]
"""time, row id, place of the row, text, form"""
_Form = tuple[str, str, int, str]
"""template id, form, count, example"""


def _errors(rows: Batch[Transfer], index: Index) -> dict[int, list[_Error]]:
    """Key's code → the errors of these rows."""
    texts: TextColumn = rows.payload.error.take(index)
    forms = [mask(text) if text else "" for text in texts.values]
    found: dict[int, list[_Error]] = defaultdict(list)
    columns = (rows.key.code[index], rows.time[index], rows.id[index], index, texts.code)
    for k, time, id, at, code in zip(*(column.tolist() for column in columns), strict=True):
        if texts.values[code]:
            found[k].append((time, id, at, texts.values[code], forms[code]))
    return found


def _forms(transfers: Transfers, errors: list[_Error]) -> list[tuple[_Form, list[tuple[str, str]]]]:
    """(template id, earliest form and example, count) and the first jobs with it, most frequent first."""
    ids = {form: form_id(form) for form in {error[-1] for error in errors}}
    found: dict[str, list[_Error]] = {}
    for error in errors:
        found.setdefault(ids[error[-1]], []).append(error)
    forms = []
    for id, same in found.items():
        same.sort()
        *_, text, form = same[0]
        forms.append(((id, form, len(same), text[:EXAMPLE]), _jobs(transfers, same)))
    return sorted(forms, key=lambda found: (-found[0][2], found[0][0]))


def _jobs(transfers: Transfers, errors: list[_Error]) -> list[tuple[str, str]]:
    """The first jobs of these errors, each once: (id, link to its log)."""
    job, link = transfers.job, transfers.log_link
    found: dict[str, str] = {}
    for _, _, at, *_ in errors:
        name = job.values[job.code[at]]
        if name:
            found.setdefault(name, link.values[link.code[at]])
            if len(found) == JOBS:
                break
    return list(found.items())
