"""Regular expressions over texts that somebody else wrote: RE2, whose time is linear in the text.

Patterns hold no large bounded repetitions (`{1,1000}`): each is written out a thousand times, and a hostile text then
fills RE2's memory, so that it begins again and again. The texts are bounded instead, where they come in.
"""

from __future__ import annotations

from typing import Any

import re2

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False  # what RE2 has to say goes to stderr, a line a text


def expression(pattern: str) -> Any:
    """A compiled pattern."""
    return re2.compile(pattern, _OPTIONS)
