"""How good runs differ from one another beyond statistics: what `reference_model` learns of its references.

The shares of a histogram's bins vary around their mean by Poisson statistics, by a few patterns in which bins move
together (principal components, of which only those are kept that noise alone would not make, and these shrunk), and
by what is left over in each bin. Where references belong to few runs, the patterns are those of `between_runs`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, zeta

from opintel.dqm.comparing.bin_tables import Bools
from opintel.dqm.modelled.between_runs import PATTERNS, Labels, RunMeans, between, run_means
from opintel.stats.counts import Floats

COMPONENTS = PATTERNS
"""At most so many are kept: from 100 references of real histograms, more find nothing more."""
ABOVE_NOISE = 1.05
"""By how much an eigenvalue exceeds the largest that noise makes."""
REFERENCES_EACH = 3
"""References that a component takes."""
CARRIED = 0.02
"""Of the mean share of a bin: where less is expected, patterns are not scaled up to another mean."""
ODD = 10.0
"""Times the median distance of references from their mean, beyond which one is left out of a floor."""
NEEDED_TO_BE_ODD = 4
ALONE = 0.75
"""Of the variance of a pattern, from which on one reference makes it."""
MOST_DEGREES = 1e3
_ROUNDS = 3


class Variation(NamedTuple):
    """What was learned of H histograms of B bins, K = `COMPONENTS`."""

    share: Floats
    """(H, B) mean share of each bin; never 0."""
    unsure: Floats
    """(H, B) variance of that mean."""
    spread: Floats
    """(H, B) variance of a bin's share beyond statistics and components."""
    components: NDArray[np.float32]
    """(H, K, B) patterns of shares; 0 where there are fewer."""
    strength: Floats
    """(H, K) variance along each."""
    degrees: Floats
    """(H,) of freedom of `spread`."""

    def rows(self, chosen: NDArray[np.int64] | slice) -> Variation:
        """That of some histograms."""
        return Variation._make(part[chosen] for part in self)


def learn(contents: Floats, good: Bools, run: Labels | None = None) -> Variation:
    """The variation of the references `contents` (R, H, B) of which `good` (R, H) count, at least three of each.

    Where they belong to runs 0 to G − 1, `run` (R,), components are the patterns in which run means differ. What varies
    within runs besides, and what left-out runs leave (`between_runs`), is `spread`.

    Components are those of shares in units of what else varies in a bin, statistics and `spread`, in which noise has
    unit variance: eigenvalues above the edge of Marchenko & Pastur's law (1967), shrunk by how far sample
    eigenvectors lie off the true ones (Donoho, Gavish & Johnstone 2018, Ann. Stat. 46, 1742, eqs. 1.10 and 1.11).
    `spread` is drawn towards one relative error for all bins, as far as bins agree on it (Smyth 2004, Stat. Appl.
    Genet. Mol. Biol. 3, 3).
    """
    total = np.where(good, contents.sum(axis=2), 1.0)
    shares = np.where(good[..., None], contents, 0.0) / total[..., None]
    given = good.sum(axis=0).astype(np.float64)
    bins = contents.shape[2]
    entries = (total * good).sum(axis=0)
    means = None if run is None else run_means(shares, good, run)
    share = shares.sum(axis=0) / given[:, None] if means is None else means.mean
    share = np.maximum(share, (0.5 / (entries + 0.5 * bins))[:, None])
    share /= share.sum(axis=1, keepdims=True)
    inverse = np.where(good, 1.0 / total, 0.0)
    statistics = share * (inverse.sum(axis=0) / given)[:, None]
    statistics += 0.5 * (np.square(inverse).sum(axis=0) / given)[:, None]
    centre = share if means is None or run is None else means.shares[run]
    off = np.ascontiguousarray(np.moveaxis((shares - centre) * good[..., None], 0, 1))
    if means is not None:
        return _of_runs(share, statistics, off, given, means)
    spread = np.zeros_like(share)
    for _ in range(_ROUNDS):
        unit = np.sqrt(statistics + spread)
        scaled = off / unit[:, None, :]
        patterns, strength = _components(scaled, given)
        left = scaled - (scaled @ patterns.swapaxes(1, 2)) @ patterns
        degrees = given - 1.0 - (strength > 0.0).sum(axis=1)
        free = np.maximum(1.0 - np.square(patterns).sum(axis=1), 1e-6)
        variance = np.square(left).sum(axis=1) / (degrees[:, None] * free) * np.square(unit)
        spread, prior_degrees = _moderated(variance, statistics, share, degrees)
    return Variation(
        share,
        (statistics + spread) / given[:, None],
        spread,
        (patterns * unit[:, None, :]).astype(np.float32),
        strength,
        degrees + prior_degrees,
    )


def _of_runs(share: Floats, statistics: Floats, off: Floats, given: Floats, means: RunMeans) -> Variation:
    """The variation of `given` (H,) references that lie `off` (H, R, B) the mean of their run."""
    unit = np.sqrt(statistics)
    among = between(means, unit)
    scaled = off / unit[:, None, :]
    scaled -= (scaled @ among.patterns.swapaxes(1, 2)) @ among.patterns
    degrees = np.maximum(given - among.runs, 1.0)
    variance = np.square(scaled).sum(axis=1) / degrees[:, None] * statistics
    spread, _ = _moderated(variance, statistics, share, degrees)
    unsure = (statistics + spread) / given[:, None]
    left, _ = _moderated(among.left * statistics, unsure, share, among.runs)
    patterns = (among.patterns * unit[:, None, :]).astype(np.float32)
    unsure += left / among.runs[:, None]
    return Variation(share, unsure, spread + left, patterns, among.strength, among.runs)


