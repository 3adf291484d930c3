"""What is read of a table of triggers: GPS times in whole nanoseconds, SNRs, numbers for channels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from opintel.gw.segments import nanoseconds

TIMES = ("t_peak", "time", "t")
"""A trigger's GPS seconds: as `find_triggers` calls them, as Omicron does, as plain tables do."""
_NEVER = -9e9
"""GPS seconds before all that is live: where rows go whose time or SNR is no number."""


def times_and_snrs(table: pa.Table, what: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """GPS ns (to the microsecond) and SNR of each row; a row without two finite numbers lies before all time, SNR 0."""
    name = next((n for n in TIMES if n in table.column_names), TIMES[0])
    time, snr = (np.array(_column(table, n, what).cast(pa.float64()).to_numpy()) for n in (name, "snr"))
    good = np.isfinite(time) & np.isfinite(snr) & (np.abs(time) < -_NEVER)
    time[~good], snr[~good] = _NEVER, 0.0
    return nanoseconds(time), snr


def channel_numbers(table: pa.Table, what: str, wanted: Callable[[str], bool]) -> tuple[list[str], NDArray[np.int64]]:
    """The names of wanted channels, sorted, and of each row its channel's place among them, −1 where it has none."""
    named = pc.dictionary_encode(_column(table, "channel", what).combine_chunks().cast(pa.string()), "encode")
    names = named.dictionary.to_pylist()
    order = {name: at for at, name in enumerate(sorted(n for n in names if n is not None and wanted(n)))}
    number = np.array([order.get(name, -1) for name in names] or [-1], dtype=np.int64)
    return list(order), number[named.indices.to_numpy(zero_copy_only=False).astype(np.int64)]


def _column(table: pa.Table, name: str, what: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise ValueError(f"{what}: expected a column {name}, got {', '.join(table.column_names) or 'none'}")
    return table[name]
