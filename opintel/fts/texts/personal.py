"""Personal data in error texts: names in paths, scopes, fields and sentences, certificate subjects, mail addresses.

The FTS wire calls this on every error text before anything else sees it. A pseudonym is `user-` and six hex
digits of a keyed hash: one person stays one name under a site's key, which cannot be looked up without the key.
A name that one rule finds is hidden wherever else it stands in the text, in a path for example.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final
from urllib.parse import unquote

from opintel.fts.texts.credentials import REDACTED
from opintel.fts.texts.expressions import expression
from opintel.fts.texts.tokens import is_host

PUBLIC_KEY = b"opintel: the shipped key is public, set your own"
"""Hides names from a glance only: a guess can be tested by anybody with this source. A site sets its own key."""

_SLASH = r"(?:/|%(?:25)*2f)"
_IS = r"(?:\s*[=＝]\s*|%(?:25)*3d)"
_NAME = r"[^/\s\"'<>?&:;,()\[\]|%=]"
_PATH = expression(
    rf"(?i){_SLASH}dpm{_SLASH}[^/\s%]+{_SLASH}home{_SLASH}"
    rf"|({_SLASH}(?:users?|home){_SLASH}(?:rucio{_SLASH}|[a-z]{_SLASH})?|/home-[a-z]/|/work/[a-z]/|/~)({_NAME}+)"
)
"""The first form is consumed as it is: below a DPM's `home` stand experiments, not people."""
_HOME = expression(r"(?i)((?:^|[\s=:,;\"'(\[])~)([a-z_][a-z0-9_.\-]*)(?:/|$)")
_SCOPE = expression(r"(?i)((?:^|[/\s:=\"'(\[,]|%2f|%3a)user\.)([a-z0-9_\-]+)")
_RECORD = expression(
    r"(?i)(\"(?:user_dn|user|dn|cred_id|username|account|issuer|owner|email|sub|preferred_username|name|eppn)\""
    r"\s*:\s*\")((?:[^\"\\]|\\.)+)"
)
_FIELD = expression(
    r"(?i)((?:^|[^a-z])(?:(?:preferred_)?user(?:_?name|_?id)?|login|logname|r?user|uid|owner|account|principal|eppn|sub)"
    rf"[\"']?(?:{_IS}|\s*:\s*)[\"']?)({_NAME}+(?: {_NAME}+)?(?: {_NAME}+)?)"
)
_UID = expression(r"(?i)(\buid(?: |\s*[=:]\s*))([0-9]{3,})(\([^)\s]*)?")
"""Smaller numbers are the system's own accounts."""
_SENTENCE = expression(
    r"(?i)(\b(?:(?:user(?:[ _]?name)?|login|account|principal|mapped (?:on)?to)(?: id| name)?"
    r"|(?:password|publickey|hostbased|gssapi-with-mic|keyboard-interactive/pam) for) [\"']?)"
    r"([a-z][\w.\-]*(?: [a-z][\w.\-]*)?(?: [a-z][\w.\-]*)?)"
)
_QUOTED = expression(r"(?i)(\b(?:user(?:[ _]?name)?|login|account|principal|mapped (?:on)?to) [\"'])([^\"']+)")
_XROOTD = expression(r"(?i)()\b([a-z_][a-z0-9_\-]*)\.[0-9]+:[0-9]+@")
"""How XRootD calls a client: user.process:descriptor@host."""
_AT_HOST = expression(r"()(?i)://([^\s/:@?#\[]+)(?::[^\s/@]*)?@")
_EMAIL = expression(r"([A-Za-z0-9._+\-]+)(?:@|＠|%(?:25)*40|&#64;|&#x40;)[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)+")
_SUBJECT = expression(
    rf"(?i)((?:\bcn|ｃｎ|%(?:25)*2fcn|emailaddress){_IS}(?:robot(?:\s|%20|\+)*(?:[:\-]|%3a)(?:\s|%20|\+)*)?)"
    r"((?:[^/,;=:\"'<>()\[\]|%&＝]|%(?:25)*(?:20|2[bde]|[4-9a-f][0-9a-f]))+)"
)

_SAYS_USER: Final = (
    "user",
    "uid",
    "login",
    "logname",
    "owner",
    "account",
    "principal",
    "eppn",
    "sub",
    "mapped",
    " for ",
)

