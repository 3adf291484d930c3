"""A detector as it is when nothing is wrong: its subsystems, their histograms, and what conditions do to them.

All contents of a subsystem lie in one array, a histogram behind the other, so that a lumisection of any number of
histograms is a handful of numpy calls. Expected contents are proportional to luminosity; their shape moves with
pile-up, and a little from run to run, by two smooth modes: a detector is never quite the same.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opintel.dqm.elements import BinAxis, MonitorElement, Storage

SUBSYSTEMS = ("Pixel", "Calo", "Muon")
CUMULATIVE = "Muon"
"""Whose histograms hold all since the start of the run."""
LOW, HIGH = 20.0, 60.0
"""Pile-up between which shapes are interpolated."""
SYSTEMATIC = 0.015
"""Standard deviation of each of a run's two modes."""
SPREAD = 0.3
"""Of a profile's entries, in units of the mean."""
DESIGNS = 40
"""Layers that differ; further ones are like these."""
MENUS = 4
NEW_PATHS = 2
"""Trigger paths that a new menu adds."""
Floats = NDArray[np.float64]


class Kind(NamedTuple):
    """A kind of histogram, one in every layer."""

    name: str
    axes: tuple[BinAxis, ...]
    entries: float
    """In a lumisection at the start of a fill."""
    storage: Storage = "count"
    flow: bool = False


class Plot(NamedTuple):
    """A histogram of the model."""

    path: str
    kind: Kind
    begin: int
    end: int
    """Where its contents lie."""


