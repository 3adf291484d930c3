"""Secrets in error texts: tokens, passwords and signatures become `REDACTED`, whatever the settings say.

Storages and clients quote whole requests. The FTS wire calls this on every text before it is kept, and the template
miner on its examples; the raw log holds what was sent. What is replaced says nothing of a cause: the words around it
(`token expired`, `Authorization header not accepted`) stay, as do hosts and codes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from opintel.fts.expressions import expression

REDACTED: Final = "REDACTED"


def redact(text: str) -> str:
    """`text` (bounded by the caller) without secrets; linear in its length. Idempotent.

    >>> redact("open https://u:pw@se1.example.org/f?authz=Bearer%20eyJhbGci.eyJz.c2ln&oss.asize=5: 403")
    'open https://u:REDACTED@se1.example.org/f?authz=Bearer%20REDACTED&oss.asize=5: 403'
    """
    lower = text.lower()
    for marks, pattern, replacement in _RULES:
        if any(mark in (lower if mark.islower() else text) for mark in marks):
            text = pattern.sub(replacement, text)
    return text


def _opaque(value: str) -> bool:
    """Whether a value looks like a secret: neither words (`token`, `invalid_token`) nor `name=word`."""
    core = value.strip("=.,:;-/'\"")
    if "=" in core:
        return False
    words = core.replace("_", "-").replace("/", "-").replace(".", "-").split("-")
    return not all(_is_word(word) for word in words)


def _is_word(text: str) -> bool:
    plain = text.isalpha() and (text.islower() or text.istitle() or text.isupper())
    return not text or text == REDACTED or (plain and len(text) < _LONG) or (text.isdigit() and len(text) <= 3)


_LONG: Final = 20
"""Letters that no word of an error has."""
_CAUSES: Final = (
    "absent bad denied empty error expired failed false incorrect invalid missing mismatch no none not null "
    "redacted rejected required true undefined unknown unset wrong yes"
)
_SAYS_WHY: Final = frozenset(_CAUSES.split(" "))
"""Values that tell a cause."""


def _if_opaque(match: Any) -> str:
    return f"{match.group(1)}{REDACTED}" if _opaque(match.group(2)) else str(match.group(0))


def _of_key(match: Any) -> str:
    """`key=value`: hidden unless the value tells a cause, or the key is a space token, which is no secret."""
    key, joint, value = match.group(1), match.group(2), match.group(3)
    name = key.lower()
    sure = ":" not in joint or any(word in name for word in ("pass", "pwd", "secret"))
    if value.strip(".:").lower() in _SAYS_WHY or "space" in name or not (sure or _opaque(value)):
        return str(match.group(0))
    return f"{key}{joint}{REDACTED}"


_BLANK = r"(?:\s|\+|%(?:25)*20)"
_KEY = (
    r"[a-z0-9_.\-]*(?:authz|passwd|password|passphrase|\bpwd|secret|signature|\bsig|credential|macaroon|authorization"
    r"|(?:api|access|private|session)[_\-]?key(?:[_\-]?id)?|token|\bassertion)"
)
_RULES: Final[tuple[tuple[tuple[str, ...], Any, str | Callable[[Any], str]], ...]] = (
    # scheme://user:password@host, also percent-encoded, also where the text was cut before the @
    (("://",), expression(r"(?i)([a-z][a-z0-9+.\-]*://[^\s/:@?#\[]*:)[^\s/?#]+@"), rf"\1{REDACTED}@"),
    (
        ("://",),
        expression(r"(?i)([a-z][a-z0-9+.\-]*://[^\s/:@?#\[]*:)[^\s/?#@\"']*[a-z][^\s/?#@\"']*([\"']|$)"),
        rf"\1{REDACTED}\2",
    ),
    (("%2f%2f",), expression(r"(?i)(%3a%2f%2f[^\s/%&]*(?:%3a|:))[^\s/&%]+(%40|@)"), rf"\1{REDACTED}\2"),
    # keys, PEM blocks; JSON web tokens and macaroons wherever they stand, also cut short
    (
        ("private key",),
        expression(r"(?s)-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"),
        REDACTED,
    ),
    (("eyJ",), expression(r"\beyJ[A-Za-z0-9_\-]+(?:(?:\.|%2[eE])[A-Za-z0-9_\-]*)*"), REDACTED),
    (("MDA", "AgE"), expression(r"\b(?:MDA|AgE)[A-Za-z0-9+/_\-]{20,}=*"), REDACTED),
    (("AKIA", "ASIA"), expression(r"\bA[KS]IA[A-Z0-9]{12,}"), REDACTED),
    # Authorization: Bearer X; a scheme before something that is no word
    (
        ("bearer", "basic", "macaroon", "negotiate"),
        expression(
            rf"(?i)(\b(?:bearer|basic|macaroon|negotiate)(?:{_BLANK}|:|=|%3a|%3d)+[\"']?)([a-z0-9._~+/=%\-]{{4,}})"
        ),
        _if_opaque,
    ),
    (("cookie",), expression(r"(?i)(cookie\s*[:=]\s*)[^\s\"'<>]*=[^\s\"'<>]*"), rf"\1{REDACTED}"),
    # key=value, "key": "value"
    (
        (
            "authz",
            "pass",
            "pwd",
            "secret",
            "sig",
            "credential",
            "macaroon",
            "authorization",
            "key",
            "token",
            "assertion",
        ),
        expression(
            rf"(?i)({_KEY})([\"']?\s*(?:=|:|%(?:25)*3d)\s*[\"']?(?:bearer{_BLANK}+)?)([^\s&\"'<>;,()\[\]{{}}|]+)"
        ),
        _of_key,
    ),
)
"""(what a text must hold, in lower case unless a letter is a capital; what is looked for; what it becomes)."""