_WORDS_IN_NAME: Final = 6
_VERBS_AND_MORE: Final = (
    "is are was were has have had not no does do did can cannot could may must will would failed in on at of for from "
    "to by with as and or but that which while because since expired denied invalid unknown unable rejected"
)
_SENTENCE_GOES_ON: Final = frozenset(_VERBS_AND_MORE.split(" "))
"""A common name in a sentence has no closing mark; these words end it, so that the cause stays readable."""
_WORDS_AFTER_USER: Final = (
    "a an the this your you any all some other another each none null unset empty missing anonymous nobody root guest "
    "admin administrator daemon sshd "
    "default found required allowed permitted authorised authorized authenticated supported defined specified given "
    "provided banned blocked disabled locked exists existing aborted abort cancelled canceled cancel cancels "
    "interrupted interrupt requested request requests account accounts agent authentication authorisation "
    "authorization callback cert certificate certificates client credential credentials data database defaults "
    "directory disk dn domain error errors facing file files group groups home host hosts id identity info information "
    "input interaction interface intervention job jobs key keys limit limits list login lookup map mapfile mapped "
    "mapping mappings mode name names namespace only operation options password permission permissions plugin policy "
    "privilege privileges process profile proxy quota quotas record registration right rights robot role roles server "
    "service services session setting settings side space specific storage store subject supplied time timeout token "
    "tokens trust usage users without needs lacks exceeded exceeds belongs already also lost too bad wrong"
)
_NOBODY: Final = _SENTENCE_GOES_ON | frozenset(_WORDS_AFTER_USER.split(" "))
"""What follows `user` and names nobody."""
_NO_NAME = re.compile(r".*(?:tions?|sions?|ship|ity)", re.IGNORECASE)
_LIST: Final = 16
"""Names of a text that are looked for in the rest of it."""
_LOOK_AHEAD: Final = 40


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
        text = _ESCAPED.sub(lambda found: chr(int(found.group(1), 16)), text.replace("\\/", "/"))
        return self.scrub(_RECORD.sub(lambda m: m.group(1) + self.of(m.group(2)), text))

    def scrub(self, text: str) -> str:
        """`text` (bounded by the caller) with names of people replaced; linear in its length.

        >>> Pseudonyms(b"k").scrub("no such file /store/user/jdoe/a.root, owner=jdoe")
        'no such file /store/user/user-205754/a.root, owner=user-205754'
        """
        lower = text.lower()  # the expressions decide; most texts hold nothing that could concern them
        found = _Found(self)
        if "/user" in lower or "/home" in lower or "/work/" in lower or "/~" in lower or "2f" in lower:
            text = _PATH.sub(found.in_path, text)
        if "~" in text:
            text = _HOME.sub(found.in_path, text)
        if "user." in lower:
            text = _SCOPE.sub(found.in_path, text)
        if ("=" in text or "＝" in text or "3d" in lower) and ("cn" in lower or "ｃｎ" in lower or "mail" in lower):
            text = _SUBJECT.sub(found.in_subject, text)
        if any(word in lower for word in _SAYS_USER):
            text = _UID.sub(found.number, text)
            text = found.in_fields(text)
            text = _QUOTED.sub(found.quoted, text)
            text = found.in_sentences(text)
        if "@" in text or "＠" in text or "%" in text or "&#" in text:
            text = _XROOTD.sub(found.before_host, text)
            text = _AT_HOST.sub(found.before_host, text)
            text = _EMAIL.sub(found.mail, text)
        return found.elsewhere(text)


_ESCAPED = re.compile(r"\\u00(2[0136-9a-f]|3[0-9a-f]|[46][0-9a-f]|5[0-9abd-f]|7[0-9a-e])", re.IGNORECASE)
"""A character that JSON may escape and need not; without the quotation mark and the backslash."""


