"""Facets of an error text: who is blamed, where in a transfer it broke, in which layer, with which code, and why.

Read from the text by tables, before any learning, and from the record's own fields where the caller has them. The
judges put them into the evidence of their findings; the console and notebooks may ask too. Linear in the text, of which
the first `MAX_TEXT` characters are looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import msgspec

from opintel.evidence import Table
from opintel.fts.causes import codes
from opintel.fts.texts.causes import side, unwrapped
from opintel.fts.texts.expressions import expression
from opintel.fts.texts.masking import MAX_TEXT, mask
from opintel.fts.texts.tokens import is_host

CAUSE: Final = 160
"""Characters of a cause."""
_FIELD: Final = 64
"""Characters of a record's field that count."""
_URLS: Final = 8
_HOSTS: Final = 32
"""URLs, and words that may be hosts, of a text that are looked at."""


class Facets(msgspec.Struct, frozen=True):
    """What an error text says of itself; empty where it says nothing."""

    blamed: str = ""
    """FTS's scope: `source`, `destination`, `transfer`, …"""
    phase: str = ""
    """`preparation`, `transfer`, `finalization`, `staging`, `archiving`, `queue`."""
    operation: str = ""
    """What was being done: `checksum`, `third-party pull`, `put-done`, …"""
    protocols: str = ""
    """`davs`, or `davs → root`."""
    layer: str = ""
    """The part of FTS's stack that speaks: `davix`, `xrootd`, `gridftp`, `srm`, `gfal2`, `fts`, or a storage's own
    third-party copy, `http-tpc`."""
    code: str = ""
    """`HTTP 507`, `errno 110`, …"""
    meaning: str = ""
    """Of the code."""
    cause: str = ""
    """Without wrappers; what varies is masked."""
    host: str = ""
    """The first that the text names."""


@lru_cache(maxsize=4096)
def facets(
    text: str,
    *,
    scope: str = "",
    phase: str = "",
    errno: str = "",
    source_url: str = "",
    destination_url: str = "",
) -> Facets:
    """The facets of a raw error text (a masked form has neither protocols nor host).

    The other arguments are a record's own fields, where there are any: `tr_error_scope`, `t_failure_phase`,
    `t_error_code`, `src_url`, `dst_url`. What they say of scope, phase and protocols holds; an
    errno stands back behind a code of the text, for gfal2 makes EIO or ECOMM of most things.

    >>> found = facets("SOURCE TRANSFER ERROR: Copy failed (3rd pull). Last attempt: HTTP 507 : Insufficient Storage")
    >>> found.blamed, found.operation, found.layer, found.code, found.meaning
    ('source', 'third-party pull', 'davix', 'HTTP 507', 'insufficient storage')
    """
    text = text[:MAX_TEXT].encode("utf-8", "replace").decode()
    form = mask(text)
    step, cause = unwrapped(form)
    layer = _first(_LAYERS, text)
    blamed = scope.strip().lower()[:_FIELD] or side(form) or _first(_SCOPES, form)
    operation = _OF_STEP.get(step.partition(" ")[0]) or _first(_OPERATIONS, text)
    code = codes.code(text, _LIKELY.get(layer, "")) or codes.errno(errno[:_FIELD])
    return Facets(
        blamed=blamed,
        phase=_phase(phase)
        or _stated_phase(form)
        or _PHASE_OF.get((operation, blamed))
        or _PHASE_OF.get(operation, ""),
        operation=operation,
        protocols=_protocols(text, source_url, destination_url),
        layer=layer,
        code=str(code) if code else "",
        meaning=code.meaning if code else "",
        cause=cause[:CAUSE],
        host=_host(text),
    )


def facet_table(texts: Iterable[tuple[str, int]]) -> Table:
    """The most frequent value of each facet of these raw texts with their counts, and how many messages have it.

    >>> facet_table([("SOURCE HTTP 404 : File not found", 3), ("SOURCE HTTP 403 : Forbidden", 1)]).rows[:2]
    [['blamed', 'source', 4], ['layer', 'davix', 4]]
    """
    counts: dict[str, Counter[str]] = {name: Counter() for name in Facets.__struct_fields__}
    for text, messages in texts:
        found = facets(text)
        for name, of in counts.items():
            if value := getattr(found, name):
                of[value] += messages
    top = {name: min(of.items(), key=lambda item: (-item[1], item[0])) for name, of in counts.items() if of}
    return Table("Facets", ["facet", "value", "messages"], [[name, *found] for name, found in top.items()])


def _first(table: list[tuple[str, Any]], text: str) -> str:
    return next((name for name, pattern in table if pattern.search(text)), "")


def _stated_phase(form: str) -> str:
    found = _PHASE.search(form)
    return _phase(found.group(1)) if found else _first(_PHASES, form)


def _phase(stated: str) -> str:
    """FTS's `TRANSFER_PREPARATION` as `preparation`."""
    return stated.strip().lower()[:_FIELD].removeprefix("transfer_").replace("_", " ")


def _protocols(text: str, source_url: str, destination_url: str) -> str:
    ends = [_SCHEME.match(url) for url in (source_url, destination_url)]
    found = [end.group(1).lower() for end in ends if end]
    if not found:
        found = [url.group(1).lower() for url in islice(_URL.finditer(text), _URLS)]
    different = list(dict.fromkeys(found))
    return " → ".join(different[:2])


def _host(text: str) -> str:
    for found in islice(_HOST.finditer(text), _HOSTS):
        in_url, word, port = found.groups()
        if in_url:
            return str(in_url).lower()
        likely = is_host(word, with_port=True) if port else word.count(".") > 1 and is_host(word)
        if likely and text[found.start() - 1 : found.start()] not in ("/", "_"):
            return str(word).lower()
    return ""


