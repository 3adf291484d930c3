"""Personal data in error texts: user names in paths and scopes, and certificate subjects, become pseudonyms.

The FTS wire calls this on every error text before anything else sees it. A pseudonym is `user-` and six hex
digits of a keyed hash: one person stays one name under a site's key, which cannot be looked up without the key.
"""

from __future__ import annotations

import hashlib
from typing import Any

from opintel.fts.expressions import expression

PUBLIC_KEY = b"opintel: the shipped key is public, set your own"
"""Hides names from a glance only: a guess can be tested by anybody with this source. A site sets its own key."""

_NAME = r"[^/\s\"'<>?&:;,()\[\]|]"
_PATH = expression(
    r"(?i)/dpm/[^/\s]+/home/"
    rf"|(/(?:users?|home)/(?:rucio/|[a-z]/)?|/home-[a-z]/|/work/[a-z]/|/~)({_NAME}+)"
)
"""The first form is consumed as it is: below a DPM's `home` stand experiments, not people."""
_SCOPE = expression(r"(?i)((?:^|[/\s:=\"'(\[,])user\.)([a-z0-9_\-]+)")
_FIELD = expression(
    r"(?i)(\"(?:user_dn|user|dn|cred_id|username|account|issuer|owner|email)\"\s*:\s*\")((?:[^\"\\]|\\.)+)"
)
_EMAIL = expression(r"()([A-Za-z0-9._%+\-]+@[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)+)")
_SUBJECT = expression(r"(?i)((?:\bcn|emailaddress)\s*=\s*)([^/,;=:\"'<>()\[\]|]+)")

_WORDS_IN_NAME = 6
_SENTENCE = (
    "is are was were has have had not no does do did can cannot could may must will would failed in on at of "
    "for from to by with as and or but that which while because since expired denied invalid unknown unable "
    "rejected"
)
_ENDS_A_NAME = frozenset(_SENTENCE.split(" "))
"""A common name in a sentence has no closing mark; these words end it, so that the cause stays readable."""


class Pseudonyms:
    """Replaces personal data by hashes under `key` (1 to 64 bytes, else ValueError)."""

    def __init__(self, key: bytes) -> None:
        if not 1 <= len(key) <= hashlib.blake2b.MAX_KEY_SIZE:
            raise ValueError(f"a pseudonym key has 1 to {hashlib.blake2b.MAX_KEY_SIZE} bytes, got {len(key)}")
        self._key = key

    def of(self, name: str) -> str:
        """The pseudonym of one name."""
        raw = name.encode("utf-8", "surrogatepass")
        return f"user-{hashlib.blake2b(raw, key=self._key, digest_size=3).hexdigest()}"

    def scrub_record(self, text: str) -> str:
        """A whole record as sent, perhaps broken: the values of its user fields as well.

        >>> Pseudonyms(b"k").scrub_record('{"user_dn": "/DC=org/CN=Jane Doe", "vo": "cms')
        '{"user_dn": "user-941a8b", "vo": "cms'
        """
        return self.scrub(_FIELD.sub(self._replace, text.replace("\\/", "/")))

    def scrub(self, text: str) -> str:
        """`text` (bounded by the caller) with names of people replaced; linear in its length.

        >>> Pseudonyms(b"k").scrub("no such file /store/user/jdoe/a.root")
        'no such file /store/user/user-205754/a.root'
        """
        lower = text.lower()  # the expressions decide; most texts hold nothing that could concern them
        if "/user" in lower or "/home" in lower or "/work/" in lower or "/~" in lower:
            text = _PATH.sub(self._replace, text)
        if "user." in lower:
            text = _SCOPE.sub(self._replace, text)
        if "=" in text and ("cn" in lower or "emailaddress" in lower):
            text = _SUBJECT.sub(self._replace_subject, text)
        if "@" in text:
            text = _EMAIL.sub(self._replace, text)
        return text

    def _replace(self, match: Any) -> str:
        before, name = match.group(1), match.group(2)
        return match.group(0) if name is None else f"{before}{self.of(name)}"

    def _replace_subject(self, match: Any) -> str:
        words = match.group(2).split(" ")
        end = 1
        while end < min(len(words), _WORDS_IN_NAME) and words[end] and words[end].lower() not in _ENDS_A_NAME:
            end += 1
        rest = "".join(f" {word}" for word in words[end:])
        return f"{match.group(1)}{self.of(' '.join(words[:end]))}{rest}"
