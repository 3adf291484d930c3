"""The rows of the health domain: `Samples`, which `opintel.health.wire` makes and `opintel.health.reducer` takes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.rows import Columns, Numbers


class Sample(msgspec.Struct, array_like=True, gc=False):
    """One value of a series; the time is the row's."""

    value: Annotated[float, msgspec.Meta(ge=-1e308, le=1e308)]
    missing: bool
    """The series was there, its value was not a finite number; `value` is 0 then."""


class Samples(Columns):
    """`Sample`s as columns."""

    ROW = Sample
    value: Annotated[NDArray[np.float64], Numbers("<f8")]
    missing: Annotated[NDArray[np.int8], Numbers("<i1", 0, 1)]


def number_of(text: str) -> float:
    """The number that a text of at most 64 characters writes, NaN and +Inf among them; ValueError for none. What only
    Python reads as one (1_000, digits of other scripts) is none.
    """
    if len(text) > 64 or not text.isascii() or "_" in text:
        raise ValueError(f"expected a number, got {text[:100]!r}")
    return float(text)


def shown(value: Any) -> str:
    """A value from JSON as a reason may quote it: short, and as cheap however large it is.

    >>> shown("x" * 300)[:5], shown([[1]]), shown(None)
    ("'xxxx", 'a list', "'None'")
    """
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return repr(str(value)[:100])
