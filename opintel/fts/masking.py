"""Masking: an error text becomes its form, with everything that varies between occurrences replaced by a placeholder.

Texts come from FTS records, lists of bare messages or any log, and are untrusted; forms and their ids go to the
template miner, the window records and the clustering. Numbers that name a cause (HTTP, GridFTP, XRootD, curl and errno
codes) stay, because with all numbers masked a third of real messages fall into clusters that mix root causes.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from opintel.fts.expressions import expression
from opintel.fts.tokens import Tokens

MAX_TEXT: Final = 1024
"""Characters of a text that are looked at; FTS cuts its messages there as well."""
MAX_FORM: Final = 400
"""Characters of a form. Well below `MAX_TEXT`, so that texts which were cut at different words (their paths differ in
length) still share a form."""

_CACHE: Final = 10_000
"""Forms and words that are remembered: more than real errors have, little enough when the texts are hostile."""


def mask(text: str) -> str:
    """The form of `text`: one line, at most `MAX_FORM` characters; linear time in the first `MAX_TEXT` characters.

    Pure: it depends on the text only, in every process. Idempotent: `mask(mask(x)) == mask(x)`.

    >>> mask("TRANSFER  error 451 Failed to connect [2605:9a00::fbf8]:22960: Connection timed out ")
    'TRANSFER error 451 Failed to connect <HOST>: Connection timed out'
    """
    if len(text) >= MAX_TEXT:
        text = _whole_words(text[:MAX_TEXT])
    roughly = " ".join(map(_masked_token, text.split()))
    form = _forms.get(roughly)
    if form is None:
        form = _settled(roughly)
        if len(_forms) >= _CACHE:
            _forms.clear()
        _forms[roughly] = form
    return form


def form_id(form: str) -> str:
    """The template id of a form: a hash that needs no state, hence the same in every process and on every machine.

    >>> form_id("TRANSFER Operation timed out")
    't-2607ad02aa73'
    """
    return "t-" + hashlib.blake2b(form.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


_masked_token = Tokens(_CACHE).__getitem__
_forms: dict[str, str] = {}
"""Form by text with masked tokens. 99.9 % of real errors repeat one: the rewriting below hardly ever runs."""


def _settled(roughly: str) -> str:
    """`_form` until it changes nothing more, which makes `mask` idempotent; two rounds for nearly all texts."""
    form = _form(roughly)
    for _ in range(8):
        again = _form(" ".join(map(_masked_token, form.split())))
        if again == form:
            break
        form = again
    return form


def _form(roughly: str) -> str:
    """Rewrites that need more than one token: wrappers, numbers by their context, people, dates, addresses."""
    form = " ".join(_without_reply_codes(roughly.split()))
    form = _CALL_STACK.sub("", form).strip() or form
    form = _with_numbers_masked(form)
    for pattern, replacement in _REWRITES:
        form = pattern.sub(replacement, form)
    if "<HEX>" in form or "hecksum" in form or "CHECKSUM" in form:
        form = _CHECKSUM.sub(r"\1<HEX>", form)
    form = " ".join(_without_repeats(form.split()))
    return form if len(form) <= MAX_FORM else _whole_words(form[: MAX_FORM + 1])


def _whole_words(text: str) -> str:
    """`text` without its last word, which a cut has probably broken."""
    words = text.rsplit(None, 1)
    return words[0] if len(words) == 2 else text.strip()


def _without_repeats(tokens: list[str]) -> list[str]:
    """A list of any length becomes its first element: `<PATH> <PATH> <PATH>`."""
    return [t for at, t in enumerate(tokens) if at == 0 or t != tokens[at - 1] or "<" not in t]


_CALL_STACK = expression(r"(?:\[[a-z0-9]+(?:_[a-z0-9A-Z]+)+\]\s*(?:\[[a-z0-9]+(?:_?[a-z0-9A-Z]+)*\]\s*)+)")
"""gfal2 puts the names of its functions before the cause, or not, depending on its version."""


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


_WORD = re.compile(r"[A-Za-z0-9]+")
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
    for found in _WORD.finditer(form):
        word = found.group()
        if word.isdigit():
            masked = word if _is_code(word, form, found.start(), found.end()) else "<NUM>"
        elif word[0].isdigit() and not _ORDINAL.fullmatch(word):
            unit = word.lstrip("0123456789")
            masked = "<NUM>" + unit if unit.isalpha() and len(unit) <= 3 else word
        else:
            continue
        out += form[end : found.start()], masked
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


_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*"
_REWRITES: Final = [
    (expression(pattern), replacement)
    for pattern, replacement in (
        (r"HTTP/<NUM>(?:\.<NUM>)?", "HTTP"),
        (r"[-+]?<NUM>(?:[._,+-]<NUM>)+", "<NUM>"),
        (r"([ (=:_]|^)[-+]<NUM>", r"\1<NUM>"),
        (r"(HTTP/\d\.\d\" (?:status:? )?)\d{3}\b", r"\1<NUM>"),
        (r"<?<NUM> ?(?:ms|s|sec|secs|seconds?|min|minutes?|h|hours?)\b", "<TIME>"),
        (r"<NUM> ?[KMGTP]?i?B\b", "<SIZE>"),
        (r"(<NUM> bytes) \(<SIZE>\)", r"\1"),
        (r"\[<HOST>\](?::(?:<NUM>|\d+))?", "<HOST>"),
        (r"<HOST>:(?:<NUM>|\d+)", "<HOST>"),
        (r"<TIME>[.,]<NUM>", "<TIME>"),
        (
            rf"(?:{_DAY},? )?\b(?:{_MONTH} <NUM>|<NUM> {_MONTH}),?(?: <NUM>\b)?(?: <TIME>)?(?: [A-Z]{{3,4}})?( <NUM>)?",
            "<TIME>",
        ),
        (r"<TIME>(?:[ T]<TIME>)+", "<TIME>"),
        (r"<HOST>(?:, ?<HOST>)+", "<HOST>"),
        (r"(host(?:name)?=)[^\s'\"<>,;]+", r"\1<HOST>"),
        (r"<HOST> \((?:<HOST>)?\)", "<HOST>"),
        (r"<DN>(?: [A-Z]\pL+){0,2}(?:[ ,]+<DN>)+", "<DN>"),
        (r"<DN> [A-Z]\pL+([:,;'\")]|$)", r"<DN>\1"),
        (
            r"((?:\b(?:[Ii]nvalid|[Ii]llegal|[Mm]apped|for) user(?:name)? "
            r"|\b(?:user|username|login|logname|ruser|owner)="
            r"|\bpassword for (?:invalid user )?)['\"]?)(?:<[A-Z]+>|[^\s'\"<>,;:)(]+)",
            r"\1<USER>",
        ),
    )
]
_CHECKSUM = expression(r"((?:[Cc]hecksum|CHECKSUM)[^<]{0,60}|<HEX> ?!= ?|[Dd]estination: )<NUM>")
"""One checksum in forty has decimal digits only."""
