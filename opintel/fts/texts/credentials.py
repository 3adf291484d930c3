"""Secrets in error texts: tokens, passwords and signatures become `REDACTED`, whatever the settings say.

Storages and clients quote whole requests. The FTS wire calls this on every text before it is kept, and the template
miner on its examples; the raw log holds what was sent. What is replaced says nothing of a cause: the words around it
(`token expired`, `Authorization header not accepted`) stay, as do hosts and codes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from opintel.fts.texts.expressions import expression

REDACTED: Final = "REDACTED"


def redact(text: str) -> str:
    """`text` (bounded by the caller) without secrets; linear in its length. Idempotent.

    >>> redact("open https://u:pw@se1.example.org/f?authz=Bearer%20eyJhbGci.eyJz.c2ln&oss.asize=5: 403")
    'open https://u:REDACTED@se1.example.org/f?authz=Bearer%20REDACTED&oss.asize=5: 403'
    """
    for mark, pattern, replacement in _RULES:
        if mark in text:
            text = pattern.sub(replacement, text)
    lower = text.lower()
    for mark, pattern, rewritten in _RULES_IN_ANY_CASE:
        if mark in lower:
            text = pattern.sub(rewritten, text)
    if "://" in text:
        text = _CUT_SHORT.sub(rf"\1{REDACTED}\2", text)
    return str(_KEY_VALUE.sub(_of_key, text)) if _has_key(lower) else text


def _has_key(lower: str) -> bool:
    """Whether there may be a key and its value: most texts with such words have neither."""
    for mark in _KEYS:
        at = lower.find(mark)
        while at >= 0:
            if _JOINT.match(lower, at):
                return True
            at = lower.find(mark, at + 1)
    return False


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
    """`key=value`: hidden unless the value tells a cause or is a type's name (`token=Token{`), or the key is a space
    token, which is no secret."""
    key, joint, value = match.group(1), match.group(2), match.group(3)
    name = key.lower()
    sure = ":" not in joint or any(word in name for word in ("pass", "pwd", "secret"))
    is_type = value.isalpha() and match.string[match.end() : match.end() + 1] in ("{", "(")
    if is_type or value.strip(".:").lower() in _SAYS_WHY or "space" in name or not (sure or _opaque(value)):
        return str(match.group(0))
    return f"{key}{joint}{REDACTED}"


_BLANK = r"(?:\s|\+|%(?:25)*20)"
_KEY = (
    r"[a-z0-9_.\-]*(?:authz|passwd|password|passphrase|\bpwd|secret|signature|\bsig|credential|macaroon|authorization"
    r"|(?:api|access|private|session)[_\-]?key(?:[_\-]?id)?|token|\bassertion)"
)
_CUT_SHORT = expression(r"(?i)([a-z][a-z0-9+.\-]*://[^\s/:@?#\[]*:)[^\s/?#@\"']*[a-z][^\s/?#@\"']*([\"']|$)")
"""A password whose @ was cut off; a port has no letters."""
_RULES: Final = (
    # scheme://user:password@host
    ("@", expression(r"(?i)([a-z][a-z0-9+.\-]*://[^\s/:@?#\[]*:)[^\s/?#]+@"), rf"\1{REDACTED}@"),
    # JSON web tokens, macaroons and names of keys wherever they stand, also cut short
    ("eyJ", expression(r"\beyJ[A-Za-z0-9_\-]+(?:(?:\.|%2[eE])[A-Za-z0-9_\-]*)*"), REDACTED),
    ("MDA", expression(r"\bMDA[A-Za-z0-9+/_\-]{20,}=*"), REDACTED),
    ("AgE", expression(r"\bAgE[A-Za-z0-9+/_\-]{20,}=*"), REDACTED),
    ("IA", expression(r"\bA[KS]IA[A-Z0-9]{12,}"), REDACTED),
    (
        "PRIVATE KEY",
        expression(r"(?s)-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"),
        REDACTED,
    ),
)
"""(what a text must hold, what is looked for, what it becomes)."""
_SCHEME = expression(
    rf"(?i)(\b(?:bearer|basic|macaroon|negotiate)(?:{_BLANK}|:|=|%3a|%3d)+[\"']?)([a-z0-9._~+/=%\-]{{4,}})"
)
"""`Authorization: Bearer X`: a scheme before something that is no word."""
_RULES_IN_ANY_CASE: Final[tuple[tuple[str, Any, str | Callable[[Any], str]], ...]] = (
    ("%2f%2f", expression(r"(?i)(%3a%2f%2f[^\s/%&]*(?:%3a|:))[^\s/&%]+(%40|@)"), rf"\1{REDACTED}\2"),
    *((mark, _SCHEME, _if_opaque) for mark in ("bearer", "basic", "macaroon", "negotiate")),
    ("cookie", expression(r"(?i)(cookie\s*[:=]\s*)[^\s\"'<>]*=[^\s\"'<>]*"), rf"\1{REDACTED}"),
)
"""The same; what a text must hold in lower case."""
_KEYS: Final = (
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
)
_JOINT = re.compile(r"[a-z0-9_.\-]*[\"']?\s*(?:=|:|%)")
_KEY_VALUE = expression(
    rf"(?i)({_KEY})([\"']?\s*(?:=|:|%(?:25)*3d)\s*[\"']?(?:bearer{_BLANK}+)?)([^\s&\"'<>;,()\[\]{{}}|]+)"
)
"""`key=value`, `"key": "value"`."""
