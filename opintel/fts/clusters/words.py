"""The words of a cause: an error text without the side that is blamed, wrappers, and placeholders."""

from __future__ import annotations

from opintel.fts.texts.causes import unwrapped
from opintel.fts.texts.expressions import expression
from opintel.fts.texts.masking import mask

_PLACEHOLDER = expression(r"<[A-Za-z]+>[0-9]*")


def cause_words(text: str) -> str:
    """Those of a raw message or a masked form; the form itself where nothing else is left.

    >>> cause_words("SOURCE TRANSFER ERROR: Copy failed (3rd pull). Last attempt: HTTP 507 from a.example:443")
    'HTTP 507 from'
    """
    form = mask(text)
    left = " ".join(_PLACEHOLDER.sub(" ", " ".join(unwrapped(form))).split())
    return left or form
