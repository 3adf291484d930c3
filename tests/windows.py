"""Closed windows as a reducer sees them, made of rows: for tests of reducers by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opintel.detector import Controls, NoSettings, Record, Reducer, WindowRows
from opintel.finding import Window
from opintel.rows import Batch, Row


def closed(reducer: Reducer[Any], window: Window, rows: Sequence[Row[Any]], payload: type) -> list[Record[Any]]:
    """The records of those of the rows that are in the window; none where there are none, as in the worker."""
    here = [row for row in rows if window.start <= row.time < window.end]
    if not here:
        return []
    batch, none = Batch.of(here, payload).by_key(), Batch.of([], payload)
    return list(reducer.close(WindowRows(window, batch, none, Controls(), NoSettings(), {})).records)
