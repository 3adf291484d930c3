"""Durations as the YAML of a site writes them."""

from __future__ import annotations

import re
from typing import NewType

from opintel.finding import NS

Duration = NewType("Duration", int)
"""ns; written as text: 500ms, 90s, 10m, 6h, 30d."""

_UNITS = {"ms": NS // 1000, "s": NS, "m": 60 * NS, "h": 3600 * NS, "d": 86_400 * NS}
_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_LONGEST = 3650 * 86_400 * NS


def duration(text: object) -> Duration:
    """ns of a text such as 90s, 10m, 6h, 30d. Raises ValueError that says what was expected.

    >>> duration("10m") == 600 * NS
    True
    """
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"expected a duration such as 500ms, 90s, 10m, 6h or 30d, got {text!r}")
    ns = int(match[1]) * _UNITS[match[2]]
    if ns > _LONGEST:
        raise ValueError(f"expected a duration of at most 3650d, got {text}")
    return Duration(ns)