class Subsystem(NamedTuple):
    """Its histograms, and their expected contents in a lumisection of luminosity 1."""

    name: str
    plots: tuple[Plot, ...]
    low: Floats
    high: Floats
    """(bins,) at pile-up LOW and HIGH."""
    modes: Floats
    """(2, bins) what varies from run to run."""
    means: Floats
    """(bins,) of profiles."""
    plot_of: NDArray[np.int64]
    """(bins,) which histogram a bin belongs to."""
    profiles: NDArray[np.bool_]
    """(bins,)"""

    @property
    def cumulative(self) -> bool:
        """Whether its histograms hold all since the start of the run."""
        return self.name == CUMULATIVE

    def variation(self, run: int) -> Floats:
        """(bins,) by how much, in ln, a run's shapes differ from the usual ones."""
        rng = np.random.default_rng([run, *self.name.encode()])
        change = SYSTEMATIC * rng.standard_normal((2, len(self.plots)))
        found: Floats = (change[:, self.plot_of] * self.modes).sum(axis=0)
        return found

    def expected(self, luminosity: float, pileup: float, variation: Floats) -> Floats:
        """(bins,) expected contents; of profiles, entries."""
        weight = (pileup - LOW) / (HIGH - LOW)
        found: Floats = luminosity * np.maximum(self.low + weight * (self.high - self.low), 0.0) * np.exp(variation)
        return found

    def contents(self, counts: Floats, variation: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """((bins,) contents, (bins,) variances) of histograms with these entries: of profiles, means and the variances
        of the means."""
        with np.errstate(divide="ignore"):
            variances = np.where(counts > 1, SPREAD**2 / counts, np.nan)
        drawn = self.means * np.exp(0.3 * variation) + np.sqrt(variances) * rng.standard_normal(len(counts))
        return np.where(self.profiles, drawn, counts), variances


def subsystems(histograms: int) -> tuple[Subsystem, ...]:
    """The detector with so many histograms, at least one a subsystem."""
    counts = [len(part) for part in np.array_split(np.arange(histograms), len(SUBSYSTEMS))]
    return tuple(_subsystem(name, max(1, n)) for name, n in zip(SUBSYSTEMS, counts, strict=True))


def element(plot: Plot, menu: int, contents: Floats, variances: Floats) -> MonitorElement:
    """A histogram with its contents (bins,); of a profile these are means."""
    kind, axes = plot.kind, plot.kind.axes
    if kind.name == "triggers":
        axes = (BinAxis(labels=trigger_paths(menu), title="path"),)
        contents = contents[: axes[0].bins]
    form = [axis.bins + 2 * kind.flow for axis in reversed(axes)]
    errors = variances.reshape(form) if kind.storage == "mean" else None
    return MonitorElement(plot.path, axes, kind.storage, contents.reshape(form), errors, kind.flow)


def trigger_paths(menu: int) -> tuple[str, ...]:
    """The labels of the histogram of trigger rates under a menu: versions go up, paths are added at the end."""
    return tuple(f"HLT_Path{n:02d}_v{7 + menu}" for n in range(10 + NEW_PATHS * menu))


_PHI = BinAxis.regular(36, -3.1416, 3.1416, "phi", "rad")
_TIME = BinAxis.regular(30, -15.0, 15.0, "time", "ns")
_MOST_PATHS = BinAxis(labels=trigger_paths(MENUS - 1))
KINDS: dict[str, tuple[Kind, ...]] = {
    "Pixel": (
        Kind("charge", (BinAxis.regular(40, 0.0, 80.0, "charge", "ke"),), 6000, flow=True),
        Kind("map", (BinAxis.regular(16, -2.5, 2.5, "eta"), BinAxis.regular(12, -3.1416, 3.1416, "phi")), 8000),
        Kind("phi", (_PHI,), 6000),
        Kind("size", (BinAxis.regular(16, 0.5, 16.5, "pixels"),), 6000),
        Kind("clusters", (BinAxis.regular(30, 0.0, 600.0, "clusters"),), 1500),
        Kind("time", (_TIME,), 4000),
        Kind("gain", (BinAxis.regular(20, 0.5, 20.5, "ladder"),), 5000, "mean"),
    ),
    "Calo": (
        Kind("energy", (BinAxis.regular(40, 0.0, 20.0, "energy", "GeV"),), 6000, flow=True),
        Kind("map", (BinAxis.regular(18, -3.0, 3.0, "eta"), BinAxis.regular(12, -3.1416, 3.1416, "phi")), 9000),
        Kind("time", (_TIME,), 5000),
        Kind("phi", (_PHI,), 6000),
        Kind("triggers", (_MOST_PATHS,), 3000),
        Kind("towers", (BinAxis.regular(30, 0.0, 300.0, "towers"),), 1500),
        Kind("response", (BinAxis.regular(20, -3.0, 3.0, "eta"),), 5000, "mean"),
    ),
    "Muon": (
        Kind("hits", (BinAxis(labels=tuple(f"MB{n % 4 + 1}/W{n // 4 - 2:+d}" for n in range(20))),), 4000),
        Kind("map", (BinAxis.regular(14, -2.4, 2.4, "eta"), BinAxis.regular(12, -3.1416, 3.1416, "phi")), 4000),
        Kind("time", (_TIME,), 2500),
        Kind("residual", (BinAxis.regular(30, -3.0, 3.0, "residual", "mm"),), 400),
        Kind("phi", (_PHI,), 3000),
        Kind("segments", (BinAxis.regular(30, 0.0, 60.0, "segments"),), 800),
        Kind("angle", (BinAxis.regular(30, -1.0, 1.0, "angle", "rad"),), 2000),
    ),
}
"""Subsystem → what each of its layers has; maps have eta in x and phi in y."""


class _Design(NamedTuple):
    """A histogram's share of a subsystem's arrays, see there."""

    low: Floats
    high: Floats
    modes: Floats
    means: Floats


def _subsystem(name: str, histograms: int) -> Subsystem:
    kinds = KINDS[name]
    plots: list[Plot] = []
    designs: list[_Design] = []
    for n in range(histograms):
        kind, layer = kinds[n % len(kinds)], n // len(kinds) + 1
        # a detector of any size has so many different ones
        designs.append(_design(kind, n) if n < DESIGNS * len(kinds) else designs[n - DESIGNS * len(kinds)])
        begin = plots[-1].end if plots else 0
        plots.append(Plot(f"{name}/Layer{layer}/{kind.name}", kind, begin, begin + len(designs[-1].low)))
    sizes = [plot.end - plot.begin for plot in plots]
    return Subsystem(
        name,
        tuple(plots),
        np.concatenate([design.low for design in designs]),
        np.concatenate([design.high for design in designs]),
        np.concatenate([design.modes for design in designs], axis=1),
        np.concatenate([design.means for design in designs]),
        np.repeat(np.arange(len(plots)), sizes),
        np.repeat([plot.kind.storage == "mean" for plot in plots], sizes),
    )


def _design(kind: Kind, n: int) -> _Design:
    seed = [n, *kind.name.encode()]
    low, high = (kind.entries * _shape(kind, p, np.random.default_rng([1, *seed])).reshape(-1) for p in (LOW, HIGH))
    rng = np.random.default_rng([2, *seed])
    return _Design(low, high, _modes(len(low), rng), 1.0 + 0.1 * rng.standard_normal(len(low)))


def _modes(size: int, rng: np.random.Generator) -> Floats:
    """(2, size): a slope and a wave."""
    x = np.linspace(-1.0, 1.0, size)
    return np.stack([x * rng.choice([-1.0, 1.0]), np.sin(np.pi * (2.0 * x + rng.random()))])


def _shape(kind: Kind, pileup: float, rng: np.random.Generator) -> Floats:
    """The expected shape of a histogram, with y in rows, normalised at every pile-up."""
    along = [np.linspace(0.0, 1.0, 2 * axis.bins + 1)[1::2] for axis in kind.axes]
    x = along[0]
    busy = (pileup - LOW) / (HIGH - LOW)
    own = rng.uniform(0.9, 1.1)
    if kind.name == "charge":
        shape = _moyal(x, (0.28 + 0.01 * busy) * own, 0.055)
    elif kind.name == "energy":
        shape = np.exp(-x / (0.16 + 0.03 * busy) / own)
    elif kind.name == "size":
        shape = _moyal(x, 0.2 * own, 0.07 + 0.01 * busy)
    elif kind.name in ("clusters", "towers", "segments"):
        shape = _bell(x, (0.25 + 0.35 * busy) * own, 0.08 + 0.06 * busy)
    elif kind.name in ("time", "residual", "angle"):
        shape = _bell(x, 0.5, 0.1 * own) + 0.01 + 0.01 * busy
    else:
        shape = rng.uniform(0.7, 1.3, [axis.bins for axis in reversed(kind.axes)])
        if kind.name == "map":
            shape = shape * (1.0 + (0.6 + 0.3 * busy) * (2.0 * x - 1.0) ** 2)  # more of it forward
    shape = shape / shape.sum()
    return np.concatenate([[0.002], shape, [0.01]]) if kind.flow else shape


def _bell(x: Floats, middle: float, width: float) -> Floats:
    found: Floats = np.exp(-(((x - middle) / width) ** 2) / 2)
    return found


def _moyal(x: Floats, peak: float, width: float) -> Floats:
    """The approximation of Landau's distribution of J. E. Moyal, Phil. Mag. 46 (1955) 263."""
    z = (x - peak) / width
    found: Floats = np.exp(-(z + np.exp(-z)) / 2)
    return found
