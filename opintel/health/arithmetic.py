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
    bounded: Callable[[Number, Number], Number]
    """(x, limit): x cut off at ± limit."""


ARRAYS = Machine(
    where=np.where,
    least=np.minimum,
    most=np.maximum,
    root=np.sqrt,
    floor=np.floor,
    size=np.abs,
    bounded=lambda x, limit: np.maximum(np.minimum(x, limit), -limit),
)
FLOATS = Machine(
    where=lambda c, a, b: a if c else b,
    least=lambda a, b: a if a < b else b,
    most=lambda a, b: a if a > b else b,
    root=math.sqrt,
    floor=math.floor,
    size=abs,
    bounded=lambda x, limit: limit if x > limit else x if x > -limit else -limit,
)
