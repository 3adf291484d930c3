"""A channel's samples in a file: where they begin, how many a second they are, and how some of them are read."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.finding import NS
from opintel.gw.samples import MAX_RATE
from opintel.gw.wire.arrow_rows import EARLIEST, LATEST
from opintel.gw.wire.channels import MAX_UNIT, MIN_RATE, flags_of_bits, rate_of
from opintel.gw.wire.seconds import on_grid

Read = Callable[[int, int], NDArray[Any]]


class FileSeries(NamedTuple):
    """Evenly spaced samples of a channel."""

    name: str
    start: int
    """ns GPS, of the first sample."""
    rate: float
    """Hz."""
    size: int
    """Samples."""
    read: Read
    """(first, end) → those samples: integers or floats."""
    unit: str = ""
    dtype: str = ""
    bits: tuple[str, ...] = ()
    """Of a state vector: the flags that its bits stand for, where the file says so."""
    is_state: bool = False

    def time(self, n: int) -> int:
        """ns GPS of sample n."""
        return self.start + round(n * NS / self.rate)

    def first(self, time: int) -> int:
        """The first sample that is not before a time (ns GPS)."""
        n = math.ceil((time - self.start - 0.5) / NS * self.rate)
        return min(max(n, 0), self.size)

    @property
    def end(self) -> int:
        """ns GPS, after the last sample."""
        return self.time(self.size)


def series_of(name: str, start: Any, rate: Any, data: Any, unit: str = "", bits: tuple[str, ...] = ()) -> FileSeries:
    """A series; `start` in GPS s, `rate` in Hz, `data` an array or a dataset. Raises ValueError that says what is
    wrong with it.
    """
    if len(data.shape) != 1:
        raise ValueError(f"expected one row of samples, got the shape {data.shape}")
    if data.dtype.kind not in "fiu":
        raise ValueError(f"expected samples that are numbers, got {str(data.dtype)[:50]}")
    if not data.shape[0]:
        raise ValueError("expected samples, got none")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise ValueError(f"expected a rate of {MIN_RATE} to {MAX_RATE} Hz, got {rate}")
    rate = rate_of(float(rate))
    begin = int(on_grid(np.array([nanoseconds(start)]), np.array([rate]))[0])
    series = FileSeries(name, begin, rate, data.shape[0], _reader(data), "", data.dtype.name, bits)
    if not EARLIEST <= begin < series.end < LATEST:
        raise ValueError(f"expected samples of 2000 to 2100, got GPS {start}")
    if wrong := flags_of_bits(bits)[1]:
        raise ValueError(wrong)
    unit = unit if unit.isprintable() and len(unit.encode()) <= MAX_UNIT else ""
    return series._replace(unit=unit)


def nanoseconds(seconds: Any) -> int:
    """GPS seconds as ns, exactly where they are an integer.

    >>> nanoseconds(1126259446.25), nanoseconds(1126259446)
    (1126259446250000000, 1126259446000000000)
    """
    if isinstance(seconds, int | np.integer):
        return int(seconds) * NS
    if not math.isfinite(seconds):
        raise ValueError(f"expected a start in GPS seconds, got {seconds}")
    whole = math.floor(float(seconds))
    return whole * NS + round((float(seconds) - whole) * NS)


def _reader(data: Any) -> Read:
    return lambda first, end: np.asarray(data[first:end])
