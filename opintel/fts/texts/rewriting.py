"""The part of masking that needs more than one word: numbers by their context, dates, addresses, people, lists.

`masking` calls this for texts whose words are masked and that it has not met before. Each rewrite is looked
for only where its mark stands in the text, which costs little where there is nothing to do. The expressions are
Python's: their repetitions do not overlap, so that their time is linear in a text, and a text is bounded.
"""

from __future__ import annotations

import re
import string
from itertools import groupby
from operator import itemgetter
from typing import Final

from opintel.fts.texts.expressions import expression


def rewritten(roughly: str) -> str:
    """A text with masked words → its form, not yet cut."""
    form = roughly
    if _REPLY.search(form):
        form = " ".join(_without_reply_codes(form.split()))
    if "][" in form or "] [" in form:
        form = _CALL_STACK.sub("", form).strip() or form
    form = _with_numbers_masked(form)
    for mark, steps in _REWRITES:
        if mark in form:
            for finer, pattern, replacement in steps:
                if finer in form:
                    form = pattern.sub(replacement, form)
    return " ".join(_without_repeats(form.split())) if form.count("<") > 1 or "  " in form else form


def _without_repeats(tokens: list[str]) -> list[str]:
    """A list of any length becomes its first element: `<PATH> <PATH> <PATH>`."""
    return [t for at, t in enumerate(tokens) if at == 0 or t != tokens[at - 1] or "<" not in t]


_CALL_STACK = expression(r"(?:\[[a-z0-9]+(?:_[a-z0-9A-Z]+)+\]\s*(?:\[[a-z0-9]+(?:_?[a-z0-9A-Z]+)*\]\s*)+)")
"""gfal2 puts the names of its functions before the cause, or not, depending on its version."""
_REPLY = re.compile(r"[1-5][0-9][0-9](?:-| End\.)")


def _without_reply_codes(tokens: list[str]) -> list[str]:
    """Drops what frames a GridFTP reply of several lines (RFC 959, 4.2): `500-` before each, `500 End.` at the end."""
    kept: list[str] = []
    code = ""
    for at, token in enumerate(tokens):
        while _is_reply_code(token[:3]) and token[3:4] == "-":
            if token[:3] != code:
                code = token[:3]
                kept.append(code)
            token = token[4:]
        if token == "End." and kept and _is_reply_code(kept[-1]):
            kept.pop()
        elif token:
            kept.append(token)
            if at and _is_reply_code(token):
                code = token
    return kept or tokens


def _is_reply_code(word: str) -> bool:
    return len(word) == 3 and word.isascii() and word.isdigit() and word[0] in "12345"


_NUMBER = re.compile(r"[0-9][A-Za-z0-9]*")
_LETTERS: Final = frozenset(string.ascii_letters)
_NAMES_A_CODE = re.compile(
    r"(?:(?:^|[^a-z])(?:error|errno|err|(?:ret|status_?|error_?|err_?|http_?)?code|status|http|response|result|exit"
    r"|signal|rc|ret|curl|libcurl|reply|srm_ifce|http/[0-9.]+)[ \"']*[:=#]?[ \"'(\[]*-?"
    r"|\[(?:error|fatal)\] *\[?|(?:transfer|source|destination|checksum|staging|archiving) \[)\Z"
)
_STEP = re.compile(r"\b[A-Z][A-Z_]{2,} \[\Z")
"""A step of FTS and its errno: `STAGING [13]`."""
_ANSWERED = re.compile(
    r"\b(?:(?:GET|PUT|POST|HEAD|COPY|MOVE|DELETE|PROPFIND|MKCOL|OPTIONS|PATCH)\b[\"']?[:=]*"
    r"|(?:[Gg]ot|[Ss]ays|[Ss]aid|[Aa]nswer(?:ed|s)?|[Rr]eceived|[Rr]epli(?:ed|es)|[Rr]eturn(?:ed|s)|[Rr]esponded|[Rr]ejected|[Ww]ith|[Gg]ave)"
    r"(?: (?:an?|the|with))?:?) [\"'(]?\Z"
)
_COUNTS = re.compile(
    r" ?%| ?(?:[KMGTP]i?)?B\b| (?!(?:after|and|at|because|but|by|for|from|in|instead|on|or|to|when|while)\b)[a-z]"
)
"""After a number: what is counted or measured."""
_REASON = re.compile(r"(?: :)? (?:[A-Z][a-z]|[A-Z]+_[A-Z]|[A-Z]{4})")
_ORDINAL = re.compile(r"[1-9](?:st|nd|rd|th)|[1-5]xx")
"""Words that begin with a digit: third-party copies are `3rd pull`."""
_LOOK_BACK: Final = 24
"""Characters before a number in which its meaning is looked for."""


def _with_numbers_masked(form: str) -> str:
    """Masks every number but those that name a cause."""
    out: list[str] = []
    end = 0
    for found in _NUMBER.finditer(form):
        word, start = found.group(), found.start()
        if start and form[start - 1] in _LETTERS:
            continue  # the end of a word that does not begin with a digit
        if word.isdigit():
            masked = word if _is_code(word, form, start, found.end()) else "<NUM>"
        elif not _ORDINAL.fullmatch(word):
            unit = word.lstrip("0123456789")
            masked = "<NUM>" + unit if unit.isalpha() and len(unit) <= 3 else word
        else:
            continue
        out += form[end:start], masked
        end = found.end()
    out.append(form[end:])
    return "".join(out)


