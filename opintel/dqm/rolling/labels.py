"""Axes of labels that change: trigger paths are added and renamed with a menu, elements come and go.

A histogram is compared label by label, wherever a label stands. What its references know of a label that stays is
carried over; a bin whose label they do not know is NaN in them, and is compared with nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from opintel.dqm.elements import axes_of
from opintel.dqm.rolling.histories import Bools, Floats, Ints

References = Callable[[Ints], Floats]
"""(some,) → (R, planes, some, size)"""


def labelled(axes: str) -> bool:
    """Whether a text of axes (`elements.axes_text`) has labels."""
    return axes.startswith('{"axes":[{"labels":')


@lru_cache(maxsize=4096)
def places_by_label(before: str, now: str) -> tuple[int, ...] | None:
    """(values,) where the value of each bin of the axes `now` stood in those `before`, −1 for a new label; None unless
    both are one axis of labels, with one in common, and both or neither with flow bins.

    >>> axes = '{"axes":[{"labels":%s}],"flow":false}'
    >>> places_by_label(axes % '["a","b","c"]', axes % '["c","d","a"]')
    (2, -1, 0)
    """
    if not (labelled(before) and labelled(now)):
        return None
    (old, old_flow), (new, flow) = axes_of(before), axes_of(now)
    if len(old) != 1 or len(new) != 1 or flow != old_flow:
        return None
    at = {label: n + flow for n, label in enumerate(old[0].labels)}
    places = [at.get(label, -1) for label in new[0].labels]
    if max(places) < 0:
        return None
    return (0, *places, old[0].bins + 1) if flow else tuple(places)


def known_alone(sums: Floats, references: References) -> tuple[Floats, References]:
    """Contents (planes, n, size) and what gives the references of some of them, with 0 in each bin that one of its
    references does not know."""
    held = references(np.arange(sums.shape[1]))
    unknown = np.asarray(np.isnan(held).any(axis=(0, 1)))
    if not unknown.any():
        return sums, references
    known = np.where(unknown, np.float32(0), held)
    return np.where(unknown, np.float32(0), sums), lambda some: known[:, :, some]


def whole_or_all(usable: Bools, whole: Bools, lumisections: Ints, least: int) -> Bools:
    """Which references (slots, n) are used: those that know all bins alone, where they have `least` lumisections."""
    enough = (lumisections * (usable & whole)).sum(axis=0) >= least
    return np.where(enough, usable & whole, usable)
