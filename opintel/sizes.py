"""Sizes as the YAML of a site writes them."""

from __future__ import annotations

import re
from typing import NewType

Size = NewType("Size", int)
"""Bytes; written as text: 500MB, 300GB, 2TB."""

_UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"([0-9]{1,6})(MB|GB|TB)")


def size(text: object) -> Size:
    """Bytes of a text such as 500MB, 300GB, 2TB. Raises ValueError that says what is expected.

    >>> size("300GB") == 300 * 10**9
    True
    """
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"expected a size such as 500MB, 300GB or 2TB, got {text!r}")
    return Size(int(match[1]) * _UNITS[match[2]])
