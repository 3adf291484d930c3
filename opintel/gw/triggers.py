"""Triggers of arrays of samples: the engine of the stream, over windows in a row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from opintel.gw.engine import TriggerEngine, TriggersFound

WINDOW, BESIDE = 8.0, 1.0
"""Seconds of a window, and of what is seen before and after it."""
FIRST = 64.0
"""Seconds that the spectrum is learnt from before the first window."""

SCHEMA = pa.schema(
    [
        ("channel", pa.string()),
        *((name, pa.float64()) for name in ("t_peak", "t_start", "t_end", "f_peak", "f_low", "f_high", "q", "snr")),
    ]
)


def find_triggers(
    data: NDArray[np.generic],
    sample_rate: float,
    start: float,
    *,
    snr: float = 5.5,
    channels: Sequence[str] | None = None,
) -> pa.Table:
    """The triggers of `data` (C, N) that begin at `start` (GPS seconds), sorted by channel and time.

    NaN is a gap. Times are GPS seconds, frequencies Hz; `t_start` to `f_high` is what the loud tiles of an event
    cover. `snr` is sqrt(2 E), E the energy of the peak, of mean 1 in noise, less what noise adds by moving it.
    `channel` is the row's number as text where no names are given. Not judged are .75 s at both ends and beside a gap,
    and channels with less than 5 s of good data.
    """
    if data.ndim != 2 or (channels is not None and len(channels) != len(data)):
        raise ValueError(f"expected data (channels, samples) and a name a channel, got {data.shape} and {channels!r}")
    names = list(channels) if channels is not None else [str(i) for i in range(len(data))]
    found = _found(data, _engine(float(sample_rate), float(snr))) if data.size else []
    columns = {
        name: np.concatenate([np.zeros(0), *(getattr(f, name) for f in found)])
        for name in TriggersFound.__annotations__
    }
    order = np.lexsort((columns["time"], columns["channel"]))
    arrays = [pa.array([names[int(i)] for i in columns["channel"][order]], pa.string())]
    arrays += [pa.array(start + 1e-9 * columns[name][order]) for name in ("time", "start", "end")]
    arrays += [pa.array(columns[name][order]) for name in ("frequency", "low", "high", "q", "snr")]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


@lru_cache(maxsize=8)
def _engine(sample_rate: float, snr: float) -> TriggerEngine:
    """Its windows are computed once: a fifth of the time of a call with one channel."""
    return TriggerEngine(sample_rate, WINDOW, BESIDE, BESIDE, snr=snr)


def _found(data: NDArray[np.generic], engine: TriggerEngine) -> list[TriggersFound]:
    rate = engine.sample_rate
    state = engine.learnt(data[:, : round(FIRST * rate)], engine.fresh(len(data)))
    found = []
    for number in range(int(np.ceil(data.shape[1] / (WINDOW * rate)))):
        first = round((number * WINDOW - BESIDE) * rate)
        window = np.full((len(data), engine.samples), np.nan, np.float32 if data.dtype == np.float32 else np.float64)
        low, high = max(first, 0), min(first + engine.samples, data.shape[1])
        window[:, low - first : high - first] = data[:, low:high]
        result, state = engine.process(window, round(number * WINDOW * 1e9), state)
        found.append(result.found)
    return found
