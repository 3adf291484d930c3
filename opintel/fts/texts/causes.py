"""The cause in an error text: the side that FTS blames, and the text without what clients wrap around it.

Texts reach people as titles, tickets and lists, cut to a line. Of 60 characters gfal2's wrapper alone takes 57, so
that 507, 403 and 404 look alike; here the cause comes first. Forms (`opintel.fts.texts.masking`) and raw texts both do.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from opintel.fts.texts.expressions import expression

SIDES: Final = ("SOURCE", "DESTINATION")
_HEADING = re.compile(r"(?:SOURCE|DESTINATION|TRANSFER|GENERAL[_ ]FAILURE) +(\[-?\d{1,9}\] +)?")
_STATE_HEADING = re.compile(r"(SOURCE|DESTINATION|TRANSFER|GENERAL[_ ]FAILURE) \[-?\d{1,9}\] +")


def reported(text: str, scope: str = "", phase: str = "", code: str = "", category: str = "") -> str:
    """An error as it is kept: FTS's text, after the side where `tr_error_scope` blames one.

    Without a text, what the other fields say of it; empty where they say nothing.

    >>> reported("HTTP 403 : Permission refused", "SOURCE"), reported("DESTINATION OVERWRITE timed out", "DESTINATION")
    ('SOURCE HTTP 403 : Permission refused', 'DESTINATION OVERWRITE timed out')
    >>> reported("", "SOURCE", "TRANSFER_PREPARATION", "13", "PERMISSION_DENIED")
    'SOURCE [13] PERMISSION_DENIED in TRANSFER_PREPARATION'
    """
    if not text.strip():
        words = [f"[{code}]" if code not in ("", "0") else "", category, f"in {phase}" if phase else ""]
        text = " ".join(filter(None, words)) if category or words[0] else ""
    side = scope.strip().upper()
    return f"{side} {text}" if text and side in SIDES and not text.startswith(side) else text


def of_state(reason: str) -> str:
    """The text as the completion has it: a state's reason is `SCOPE [code]` before that. Staging and archiving have no
    completion, and keep theirs.

    >>> of_state("TRANSFER [5] no space left"), of_state("SOURCE [13] refused"), of_state("STAGING [110] timed out")
    ('no space left', 'SOURCE refused', 'STAGING [110] timed out')
    """
    found = _STATE_HEADING.match(reason)
    return reason if found is None else reported(reason[found.end() :], found.group(1))


def side(text: str) -> str:
    """`source` or `destination` where the text blames one, else empty.

    >>> side("SOURCE [14] no token"), side("TRANSFER timed out")
    ('source', '')
    """
    first = text.partition(" ")[0]
    return first.lower() if first in SIDES else ""


def cause(text: str) -> str:
    """The side and the cause on one line, without wrappers; the text itself where nothing else is left.

    >>> cause("SOURCE TRANSFER ERROR: Copy failed (3rd pull). Last attempt: copy HTTP 507 : Insufficient Storage")
    'source: HTTP 507 : Insufficient Storage'
    """
    step, rest = unwrapped(text)
    label = f"{side(text)} {step}".strip()
    return f"{label}: {rest}" if label else rest


@lru_cache(maxsize=4096)
def unwrapped(text: str) -> tuple[str, str]:
    """(the step of a transfer that failed, where FTS names one; the cause on one line, without wrappers).

    >>> unwrapped("DESTINATION CHECKSUM globus_xio: System error in recv: Broken pipe"), unwrapped("disk full")
    (('checksum', 'Broken pipe'), ('', 'disk full'))
    """
    step = ""
    rest = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    for _ in range(_DEPTH):
        inner = rest
        if (found := _HEADING.match(inner)) is not None:
            inner = inner[found.end() :]
            if found.group(1) and _CODE.search(inner) is None:
                inner = found.group(1) + inner
        if (found := _STEP.match(inner)) is not None:
            step = f"{step} {found.group(1).lower().replace('_', ' ')}".strip()
            inner = inner[found.end() :]
        for pattern, replacement in _WRAPPERS:
            inner = pattern.sub(replacement, inner)
        inner = inner.lstrip(" :;,.-")
        if inner == rest or not inner:
            break
        rest = inner
    return step, rest


def headline(text: str, width: int) -> str:
    """The cause in at most `width` characters; where its code would be cut off, from the clause with the code on.

    >>> headline("error while talking to the storage of a place that has a rather long name: got 429, later", 40)
    '… got 429, later'
    """
    found = cause(text)
    if len(found) <= width:
        return found
    code = _CODE.search(found)
    if code is not None and code.end() >= width:
        clause = max((found.rfind(mark, 0, code.start()) + len(mark) for mark in (": ", ". ", "; ", ", ")), default=0)
        found = f"{side(text) and side(text) + ': '}… {found[clause:]}"
    return found if len(found) <= width else found[: width - 1] + "…"


_DEPTH: Final = 6
"""Wrappers around wrappers that are taken off."""
_CODE = re.compile(r"\b[45]\d\d\b|\((?:\d{1,4})\)|\[\d{1,4}\]|(?:error|errno|code|curl)[ :=(]+\d{1,4}\b", re.IGNORECASE)
_STEP = re.compile(r"(CHECKSUM|OVERWRITE|MAKE_PARENT) +")
_WRAPPERS: Final = tuple(
    (expression(pattern), replacement)
    for pattern, replacement in (
        (r"^(?:[Nn]on )?[Rr]ecoverable error: *(?:\[\d+\] *)?", ""),
        (r"^(?:TRANSFER |TRANSFER_\w+ )?ERROR: +", ""),
        (
            r"^(?:[Tt]hird[- ][Pp]arty |TPC )?[Cc]opy failed(?: \([^)]*\)| with mode [^:.,]*)[.,:]?(?: with error:)? *",
            "",
        ),
        (r"^(?:[Ll]ast|[Ff]irst|[Nn]ext) (?:attempt|error)s?: *", ""),
        (r"^(?:[Tt]ransfer|[Cc]opy|[Rr]equest|[Oo]peration) (?:failure|failed): +", ""),
        (r"^(?:copy|pull|push) +", ""),
        (r"^(?:HTTP|[Hh]ttp) third party copy: +", ""),
        (r"^[Ff]ailure: +", ""),
        (r"^Result (?:\(Neon\): )?", ""),
        (r"Error on XrdCl::CopyProcess::Run\(\): +", ""),
        (r"\[(?:ERROR|FATAL)\] +(?:[Ss]erver responded with an error: +)?", ""),
        (r"globus_(?:ftp_client|xio): +|System error in \w+: +|A system call failed: +", ""),
        (r"^the server responded with an error +", ""),
        (r"The GSI XIO driver failed to establish a connection via the underlying protocol\. +", ""),
        (r"^(\d{3}) (?:Command failed\.? :|General problem:) +", r"\1 "),
        (r"^(\d{3}) (?:[a-z]\w*\.)+([A-Z]\w+:)", r"\1 \2"),
        (r"^Error reported from srm_ifce : +", ""),
        (r"^SRM_[A-Z_]+ +(?:[Ee]rror on|call to) ", "error on "),
        (r"^error on the (?:surl|turl)(?: +(?:request|<URL>|[a-z]+://\S+))? *(?:while \w+ *)?: +", ""),
        (r"^error on srm_ifce error: +", ""),
        (r"\[SE\]\[\w+\]", ""),
        (r"^TPC_\w+: +(?:event=\w+, +)?", ""),
        (r"^\w+=(?:<[A-Z]+>)+[,;]? +", ""),
    )
)
"""What clients put around a cause: gfal2's copies, XRootD's and GridFTP's replies, SRM's requests, EOS's pulls."""
