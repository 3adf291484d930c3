"""One formula, two machines: the detector's arithmetic runs on arrays (many series) or on plain floats (one row).

Only operations that IEEE 754 rounds correctly are here (with + − × ÷ and comparisons), so both machines give the same
bits and a row costs microseconds without NumPy's overhead. What needs a logarithm is done elsewhere, for few rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Number = Any
"""A float, or an array (n,) of float64: one row of each of n series."""


class Machine(NamedTuple):
    """What the formulas use besides operators."""

    where: Callable[[Any, Number, Number], Number]
    least: Callable[[Number, Number], Number]
    most: Callable[[Number, Number], Number]
    root: Callable[[Number], Number]
    floor: Callable[[Number], Number]
    size: Callable[[Number], Number]


ARRAYS = Machine(np.where, np.minimum, np.maximum, np.sqrt, np.floor, np.abs)
FLOATS = Machine(
    where=lambda c, a, b: a if c else b,
    least=lambda a, b: a if a < b else b,
    most=lambda a, b: a if a > b else b,
    root=math.sqrt,
    floor=math.floor,
    size=abs,
)


def bounded(m: Machine, x: Number, limit: Number) -> Number:
    """x cut off at ± limit."""
    return m.most(m.least(x, limit), -limit)
