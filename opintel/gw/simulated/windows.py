"""The windows of a simulated interferometer as judges see them, without log and services: for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

import numpy as np

from opintel.detector import Closing, Controls, Judge, Message, Record, WindowRows
from opintel.finding import NS, Finding, Window
from opintel.gw.channels.reducer import AFTER, BEFORE, GwReducer
from opintel.gw.samples import Pieces
from opintel.gw.simulated.simulate import GwSimulator
from opintel.gw.wire import GwWire
from opintel.rows import Batch

SIZE = 2 * NS


Played = list[tuple[Window, list[Record[Any]]]]


def closings(simulation: GwSimulator, only: Container[str] | None = None) -> Iterator[tuple[Window, list[Record[Any]]]]:
    """(window, records) of one interferometer's whole story, through wire and stage 1; of the keys `only`."""
    wire, reducer = GwWire(), GwReducer()
    settings = reducer.Settings()
    seconds: dict[int, Batch[Any]] = {}
    for _, body in simulation.messages():
        rows = wire.decode([Message(body)]).rows
        if only is not None:
            kept = [n for n, code in enumerate(rows.key.code.tolist()) if rows.key.values[code] in only]
            rows = rows.take(np.array(kept, dtype=np.int64))
        if len(rows):
            seconds[int(rows.time[0]) // NS * NS] = rows
    if not seconds:
        return
    nothing: Batch[Any] = Batch.of([], Pieces)

    def between(begin: int, end: int) -> list[Batch[Any]]:
        return [seconds[time] for time in range(begin, end, NS) if time in seconds]

    for start in range(min(seconds) // SIZE * SIZE, max(seconds) + 1, SIZE):
        window = Window(start, start + SIZE)
        own = Batch.joined([nothing, *between(start, window.end)]).by_key()
        beside = [*between(start - BEFORE, start), *between(window.end, window.end + AFTER)]
        context = Batch.joined([nothing, *beside]).by_key()
        closing = WindowRows(window, own, context, Controls(), settings, {})
        yield window, sorted(reducer.close(closing).records, key=lambda one: (one.kind, one.key))


def judged(judge: Judge, played: Played, **settings: Any) -> list[Finding]:
    """All that a judge says of the windows, with these settings."""
    own = judge.Settings(**settings)
    found: list[Finding] = []
    for window, records in played:
        found += judge.judge(Closing(window, "L1", records, Controls(), own, "", complete=True))
    return found


def with_strain(played: Played, other: Played) -> Played:
    """`played`, but what `other` says of the channels that it has."""
    found = []
    for (window, records), (_, instead) in zip(played, other, strict=True):
        of = {one.key: one for one in instead}
        found.append((window, [of.get(one.key, one) for one in records]))
    return found