def _compiled(table: str) -> list[tuple[str, Any]]:
    rows = (line.split(None, 1) for line in table.strip().splitlines())
    return [(name.replace("_", " "), expression(f"(?i)(?:{pattern.strip()})")) for name, pattern in rows]


_SCHEME: Final = expression(r"([A-Za-z][A-Za-z0-9+]{0,15})://")
_URL: Final = expression(r"\b([A-Za-z][A-Za-z0-9+]{0,15})://[^\s]")
_HOST: Final = expression(
    r"[A-Za-z][A-Za-z0-9+]*://(?:[^/@\s]*@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]*[A-Za-z0-9])"
    r"|\b([A-Za-z0-9][A-Za-z0-9-]*(?:\.[A-Za-z0-9][A-Za-z0-9-]*)+)(:[0-9]{1,5}\b)?"
)
_PHASE: Final = expression(r"\bin (TRANSFER(?:_[A-Z]+)?|STAGING|ARCHIVING)$")
"""What `opintel.fts.texts.causes.reported` says of a record without a text."""
_LIKELY: Final = {"gridftp": "ftp", "davix": "http", "http-tpc": "http", "xrootd": "xrootd"}
"""The kind of code that a layer gives."""

# A line is a name (a blank as `_`) and what it is known by; the first that fits counts, so the innermost part of a
# message stands first. Small and capital letters are the same.
_LAYERS: Final = _compiled(r"""
xrootd    gfal_xrootd|xrdcl::|\bxrootd\b|\bxrd[a-z]*error|\[[34]0[0-9]{2}\]
http-tpc  tpc_\w+:|\brejected (?:get|put|head)\b|transfer failure: |performance marker|\bperf marker
srm       gfal_srm|\bsrm_|srm[-_]ifce|\[se\]\[|\bsrm v?2|\bsurl\b|\bturl\b
gridftp   gfal_gridftp|globus_|\bgsiftp\b|gridftp|gsi xio|\bftp reply\b|\b5[0-9]{2}[- ]command failed
davix     gfal_http|davix|\bresult (?:http|\(neon\)|could not connect)|\(neon\)|\bhttp/?[0-9. ]*\b[1-5][0-9]{2}\b|\b(?:lib)?curl\b|\bdavs?://
davix     \bneon\b|\bhttps?://|\bhttp\b
gfal2     \bgfal|copy failed|non recoverable|recoverable error
fts       \bfts|job has been cancel|stayed in the queue|heartbeat|url[-_ ]copy|transfer process (?:died|was)
fts       hard time ?out|forced failure|maximum time|delegat|no proxy|proxy (?:has )?expired|queue for too long
""")
_SCOPES: Final = _compiled(r"""
source       \[src\]|\bsource[ _](?:file|url|se|storage|checksum)\b.{0,40}(?:not|fail|error|missing)
destination  \[dst\]|\bdestination (?:file|url|storage|directory)\b
staging      ^staging\b
archiving    ^archiving\b
transfer     ^transfer\b
""")
_OPERATIONS: Final = _compiled(r"""
put-done           putdone|put_done
get-turl           get_turl|prepare_?to_?get|status_?of_?get
put-turl           put_turl|prepare_?to_?put|status_?of_?put
bring-online       bring_?online|^staging\b|\bstage(?:d|-in)?\b
archive            ^archiving\b|\barchiv
checksum           check ?sum|adler-?32|\bcksum\b
overwrite          ^\w+ overwrite\b|overwrite is not
directory          make_?parent|\bmkdir|\bmkcol\b|create (?:the )?(?:parent )?directory
third-party_pull   3rd[- ]pull|third[- ]party pull|mode 3rd pull|tpc_pull
third-party_push   3rd[- ]push|third[- ]party push|mode 3rd push|tpc_push
third-party_copy   3rd[-_ ]copy|third[- ]party[- ]copy
streamed_copy      \bstreamed\b
authentication     auth failed|authentication|handshake|certificate
connection         failed to connect|connect to|connecting to|establish(?:ed|ing)? (?:a |the )?connection|\bin connect\b
delete             \bunlink\b|\bdelet|\brm\b request
list               \[ls\]|\blisting\b|\bpropfind\b
stat               \bstat(?:ing)?\b|\bfile size\b
open               \bopen(?:/create|ing)?\b
read               \bread(?:ing)?\b|\bin recv\b|\brecv\b
write              \bwrit(?:e|ing)\b|\bin send\b
copy               \bcop(?:y|ying)\b|\btransfer\b
""")
_PHASES: Final = _compiled(r"""
staging    ^staging\b|bring_?online
archiving  ^archiving\b
queue      (?:in|from) the queue\b|queue for too long
""")
_OF_STEP: Final = {"checksum": "checksum", "overwrite": "overwrite", "make": "directory"}
"""The operation of a step that `unwrapped` takes off."""
_PHASE_OF: Final[dict[str | tuple[str, str], str]] = {
    ("checksum", "source"): "preparation",
    ("checksum", "destination"): "finalization",
    ("checksum", "transfer"): "finalization",
    ("stat", "source"): "preparation",
    ("stat", "destination"): "finalization",
    "get-turl": "preparation",
    "put-turl": "preparation",
    "overwrite": "preparation",
    "directory": "preparation",
    "third-party pull": "transfer",
    "third-party push": "transfer",
    "third-party copy": "transfer",
    "streamed copy": "transfer",
    "put-done": "finalization",
}
"""Phase by operation, of some by the side too: FTS looks at the source, makes room at the destination, copies, and then
looks at what has arrived."""
