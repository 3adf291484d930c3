from __future__ import annotations

import numpy as np

from opintel.fts.judging.onsets import onset_slice
from opintel.fts.link_windows import SLICES, LinkWindow


def window(ok: list[int], failed: list[int]) -> LinkWindow:
    slices = [(at, a, b, 0, 0.0) for at, (a, b) in enumerate(zip(ok, failed, strict=True)) if a or b]
    return LinkWindow("a", "b", sum(ok), sum(failed), 0, sum(ok) + sum(failed), 0, slices, (0, 0.0, 0.0), [])


def test_a_stray_failure_is_not_the_beginning() -> None:
    ok, failed = [3, 3, 2, 3, 3, 3, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 3, 3, 3, 3]
    assert onset_slice([window(ok, failed)], usual=0.1) == 6
    assert onset_slice([window([1] * 4 + [0] * 6, [0, 0, 0, 1, 0, 0, 1, 2, 1, 2])], usual=0.1) > 3


def test_onsets_are_seldom_early() -> None:
    """Faults of half or all files that begin anywhere in the window; seed fixed. Of 600 at most 2 % are a slice too
    early (more than a minute of ten), and nine in ten lie within three slices."""
    rng, off = np.random.default_rng(5), list[float]()
    for _ in range(600):
        began, share = rng.uniform(1.0, 7.0), rng.uniform(0.5, 1.0)
        at = rng.uniform(0.0, SLICES, 60)
        fails = rng.random(60) < np.where(at >= began, share, 0.05)
        ok, failed = (np.bincount(at[fails == x].astype(int), minlength=SLICES).tolist() for x in (False, True))
        off.append(onset_slice([window(ok, failed)], usual=0.05) - began)
    assert np.mean(np.array(off) < -1.0) <= 0.02
    assert np.mean(np.abs(off) <= 3.0) >= 0.9