def _is_code(word: str, form: str, start: int, end: int) -> bool:
    """Whether a number says what went wrong: after a word like `error` or `status`, or 4xx/5xx as an answer.

    A 2xx reply is no error, so it is masked like any other number.
    """
    if len(word) > 4 or (len(word) == 3 and word[0] == "2"):
        return False
    before = form[max(0, start - _LOOK_BACK) : start]
    if len(word) == 3 and word[0] in "45":
        if before[-1:] in ("", " ", "(") and _REASON.match(form, end):
            return True
        if _ANSWERED.search(before) and not _COUNTS.match(form, end):
            return True
    if form[end : end + 1] == "]" and _STEP.search(before):
        return True
    before = before.lower()
    return before.endswith("http/") or _NAMES_A_CODE.search(before) is not None


_MONTHS: Final = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_MONTH = rf"(?:{_MONTHS})[a-z]*"
_DATE = (
    rf"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? )?\b(?:{_MONTH} <NUM>|<NUM> {_MONTH}),?(?: <NUM>\b)?(?: <TIME>)?"
    r"(?: [A-Z]{3,4})?( <NUM>)?"
)
_SAYS_WHY = "".join(f"(?<!{key})" for key in ("error", "reason", "cause", "message", "msg", "status", "description"))
_VALUE = r"['\"]?)(?:<[A-Z]+>|[^\s'\"<>,;:)(]+)"
_UNITS = r"(?:ms|s|sec|secs|seconds?|min|minutes?|h|hours?)\b"
_STEPS: Final = (
    ("<NUM>", "HTTP/<NUM>", r"HTTP/<NUM>(?:\.<NUM>)?", "HTTP"),
    ("<NUM>", "<NUM>", r"<NUM>(?:[._,+-]<NUM>)+", "<NUM>"),
    ("<NUM>", "-<NUM>", r"(?<![^ (=:_])-<NUM>", "<NUM>"),
    ("<NUM>", "+<NUM>", r"(?<![^ (=:_])\+<NUM>", "<NUM>"),
    ("<NUM>", "<<NUM>", rf"<(?=<NUM> ?{_UNITS})", ""),
    ("<NUM>", "<NUM>", rf"<NUM> ?{_UNITS}", "<TIME>"),
    ("<NUM>", "<NUM>", r"<NUM> ?[KMGTP]?i?B\b", "<SIZE>"),
    ("HTTP/", "HTTP/", r"(HTTP/\d\.\d\" (?:status:? )?)\d{3}\b", r"\1<NUM>"),
    ("(<SIZE>)", "(<SIZE>)", r"(<NUM> bytes) \(<SIZE>\)", r"\1"),
    ("<HOST>", "[<HOST>]", r"\[<HOST>\](?::(?:<NUM>|\d+))?", "<HOST>"),
    ("<HOST>", "<HOST>:", r"<HOST>:(?:<NUM>|\d+)", "<HOST>"),
    ("<TIME>", "<TIME>", r"<TIME>[.,]<NUM>", "<TIME>"),
    *(("<NUM>", month, _DATE, "<TIME>") for month in _MONTHS.split("|")),
    ("<TIME>", "<TIME>", r"<TIME>(?:[ T]<TIME>)+", "<TIME>"),
    ("<HOST>", "<HOST>,", r"<HOST>(?:, ?<HOST>)+", "<HOST>"),
    ("host", "host", r"(host(?:name)?=)[^\s'\"<>,;]+", r"\1<HOST>"),
    ("<HOST> (", "<HOST> (", r"<HOST> \((?:<HOST>)?\)", "<HOST>"),
    ("<DN>", "<DN>", r"<DN>(?: [A-Z][^\W\d_]+){0,2}(?:[ ,]+<DN>)+", "<DN>"),
    ("<DN>", "<DN>", r"<DN> [A-Z][^\W\d_]+([:,;'\")]|$)", r"<DN>\1"),
    (
        " user",
        " user",
        rf"(\b(?:(?:[Ii]nvalid|[Ii]llegal|[Mm]apped|for) user(?:name)? |password for (?:invalid user )?){_VALUE}",
        r"\1<USER>",
    ),
    ("password for ", "password for ", rf"(\bpassword for (?:invalid user )?{_VALUE}", r"\1<USER>"),
    ("=", "er=", rf"(\b(?:user|ruser|owner)={_VALUE}", r"\1<USER>"),
    ("=", "name=", rf"(\b(?:username|logname)={_VALUE}", r"\1<USER>"),
    ("=", "login=", rf"(\blogin={_VALUE}", r"\1<USER>"),
    ("=", "=", r"(= ?)(?:[Tt]rue|[Ff]alse|TRUE|FALSE)\b", r"\1<BOOL>"),
    ("=", '="', rf'{_SAYS_WHY}="[^"]*"', '="<TEXT>"'),
    ("<NUM>", "hecksum", r"([Cc]hecksum[^<]{0,60})<NUM>", r"\1<HEX>"),
    ("<NUM>", "CHECKSUM", r"(CHECKSUM[^<]{0,60})<NUM>", r"\1<HEX>"),
    ("<NUM>", "<HEX>", r"(<HEX> ?!= ?|[Dd]estination: )<NUM>", r"\1<HEX>"),
)
"""(mark, finer mark, what is looked for, what it becomes), in this order. One checksum in forty has digits only."""
_REWRITES: Final = [
    (mark, [(finer, re.compile(pattern, re.ASCII), replacement) for _, finer, pattern, replacement in steps])
    for mark, steps in groupby(_STEPS, key=itemgetter(0))
]
