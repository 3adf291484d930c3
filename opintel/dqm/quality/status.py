"""Which histograms of a lumisection count as bad; what state that puts their folders and subsystem in says `tree`.

The false discovery rate is kept on two levels (Benjamini and Bogomolov, J. R. Stat. Soc. B 76 (2014) 297): folders are
chosen by the Simes p-value of their histograms, and inside the chosen ones histograms at a level that is lower by the
share of folders that were chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from opintel.stats.fdr import benjamini_hochberg

Status = Literal["good", "minor", "bad", "insufficient"]


def folder_of(path: str) -> str:
    """The folder in which a histogram is judged with others: all of its path but the name.

    >>> folder_of("Pixel/Tracks/charge"), folder_of("charge")
    ('Pixel/Tracks', '')
    """
    return path.rpartition("/")[0]


def flagged(log10_p: Mapping[str, float], level: float) -> set[str]:
    """The histograms that are bad, of those that were judged: path (or key that ends with it) → log10 p.

    >>> sorted(flagged({"a/x": -9.0, "a/y": -0.2, "b/z": -0.5}, 0.01))
    ['a/x']
    """
    least = float(np.log10(level))
    within = {path: folder_of(path) for path in log10_p}
    able = {within[path] for path, value in log10_p.items() if value <= least}
    folders: dict[str, list[str]] = {name: [] for name in sorted(able)}
    for path in sorted(path for path, name in within.items() if name in able):
        folders[within[path]].append(path)
    values = {name: 10.0 ** np.array([log10_p[path] for path in paths]) for name, paths in folders.items()}
    names = list(folders)
    others = np.ones(len(set(within.values())) - len(names))  # their Simes p-value is above the level, whatever it is
    chosen = benjamini_hochberg(np.r_[[_simes(values[name]) for name in names], others], level)
    share = level * float(chosen.mean()) if len(chosen) else level
    chosen = chosen[: len(names)]
    return {
        path
        for name, taken in zip(names, chosen.tolist(), strict=True)
        if taken
        for path, bad in zip(folders[name], benjamini_hochberg(values[name], share).tolist(), strict=True)
        if bad
    }


def _simes(p: NDArray[np.float64]) -> float:
    """The p-value of the hypothesis that all are true (Simes 1986)."""
    return float(min(1.0, (np.sort(p) * len(p) / np.arange(1, len(p) + 1)).min()))


def matches(path: str, patterns: Sequence[str]) -> bool:
    """Whether a path matches one of the patterns.

    >>> matches("Pixel/Errors/fed", ["*/Errors/*"])
    True
    """
    return any(fnmatchcase(path, pattern) for pattern in patterns)
