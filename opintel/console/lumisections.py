"""Runs and lumisections as the shift pages draw them: read from the `quality` findings and sign-offs in the store.

All texts are untrusted; the templates escape them.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import sqlalchemy as sa

from opintel.dqm.quality.certify import (
    CERTIFIED,
    SEVERITY,
    Defect,
    LumisectionQuality,
    SignOff,
    Standing,
    certified,
    defects,
    standings,
)
from opintel.site.certification import read_quality, sign_offs
from opintel.store import Store
from opintel.store import schema as t

Json = dict[str, Any]
MOST = 60_000
"""The newest `quality` findings of a stream that are read."""
COLUMNS = 400
"""Of a strip; of a longer run a column is several lumisections, in the worst of their states."""
TICKS = 10
"""Numbers above a strip, at most some more."""
STEPS = [n * 10**power for power in range(9) for n in (1, 2, 5)]
ALL = "all subsystems"


class JudgedRun(NamedTuple):
    """A run as far as it has been judged. Times in ns UTC."""

    number: int
    start: int
    end: int
    windows: dict[int, tuple[int, int]]
    """Lumisection → its window, in order."""
    qualities: list[LumisectionQuality]

    @property
    def subsystems(self) -> list[str]:
        """Those that sent anything, in order of name."""
        return sorted({one.subsystem for one in self.qualities})


class RunView(NamedTuple):
    """What follows from a run and what was signed off about it."""

    run: JudgedRun
    signed: list[SignOff]
    standings: Mapping[tuple[int, int, str], Standing]
    certified: list[list[int]]
    defects: list[Defect]

    def standing(self, lumisection: int, subsystem: str) -> Standing | None:
        """None where a subsystem has nothing in a lumisection."""
        return self.standings.get((self.run.number, lumisection, subsystem))

    @property
    def good(self) -> int:
        """How many lumisections are certified."""
        return sum(last - first + 1 for first, last in self.certified)


class JudgedRuns:
    """The runs of the streams. Findings never change, so what was read of one is kept: pages are polled."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: dict[str, dict[str, tuple[LumisectionQuality, int, int] | None]] = {}
        self._runs: dict[str, tuple[int, dict[int, JudgedRun]]] = {}
        self._views: dict[tuple[str, int], tuple[tuple[int, int], RunView]] = {}
        self._lock = threading.Lock()

    def runs(self, stream: str) -> dict[int, JudgedRun]:
        """Number → run, the newest first."""
        table = t.finding.c
        ours = (table.stream == stream) & (table.kind == "quality")
        with self._lock, self._store.read() as connection:
            count = connection.execute(sa.select(sa.func.count()).where(ours)).scalar_one()
            counted, runs = self._runs.get(stream, (-1, {}))
            if counted != count:
                runs = _by_run([one for one in self._newest(connection, stream, ours) if one is not None])
                self._runs[stream] = count, runs
            return runs

    def _newest(
        self, connection: sa.Connection, stream: str, ours: sa.ColumnElement[bool]
    ) -> list[tuple[LumisectionQuality, int, int] | None]:
        table = t.finding.c
        query = sa.select(table.id, table.window_start, table.window_end).where(ours)
        rows = connection.execute(query.order_by(table.window_end.desc(), table.id.desc()).limit(MOST)).all()
        before = self._read.get(stream, {})
        windows = {row.id: (row.window_start, row.window_end) for row in rows}
        known = {id: before[id] for id in windows if id in before}
        missing = [id for id in windows if id not in known]
        for at in range(0, len(missing), 500):
            contents = sa.select(table.id, table.content).where(table.id.in_(missing[at : at + 500]))
            for row in connection.execute(contents):
                quality = read_quality(row.content)
                known[row.id] = None if quality is None else (quality, *windows[row.id])
        self._read[stream] = known
        return list(known.values())

    def view(self, stream: str, run: JudgedRun) -> RunView:
        """A run with what follows from it."""
        signed = sign_offs(self._store, run.number, stream)
        state = (len(run.qualities), len(signed))
        with self._lock:
            known = self._views.get((stream, run.number))
            if known is None or known[0] != state:
                found = standings(run.qualities, signed)
                good = certified(run.qualities, signed)[str(run.number)]
                known = state, RunView(run, signed, found, good, defects(run.qualities, signed))
                self._views = dict([*self._views.items(), ((stream, run.number), known)][-20:])
            return known[1]


