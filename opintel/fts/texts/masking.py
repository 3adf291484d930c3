"""Masking: an error text becomes its form, with everything that varies between occurrences replaced by a placeholder.

Texts come from FTS records, lists of bare messages or any log, and are untrusted; forms and their ids go to the
template miner, the window records and the clustering. Numbers that name a cause (HTTP, GridFTP, XRootD, curl and errno
codes) stay, because with all numbers masked a third of real messages fall into clusters that mix root causes.
"""

from __future__ import annotations

from typing import Final

from opintel.fts.texts.credentials import redact
from opintel.fts.texts.rewriting import rewritten
from opintel.fts.texts.tokens import MAX_TOKEN, Tokens

MAX_TEXT: Final = 1024
"""Characters of a text that are looked at; FTS cuts its messages there as well."""
MAX_FORM: Final = 400
"""Characters of a form. Well below `MAX_TEXT`, so that texts which were cut at different words (their paths differ in
length) still share a form."""

_CACHE: Final = 10_000
"""Forms and words that are remembered: more than real errors have, little enough when the texts are hostile."""


def mask(text: str) -> str:
    """The form of `text`: one line, at most `MAX_FORM` characters; linear time in the first `MAX_TEXT` characters.

    Pure: it depends on the text only, in every process. Idempotent: `mask(mask(x)) == mask(x)`. Secrets are replaced.

    >>> mask("TRANSFER  error 451 Failed to connect [2605:9a00::fbf8]:22960: Connection timed out ")
    'TRANSFER error 451 Failed to connect <HOST>: Connection timed out'
    """
    if len(text) >= MAX_TEXT:
        text = _whole_words(text[:MAX_TEXT])
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()  # a lone surrogate is in no UTF-8
    roughly = " ".join(map(_masked_token, text.split()))
    form = _forms.get(roughly)
    if form is None:
        form = _settled(roughly)
        if len(_forms) >= _CACHE:
            _forms.clear()
        _forms[roughly] = form
    return form


def first_word(text: str) -> str:
    """The first word of the text's form, where that follows from the text's first word alone; empty where it does not.

    >>> first_word("disk full on se1.example.org"), first_word("12 files"), first_word("Jan 5: full")
    ('disk', '', '')
    """
    words = text[: MAX_TOKEN + 1].split(None, 1)
    if len(words) < 2:
        return ""
    word = _masked_token(words[0])
    unit = word.lstrip("0123456789")
    plain = word.isascii() and word.isalnum() and (unit == word or len(unit) > 3) and word[:3] not in _OF_DATES
    return word if plain else ""


_NAMES: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec Mon Tue Wed Thu Fri Sat Sun"
_OF_DATES: Final = frozenset(_NAMES.split(" "))
_masked_token = Tokens(_CACHE).__getitem__
_forms: dict[str, str] = {}
"""Form by text with masked tokens. 99.9 % of real errors repeat one: the rewriting below hardly ever runs."""


def _settled(roughly: str) -> str:
    """`_form` until it changes nothing more, which makes `mask` idempotent; two rounds for nearly all texts."""
    form = _form(roughly)
    for _ in range(8):
        masked = " ".join(map(_masked_token, form.split()))
        if masked == roughly:
            break
        roughly = masked
        again = _form(masked)
        if again == form:
            break
        form = again
    return form


def _form(roughly: str) -> str:
    form = rewritten(redact(roughly))
    return form if len(form) <= MAX_FORM else _whole_words(form[: MAX_FORM + 1])


def _whole_words(text: str) -> str:
    """`text` without its last word, which a cut has probably broken."""
    words = text.rsplit(None, 1)
    return words[0] if len(words) == 2 else text.strip()
