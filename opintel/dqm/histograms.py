"""The rows of the stream: histograms of a lumisection, its manifests, and published references, side by side.

A row's window is its lumisection: it begins at the row's time and ends at `end`. Its key is `SUBSYSTEM|DATASET|PATH`,
so that the same path filled from two datasets (`express`, `physics`) is two histograms; a subsystem is the scope. Of a
histogram's revisions in a window the highest counts.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.rows import Arrays, Columns, Numbers, TextColumn

HISTOGRAM, MANIFEST, REFERENCE = range(3)
MANIFEST_PATH = "*"
"""Stands in the key of a manifest, which says what a subsystem's dataset has in a lumisection."""
MAX_RUN = 10_000_000
MAX_LUMISECTION = 1_000_000
MAX_VALUES = 1_000_000
"""Contents of one histogram, flow bins included; a row stays below 4 MiB."""


class HistogramRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One histogram, manifest or reference."""

    kind: int
    run: int
    lumisection: int
    """0 for a published reference."""
    end: int
    """ns UTC, exclusive: of the lumisection."""
    revision: int
    """From 1; a histogram that is sent again has a higher one."""
    axes: str
    """`opintel.dqm.elements.axes_text`; empty for a manifest."""
    x: int
    """Values in x, flow bins included; `values` has as many rows of y as it holds of these."""
    storage: int
    """Index into `opintel.dqm.elements.STORAGES`."""
    cumulative: bool
    """Whether the contents are those since the start of the run, not the lumisection's alone."""
    entries: float
    """As the source says; NaN where it says nothing."""
    values: list[float]
    variances: list[float]
    """Empty for counts, else one a value."""
    category: str
    """Of a histogram: what it was taken under, as far as its references have to agree, `RUN TYPE|MENU|BEAMS`; empty
    where nothing is known."""
    pileup: float
    """Mean number of interactions a crossing; NaN where it is not known."""
    about: str
    """Of a manifest: `Listing` as JSON; of a reference: the name of its set; else empty."""


class Histograms(Columns):
    """`HistogramRow`s as columns."""

    ROW: ClassVar[type[msgspec.Struct]] = HistogramRow
    kind: Annotated[NDArray[np.int8], Numbers("<i1", 0, 2)]
    run: Annotated[NDArray[np.int32], Numbers("<i4", 0, MAX_RUN)]
    lumisection: Annotated[NDArray[np.int32], Numbers("<i4", 0, MAX_LUMISECTION)]
    end: Annotated[NDArray[np.int64], Numbers("<i8")]
    revision: Annotated[NDArray[np.int32], Numbers("<i4", 1)]
    axes: TextColumn
    x: Annotated[NDArray[np.int32], Numbers("<i4", 0, MAX_VALUES)]
    storage: Annotated[NDArray[np.int8], Numbers("<i1", 0, 2)]
    cumulative: Annotated[NDArray[np.int8], Numbers("<i1", 0, 1)]
    entries: Annotated[NDArray[np.float64], Numbers("<f8", finite=False)]
    values: Annotated[Arrays, Numbers("<f4", most=MAX_VALUES, finite=False)]
    variances: Annotated[Arrays, Numbers("<f4", most=MAX_VALUES, finite=False)]
    category: TextColumn
    pileup: Annotated[NDArray[np.float32], Numbers("<f4", 0, 1e6, finite=False)]
    about: TextColumn


class Listing(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a manifest says of a subsystem's dataset in one lumisection, with the conditions it was taken under. What is
    None is not known."""

    histograms: int | None = None
    """How many there are."""
    paths: list[str] | None = None
    """Which."""
    run_type: str = ""
    """`collisions`, `cosmics`; references are kept by it."""
    menu: str = ""
    """Of the trigger."""
    luminosity: float | None = None
    """Recorded in the lumisection, in any unit that is the same for all."""
    pileup: float | None = None
    """Mean number of interactions a crossing."""
    stable_beams: bool | None = None
    high_voltage: bool | None = None
    """Whether the subsystem's high voltage was on."""


class HistogramKey(NamedTuple):
    """A key in its parts.

    >>> HistogramKey.of("calo|express|Calo/energy").path
    'Calo/energy'
    """

    subsystem: str
    dataset: str
    path: str

    @classmethod
    def of(cls, key: str) -> HistogramKey:
        """The parts of a row's key."""
        subsystem, dataset, path = key.split("|", 2)
        return cls(subsystem, dataset, path)

    @property
    def text(self) -> str:
        """The row's key."""
        return "|".join(self)
