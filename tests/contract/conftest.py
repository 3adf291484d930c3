"""What the tests of the contract share."""

from __future__ import annotations

from collections import Counter

from .harness import Outcome
from .harness import make_log as make_log


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Two outcomes that should be equal: what only one of them has."""
    if op != "==" or not isinstance(left, Outcome) or not isinstance(right, Outcome):
        return None
    told = ["two runs differ"]
    for name in ("findings", "judged"):
        one, other = getattr(left, name), getattr(right, name)
        told += [
            f"{name} {key}: {one.get(key)} | {other.get(key)}" for key in one | other if one.get(key) != other.get(key)
        ]
    more, less = Counter(left.asides) - Counter(right.asides), Counter(right.asides) - Counter(left.asides)
    return [*told, *(f"only left: {aside}" for aside in more), *(f"only right: {aside}" for aside in less)]