def lone(contents: Floats, good: Bools) -> Bools:
    """Which references (R, H) make nearly all of a pattern by themselves: no variation, but one odd run."""
    given = good.sum(axis=0).astype(np.float64)
    total = np.where(good, contents.sum(axis=2), 1.0)
    shares = np.where(good[..., None], contents, 0.0) / total[..., None]
    share = shares.sum(axis=0) / given[:, None]
    entries = (total * good).sum(axis=0) / given
    scaled = (shares - share) * good[..., None] / np.sqrt(share / entries[:, None] + np.square(1.0 / entries)[:, None])
    scaled = np.ascontiguousarray(np.moveaxis(scaled, 0, 1))
    patterns, strength = _components(scaled, given)
    square = np.square(scaled @ patterns.swapaxes(1, 2))
    own = (square / np.maximum(square.sum(axis=1, keepdims=True), 1e-300)).max(
        axis=2, where=strength[:, None] > 0.0, initial=0.0
    )
    return np.asarray((own > ALONE).T & good)


def recentred(known: Variation, contents: Floats, good: Bools) -> Variation:
    """What is known, around the mean of other references (R, H, B) of which `good` (R, H) count, with its
    uncertainty."""
    entries = np.maximum((contents.sum(axis=2) * good).sum(axis=0), 1.0)[:, None]
    given = np.maximum(good.sum(axis=0), 1.0)[:, None]
    bins = contents.shape[2]
    share = (contents.sum(axis=0) + 0.5 / bins) / (entries + 0.5)
    few = CARRIED / bins
    change = (share + few) / (known.share + few)
    spread = known.spread * np.square(change)
    return Variation(
        share,
        share / entries + 0.5 / np.square(entries) + spread / given,
        spread,
        (known.components * change[:, None, :]).astype(np.float32),
        known.strength * (1.0 + 1.0 / given),
        known.degrees,
    )


def _components(scaled: Floats, given: Floats) -> tuple[Floats, Floats]:
    """(orthonormal patterns (H, K, B), their true variances (H, K)) of values (H, R, B) with noise of unit variance."""
    rows, references, bins = scaled.shape
    wide = references <= bins
    gram = scaled @ scaled.swapaxes(1, 2) if wide else scaled.swapaxes(1, 2) @ scaled
    values, vectors = np.linalg.eigh(gram / (given - 1.0)[:, None, None])
    count = min(COMPONENTS, values.shape[1])
    values, vectors = values[:, ::-1][:, :count], vectors[:, :, ::-1][:, :, :count].swapaxes(1, 2)
    ratio = (bins / (given - 1.0))[:, None]
    kept = values > ABOVE_NOISE * np.square(1.0 + np.sqrt(ratio))
    kept &= np.arange(count) < ((given - 1.0) // REFERENCES_EACH)[:, None]
    if wide:
        vectors = vectors @ scaled / np.sqrt(np.where(kept, values * (given - 1.0)[:, None], 1.0))[..., None]
    middle = np.where(kept, values + 1.0 - ratio, 4.0)
    true = (middle + np.sqrt(np.maximum(np.square(middle) - 4.0 * np.where(kept, values, 1.0), 0.0))) / 2.0
    cosine = np.maximum((1.0 - ratio / np.square(true - 1.0)) / (1.0 + ratio / (true - 1.0)), 0.0)
    patterns, strength = np.zeros((rows, COMPONENTS, bins)), np.zeros((rows, COMPONENTS))
    patterns[:, :count] = vectors * kept[..., None]
    strength[:, :count] = (true - 1.0) * cosine * kept
    return patterns, strength


def _moderated(variance: Floats, statistics: Floats, share: Floats, degrees: Floats) -> tuple[Floats, Floats]:
    """(`spread` (H, B), degrees of freedom (H,) that the bins lend one another) from the variances (H, B) of shares."""
    told = share > 0.1 * np.median(share, axis=1, keepdims=True)
    relative = np.where(told, (variance - statistics) / np.square(share), np.nan)
    prior = statistics + np.maximum(np.nanmedian(relative, axis=1), 0.0)[:, None] * np.square(share)
    ratio = variance / prior
    half = degrees / 2.0
    logs = np.log(np.maximum(ratio, 1e-6)) - (digamma(half) - np.log(half))[:, None]
    weight = told / told.sum(axis=1, keepdims=True)
    mean = (logs * weight).sum(axis=1)
    scatter = (np.square(logs - mean[:, None]) * weight).sum(axis=1) - zeta(2.0, half)
    lent = np.clip(2.0 / np.maximum(scatter, 1e-3), 1.0, MOST_DEGREES)
    level = np.maximum(np.exp(mean + digamma(lent / 2.0) - np.log(lent / 2.0)), 1.0)
    posterior = prior * ((lent * level)[:, None] + degrees[:, None] * ratio) / (lent + degrees)[:, None]
    return np.maximum(posterior - statistics, 0.0), lent
