"""Numbers that stand for 'no value': what an exporter sends when it has nothing to send.

The reducer takes them as missing. Only what its maker documents is here, and only for that maker's metrics: 2^31 − 1 or
−1 are values elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.stats.counts import Floats, Ints


class Blank(NamedTuple):
    """Values from `low` to `high`, both included, of metrics whose name has `name` in it."""

    name: re.Pattern[str]
    low: float
    high: float


_DCGM = re.compile(r"(?:^|[_:.])dcgm[_:.]", re.IGNORECASE)
"""NVIDIA's Data Center GPU Manager; its exporter's names begin with `DCGM_FI_`, those of others with `dcgm_`."""

BLANKS: Final = (
    # DCGM_INT32_BLANK, DCGM_INT64_BLANK, DCGM_FP64_BLANK and the 15 values above each, which say why: not found, not
    # supported, not permissioned (docs.nvidia.com/datacenter/dcgm/latest/dcgm-api/dcgm-api-enums.html). As a float, all
    # sixteen of 64 bits are 2^63.
    Blank(_DCGM, 0x7FFFFFF0, 0x7FFFFFFF),
    Blank(_DCGM, float(0x7FFFFFFFFFFFFFF0), float(0x7FFFFFFFFFFFFFFF)),
    Blank(_DCGM, 2.0**47, 2.0**47 + 15.0),
)


def without_blanks(metrics: Sequence[str], code: Ints, value: Floats) -> Floats:
    """The values (n,) with NaN for those that are blank; `code` (n,) says which of the metrics' names each has."""
    found = value
    for blank in BLANKS:
        concerned = np.array([bool(blank.name.search(metric)) for metric in metrics], dtype=np.bool_)
        if concerned.any():
            here: NDArray[np.bool_] = concerned[code] & (value >= blank.low) & (value <= blank.high)
            found = np.where(here, np.nan, found)
    return found
