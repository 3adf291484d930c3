"""Where a histogram deviates from what was expected, and how: neighbouring bins of one sign make a region."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from opintel.stats.counts import Floats

Region = tuple[Any, ...]
"""(first bin, last bin, kind), or of a map (y0, x0, y1, x1, kind); bins from 0, inclusive."""

LOCATED = -3.0
"""log10 p above which nothing is located."""
SEED, GROWN = 4.0, 3.0
"""Pulls that make a region, and to which it extends."""
MOST = 100
"""Regions listed of one histogram."""
DEAD = 0.1
"""Observed ÷ expected up to which bins are dead, not only low."""
NOISY, ALONE = 5.0, 2
"""Observed ÷ expected (at least one) from which a region of so few bins is noisy, not only hot."""


def located(
    pull: Floats, observed: NDArray[Any], expected: Floats, error: Floats, *, means: bool = False
) -> list[Region]:
    """The regions of one histogram (B,) or map (Y, X) that deviates, the strongest first.

    Kinds: `dead` (at most a tenth of what was expected), `low`, `hot`, `noisy` (one or two bins, five times and more),
    `shifted` (the whole lies elsewhere, which says more than the bins do), `changed` (no bin stands out); of `means`:
    `low`, `high`, `changed`.
    """
    observed = np.asarray(observed, dtype=np.float64)
    if not means and observed.ndim == 1 and _is_shift(observed, expected, error):
        far = np.flatnonzero(np.abs(pull) >= GROWN)
        if len(far):
            return [(int(far[0]), int(far[-1]), "shifted")]
    found: list[tuple[float, Region]] = []
    for sign in (-1.0, 1.0):
        for box in _components(sign * pull):
            part = tuple(slice(first, last + 1) for first, last in box)
            inside = sign * pull[part] >= GROWN
            core = sign * pull[part] >= SEED
            seen, due = float(observed[part][core].sum()), float(expected[part][core].sum())
            kind = ("low" if sign < 0 else "high") if means else _kind(sign, seen, due, int(inside.sum()))
            strength = float(np.square(pull[part][inside]).sum())
            found.append((-strength, (*(first for first, _ in box), *(last for _, last in box), kind)))
    if found:
        return [region for _, region in sorted(found)[:MOST]]
    places = np.nonzero(np.isfinite(error) & (error > 0.0))
    return [(*(int(at.min()) for at in places), *(int(at.max()) for at in places), "changed")]


def _kind(sign: float, seen: float, due: float, bins: int) -> str:
    if sign < 0:
        return "dead" if seen <= DEAD * due else "low"
    return "noisy" if bins <= ALONE and seen >= NOISY * max(due, 1.0) else "hot"


def _components(pull: Floats) -> list[list[tuple[int, int]]]:
    """Boxes [(first, last) along each axis] of connected bins of at least `GROWN` that hold one of at least `SEED`."""
    from scipy.ndimage import find_objects, label, maximum

    if pull.max() < SEED:
        return []
    labels, count = label(pull >= GROWN, structure=np.ones((3,) * pull.ndim))
    peaks = np.atleast_1d(maximum(pull, labels, np.arange(1, count + 1)))
    boxes = find_objects(labels)
    return [
        [(int(one.start), int(one.stop) - 1) for one in box]
        for box, peak in zip(boxes, peaks, strict=True)
        if peak >= SEED
    ]


def _is_shift(observed: Floats, expected: Floats, error: Floats) -> bool:
    """Whether the expected contents, moved by the difference of the means, explain nine tenths of the deviation."""
    bins = np.arange(len(observed), dtype=np.float64)
    if not expected.sum() > 0.0 or len(bins) < 5:
        return False
    expected = expected * (observed.sum() / expected.sum())
    move = float((observed * bins).sum() / observed.sum() - (expected * bins).sum() / expected.sum())
    edges = np.concatenate([[0.0], np.cumsum(expected)])
    moved = np.diff(np.interp(np.arange(len(bins) + 1) - move, np.arange(len(bins) + 1), edges))
    before = np.square((observed - expected) / np.maximum(error, 1e-300))[error > 0.0].sum()
    after = np.square(observed - moved) / np.maximum(np.square(error) + 1.0, moved)
    return bool(abs(move) > 0.2 and after.sum() < 0.1 * before)