class _Found:
    """The names in one text, as the expressions meet them."""

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self._of = pseudonyms.of
        self._names: dict[str, bool] = {}
        """Name → whether the text says that it is a user's."""

    def in_path(self, match: Any) -> str:
        name = match.group(2)
        return str(match.group(0)) if name is None else str(match.group(0)).replace(name, self._hidden(name, False), 1)

    def in_fields(self, text: str) -> str:
        """Each `user=x`, `user: First Last`; in `logname= uid=x` the first field has no value."""
        out: list[str] = []
        at = 0
        while (match := _FIELD.search(text, at)) is not None:
            begin, name = match.end(1), self._name(match.group(2))
            end = begin + len(name)
            if not name or (text[begin - 1].isspace() and text[end : end + 1] == "="):
                out.append(text[at : begin - 1])
                at = begin - 1  # the blank before the next field
            else:
                out += text[at:begin], self._hidden(name, True)
                at = end
        return "".join([*out, text[at:]])

    def in_sentences(self, text: str) -> str:
        """Each `user x`, also where one follows another (`login user x`)."""
        out: list[str] = []
        at = 0
        while (match := _SENTENCE.search(text, at)) is not None:
            name = self._name(match.group(2))
            end = match.end(1) + len(name)
            hidden = name and _names_somebody(name, text[end : end + _LOOK_AHEAD])
            out += text[at : match.end(1)], self._hidden(name, True) if hidden else ""
            at = end if hidden else match.end(1)
        return "".join([*out, text[at:]])

    def number(self, match: Any) -> str:
        """`uid=1234(name)`; the number is hidden as one, for it is no second person."""
        name = (match.group(3) or "")[1:]
        hidden = f"({self._hidden(name, True)}" if name else match.group(3) or ""
        return f"{match.group(1)}{self._of(match.group(2)).replace('user-', 'uid-')}{hidden}"

    def quoted(self, match: Any) -> str:
        name = match.group(2)
        return str(match.group(0)) if _nobody(name) else f"{match.group(1)}{self._hidden(name, True)}"

    def in_subject(self, match: Any) -> str:
        """A common name up to where a sentence goes on; a host's name stays."""
        words = match.group(2).split(" ")
        end = 1
        while end < min(len(words), _WORDS_IN_NAME) and words[end] and words[end].lower() not in _SENTENCE_GOES_ON:
            end += 1
        name = unquote(unquote(" ".join(words[:end])))
        if (name.count(".") > 1 and is_host(name)) or _nobody(name) or _PSEUDONYM.fullmatch(name):
            return str(match.group(0))
        rest = "".join(f" {word}" for word in words[end:])
        return f"{match.group(1)}{self._of(name)}{rest}"

    def before_host(self, match: Any) -> str:
        name = match.group(2)
        return str(match.group(0)).replace(name, self._hidden(name, True), 1)

    def mail(self, match: Any) -> str:
        local = match.group(1)
        kept = local.isdigit() or local == REDACTED or _PSEUDONYM.search(local)
        return str(match.group(0)) if kept else self._of(unquote(match.group(0)))

    def elsewhere(self, text: str) -> str:
        """The text without the names that it holds, wherever they stand."""
        for name, said in [*self._names.items()][:_LIST]:
            begin = text.find(name)
            while begin >= 0:
                end = begin + len(name)
                before, after = text[begin - 1 : begin], text[end : end + 1]
                if not (before.isalnum() or after.isalnum()) and (said or not (before.isspace() or not before)):
                    hidden = self._of(name)
                    text = text[:begin] + hidden + text[end:]
                    end = begin + len(hidden)
                begin = text.find(name, end)
        return text

    def _name(self, text: str) -> str:
        """The name at the start of a text, empty if none: capitalised words after a capitalised one belong to it."""
        words = text.split(" ")
        end = 1
        if words[0][:1].isupper():
            while end < len(words) and words[end][:1].isupper() and not _nobody(words[end]):
                end += 1
        name = " ".join(words[:end]).rstrip(".-")
        return "" if _nobody(name) or _PSEUDONYM.fullmatch(name) else name

    def _hidden(self, name: str, said: bool) -> str:
        if _PSEUDONYM.fullmatch(name):
            return name
        if len(name) > 2 and not name.isdigit() and not _nobody(name) and name.lower() not in _SAYS_USER:
            self._names[name] = said or self._names.get(name, False)
        return self._of(name)


_PSEUDONYM = re.compile(r"(?:user|uid)-[0-9a-f]{6}")
_GOES_ON = re.compile(
    r"\s*(?:$|[\"',;:.)(\[\]]|(?:an?|and|on|at|by|in|for|from|to|with|is|was|has|had|does|did|can|cannot|could|may|must|not"
    r"|lacks|needs|over|unknown|invalid|[a-z]+ed|[a-z]+n.?t)\b)"
)


def _nobody(name: str) -> bool:
    word = name.strip("'\"").lower()
    return not word or word in _NOBODY or (word.isdigit() and len(word) < 3) or _NO_NAME.fullmatch(word) is not None


def _names_somebody(name: str, rest: str) -> bool:
    """Whether the word after `user` is a name: its sentence goes on with a verb, a preposition or a mark."""
    return " " in name or _GOES_ON.match(rest) is not None
