"""The rows of the stream: pieces of a channel's samples, and of the flags that say in which state the detector was.

A row is at most a second long and begins at its time; its key is the channel's name, `L1:PEM-EY_MIC_VEA_DQ`, of which
the part before the colon, the interferometer, is the scope. A flag's key is `L1:~DATA`: no channel's name has a tilde.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.rows import Arrays, Columns, Numbers, TextColumn

SAMPLES, FLAG = range(2)
MAX_RATE = 131_072
"""Hz; samples of a row."""
FLAG_MARK = "~"


class PieceRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Up to a second of a channel, or of a flag."""

    kind: int
    rate: float
    """Hz."""
    unit: str
    """Of a channel, as its metadata name it: `strain`, `um`, `ct`; empty where unknown. Of a flag empty."""
    values: list[float]
    """Samples at `time + k / rate`, float32; NaN: not there. Of a flag 1 (active), 0 (not) or NaN (not known)."""


class Pieces(Columns):
    """`PieceRow`s as columns."""

    ROW: ClassVar[type[msgspec.Struct]] = PieceRow
    kind: Annotated[NDArray[np.int8], Numbers("<i1", 0, 1)]
    rate: Annotated[NDArray[np.float64], Numbers("<f8", 1e-3, MAX_RATE)]
    unit: TextColumn
    values: Annotated[Arrays, Numbers("<f4", most=MAX_RATE, finite=False)]


def flag_key(interferometer: str, flag: str) -> str:
    """The key of a flag's rows.

    >>> flag_key("L1", "DATA")
    'L1:~DATA'
    """
    return f"{interferometer}:{FLAG_MARK}{flag}"


def scope_of(key: str) -> str:
    """The interferometer of a key.

    >>> scope_of("L1:PEM-EY_MIC_VEA_DQ"), scope_of("L1:~DATA")
    ('L1', 'L1')
    """
    return key.partition(":")[0]