def place_at(runs: Mapping[int, JudgedRun], time: int) -> tuple[int, int] | None:
    """(run, lumisection) that a time (ns UTC) lies in, or the last one before it; None before all of them."""
    before = [run for run in runs.values() if run.start <= time]
    if not before:
        return None
    run = max(before, key=lambda one: one.start)
    placed = sorted((start, number) for number, (start, _) in run.windows.items())
    return run.number, placed[bisect_right(placed, (time, 1 << 62)) - 1][1]


def strips(view: RunView) -> Json:
    """The run as rows of subsystems and columns of lumisections: `columns`, `width` (lumisections a column), `first`,
    `ticks` [(% of the width, number)] and `rows`, the first of them for all subsystems: {name, cells [{x, width,
    status, number, to, words}], signed [(x, width)], share, words}."""
    first, last = min(view.run.windows), max(view.run.windows)
    width = -(-(last - first + 1) // COLUMNS)
    columns = -(-(last - first + 1) // width)
    subsystems = view.run.subsystems
    by_row: dict[str, dict[int, Standing]] = {name: {} for name in (ALL, *subsystems)}
    for (_, number, subsystem), standing in view.standings.items():
        by_row.setdefault(subsystem, {})[number] = standing
    for number in view.run.windows:
        these = [by_row[name].get(number, Standing("insufficient", None, "")) for name in subsystems]
        by_row[ALL][number] = max(these, key=lambda one: SEVERITY.index(one.status))
    rows = [_row(name, of, first, width, joined=name != ALL) for name, of in by_row.items()]
    step = next(n for n in STEPS if n * TICKS >= last - first)
    numbers = [first, *range((first + step // 2) // step * step + step, last + 1, step)]
    places = [(round(100 * (number - first) / (columns * width), 2), str(number)) for number in numbers]
    ticks = [(at, text) for at, text in places if at < 96]  # a number needs room
    return {"columns": columns, "width": width, "first": first, "rows": rows, "ticks": ticks}


def _row(name: str, of: Mapping[int, Standing], first: int, width: int, *, joined: bool) -> Json:
    """A row; with `joined`, neighbours of one state are one cell."""
    columns: dict[int, list[tuple[int, Standing]]] = {}
    for number in sorted(of):
        columns.setdefault((number - first) // width, []).append((number, of[number]))
    cells: list[Json] = []
    signed: list[tuple[int, int]] = []
    for x, these in sorted(columns.items()):
        status = max((standing.status for _, standing in these), key=SEVERITY.index)
        last = cells[-1] if cells else None
        if joined and last and last["x"] + last["width"] == x and last["status"] == status:
            last["width"], last["to"] = last["width"] + 1, these[-1][0]
        else:
            cells.append({"x": x, "width": 1, "status": status, "number": these[0][0], "to": these[-1][0]})
        if any(standing.signed for _, standing in these):
            if signed and sum(signed[-1]) == x:
                signed[-1] = (signed[-1][0], signed[-1][1] + 1)
            else:
                signed.append((x, 1))
    for cell in cells:
        cell["words"] = f"{span(cell['number'], cell['to'])}: {cell['status']}"
    good = sum(standing.status in CERTIFIED for standing in of.values())
    counts = [(status, sum(standing.status == status for standing in of.values())) for status in SEVERITY]
    words = ", ".join(f"{n} {status}" for status, n in counts if n)
    return {"name": name, "cells": cells, "signed": signed, "share": good / max(1, len(of)), "words": words}


def span(first: int, last: int) -> str:
    """A range of lumisections in words."""
    return str(first) if first == last else f"{first} to {last}"


def _by_run(read: Sequence[tuple[LumisectionQuality, int, int]]) -> dict[int, JudgedRun]:
    ordered = sorted(read, key=lambda one: (one[0].run, one[0].lumisection, one[0].subsystem))
    runs = [_run(number, list(these)) for number, these in groupby(ordered, key=lambda one: one[0].run)]
    return {run.number: run for run in sorted(runs, key=lambda run: (run.end, run.number), reverse=True)}


def _run(number: int, these: Sequence[tuple[LumisectionQuality, int, int]]) -> JudgedRun:
    windows = {one.lumisection: (start, end) for one, start, end in these}
    starts, ends = (min(start for _, start, _ in these), max(end for _, _, end in these))
    return JudgedRun(number, starts, ends, windows, [one for one, _, _ in these])
