"""Concepts: what the words and codes of an error text mean, so that `507`, `no space left` and `quota exceeded` agree.

A concept is finer than a cause family and a text may hold several; none rules another out. Phrases speak first. A
numeric code speaks only where no phrase does, because storage systems send codes that contradict their own text
(`[3009]`, which XRootD defines as "no space", with "unable to pass credentials"). Codes are read by
`opintel.fts.causes.codes`, which names their sources.
"""

from __future__ import annotations

import re
from typing import Final

from opintel.fts.causes.codes import numbers
from opintel.fts.texts.expressions import expression

# A line is a concept and a phrase that expresses it; several lines may express one concept. Case does not matter.
_PHRASES: Final = r"""
time        tim(?:ed?|ing)[ -]?out|time-?out|timedout|deadline exceeded|took too long|took longer|too long
time        (?:stay|wait|sat|queued|pending|idle)[a-z ]* (?:longer|more) than|(?:not|n.t) (?:\w+ ){0,3}in time
time        expired (?:before|while) (?:the |it )?(?:\w+ )?(?:was |had |could )?(?:start|begun|sent|sched|process)
time        (?:operation|request|session|transfer|copy|wait|lifetime|job|queue)[a-z ]* expired|expired after|\bexpirat
time        \bexpir el|no (?:performance )?markers?\b|stalled|inactivity
time        no (?:data|progress|activity)[a-z ]* (?:for|in|within|received)|temps d.attente
time        tiempo de (?:conexi|espera)|zeit.berschreitung|dauerte zu lange|delai|tempo scaduto
connect     connect(?:ing|ion)? to
connect     (?:failed|unable|could not|cannot|couldn.t) (?:to )?(?:connect|open (?:a )?connection)|connect failed
connect     in connect:|connection refused|no route to|unreachable
connect     establish (?:a |the )?(?:data )?(?:connection|channel)
refused     connection refused|actively refused|econnrefused
route       no route|unreachable|host is down
name        name or service not known|getaddrinfo|name resolution|resolve (?:host|proxy|address)|unknown host
name        no such host|nodename nor servname
lost        reset by peer|broken pipe|end[- ]of[- ]file|unexpected (?:eof|end)
lost        connection (?:was |is )?(?:closed|lost|broken|dropped|aborted)|closed ?channel|socket error
lost        terminated abruptly
lost        socket (?:was )?(?:closed|disconnect)|prematurely|before eod
lost        closed (?:the|its) (?:data )?(?:connection|channel)|closed by (?:the )?(?:remote|peer)|stream ended
lost        stream error|ipc failed|reading token data header|empty reply|recv failure|send failure|not connected
lost        disconnected|incomplete
permission  permission(?: was)? (?:denied|refused)|not permitted|forbidden|access (?:is )?denied|denied access
permission  not allowed|insufficient (?:user )?(?:privileges|rights|permissions?)|not? (?:\w+ )?authori[sz]
permission  insufficient[_ ]scope|(?:no|lacks?|without|missing) (?:the )?(?:scope )?storage\.(?:read|modify|create)
permission  unauthori[sz]ed|authori[sz]ation (?:failure|failed|error|denied)|authorization_failure|access rights
permission  read-?only|no write access|\b(?:eacces|eperm|erofs)\b
identity    authenti|credential|certificate|handshake|\b(?:ssl|tls|gss|gsi|x509|voms|macaroon|oidc|oauth|jwt|bearer)\b
identity    gss_|login incorrect|mapped user|user mapping|gridmap
identity    (?:token|proxy|authori[sz]ation)\b[^:;,]{0,40}(?:expired|invalid|missing|rejected|revoked|not valid|refresh)
identity    (?:expired|invalid|missing|no valid|revoked|refresh(?:ed|ing)?) (?:\w+ )?(?:token|proxy)|delegat
identity    auth failed|auth(?:z|n)? (?:error|failure)|\b401\b[ :,.-]*unauthori[sz]ed
absent      no such (?:file|object|key|entry|directory|path)|not found|does ?n[o']t exist|do(?:es)? not exist
absent      path_not_found|invalid_path|not present|enoent|has been (?:deleted|removed)|file (?:is )?missing
absent      no longer exists|nosuchkey
space       no (?:more )?(?:free )?space|disks? (?:is |are )?full|space left
space       (?:not|n.t) (?:have )?enough (?:free )?(?:space|room)|enough to hold|insufficient (?:storage|space)
space       out of space|quota|no_free_space|exceed_allocation|pools? (?:is |are )?(?:all )?full|free ?space
space       reserve (?:any )?space|space (?:management|reservation|token)|enospc|edquot|storage (?:is )?full
space       exceeded (?:its )?storage
exists      already exist|(?:file|path|destination) exists|path_exists|duplication_error|eexist|overwrite (?:is )?not
exists      would overwrite
checksum    check ?-?sums?|cksum|chksum|adler-?32|crc32c?|\bmd5\b|digest
differs     mismatch|(?:do|does|did)(?: not|n.t) match|(?:is|are) different|differs?\b
differs     not (?:the same|equal|identical)|inconsisten
unsupported (?:not|un) ?supported|(?:does|do)(?: not|n.t) support|commands? denied|not implemented|no support
unsupported required if|method not allowed|unknown command|not understood
thirdparty  third[- ]?party|\btpc\b|copy mode|\b3rd (?:pull|push)
size        (?:file ?)?size|bytes (?:expected|received|transferred|written)|truncated|too large|too big
offline     (?:file|replica|locality)[a-z_ ]* unavailable|file_unavailable|not online|off-?line|file_lost
offline     lifetime_expired|nearline
tape        not staged|staging|stage(?:d|-?in)?\b|bring ?online|recall|\btapes?\b|archiv|\bcta\b|\bhsm\b|evict
busy        busy|too many|limit (?:exceeded|reached|of)|address already in use|overload|locked|lock held
busy        already opened|open denied|try (?:again )?later|service (?:temporarily )?unavailable
busy        temporarily unavailable|rate limit|slow ?down|thrott|no free (?:slot|mover|door)|queue (?:is )?full
busy        resource temporarily
cancelled   cancel|abort(?:ed|ing)\b|killed|interrupted by|terminated by|request state has changed
address     protocol (?:is )?not supported|url invalid|invalid (?:ur[li]|address|surl)|not local|malformed
address     unsupported (?:scheme|protocol)|bad (?:ur[li]|address)|missing scheme|surl.*not (?:valid|local)
internal    internal|bug detected|unknown error|unexpected (?:server )?error|unspecified|unhandled|exception
internal    nullpointer|invalid argument|assertion|segmentation|\bcrash
internal    (?:not|in) (?:in )?(?:the )?(?:proper|right|valid|wrong|bad) state|incompatible with|deadlock
internal    call ?back fail|not yet completed|closing [a-z ]*handle|name: success|\beinval\b
opening     (?:fail|unable|cannot|could not)[a-z]* (?:to )?open|open failed|redirect
reading     (?:input/output|i/o|disk|read|write|medium) error|\beio\b
reading     fail(?:ed|ure) (?:to |in |while |when )?(?:read|writ)|stale (?:nfs )?file handle|checksum error|corrupt
memory      out of memory|cannot allocate|no memory|enomem
directory   mkdir|create (?:the )?(?:parent )?(?:directory|dir)|make_?parent|is a directory|not a directory
directory   directory not empty
"""

# A line is a concept, the kind of code and its values. errno stands for what the text or the record calls so.
_CODES: Final = """
time        errno 62 110 | http 408 504 522 524 | curl 28 | xrootd 3034 3035
connect     errno 101 111 112 113 | ftp 425 | curl 7
refused     errno 111 | curl 7
route       errno 101 112 113
name        curl 5 6
lost        errno 32 70 103 104 107 108 | ftp 426 | curl 16 18 52 55 56 92
permission  errno 1 13 30 | http 401 403 | xrootd 3010 3025
identity    http 401 407 | ftp 530 533 534 535 | xrootd 3022 3023 3028 3030 | curl 35 51 53 54 58 59 60 77 80 83 90 91
absent      errno 2 | http 404 410 | xrootd 3011 3029 | curl 78
space       errno 28 122 | http 507 413 | ftp 452 552 | xrootd 3009 3021
exists      errno 17 | http 412 | xrootd 3018 | curl 73
checksum    xrootd 3019
differs     xrootd 3019
unsupported errno 38 95 | http 405 501 505 | ftp 502 504 | xrootd 3013 | curl 1
size        errno 27 | curl 63
tape        http 202
busy        errno 11 16 24 26 35 | http 423 429 503 | ftp 421 450 | xrootd 3003 3024 | curl 89
cancelled   errno 4 125 | http 499 | xrootd 3017 | curl 42
address     errno 93 | http 400 414 | ftp 501 553 | xrootd 3000 3001 3002 3015 | curl 3
internal    errno 22 | http 500 502 | ftp 431 451 500 | xrootd 3005 3006 3012 3026 3031
reading     errno 5 | xrootd 3007 | curl 23 26
memory      errno 12 | xrootd 3008 | curl 27
directory   errno 20 21 39 | xrootd 3016
"""


def concepts(text: str) -> tuple[str, ...]:
    """The concepts that the text holds, sorted; the codes' where no phrase says anything. Linear time.

    >>> concepts("Result HTTP 507 after 1 attempts"), concepts("No space left on device")
    (('space',), ('space',))
    >>> concepts("[3009] Copy failed; unable to pass credentials")
    ('identity',)
    """
    text = text.encode("utf-8", "replace").decode()
    found = {concept for concept, pattern in _PATTERNS if pattern.search(text)}
    return tuple(sorted(found or _of_codes(text)))


def _of_codes(text: str) -> set[str]:
    """What the first kind of code says that says anything: `curl error (28)` is no errno."""
    for kind, codes in numbers(text):
        found = {concept for code in codes for concept in _MEANING.get((kind, code), ())}
        if found:
            return found
    return set()


def _lines(table: str) -> list[tuple[str, str]]:
    return [(line[:12].strip(), line[12:]) for line in table.strip().splitlines()]


def _meanings() -> dict[tuple[str, int], list[str]]:
    found: dict[tuple[str, int], list[str]] = {}
    for concept, rest in _lines(_CODES):
        for part in rest.split("|"):
            kind, *codes = part.split()
            for code in codes:
                found.setdefault((kind, int(code)), []).append(concept)
    return found


def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    phrases: dict[str, list[str]] = {}
    for concept, phrase in _lines(_PHRASES):
        phrases.setdefault(concept, []).append(phrase)
    return [(concept, expression("(?i)" + "|".join(each))) for concept, each in phrases.items()]


_MEANING = _meanings()
_PATTERNS = _patterns()
CONCEPTS: Final = tuple(sorted({concept for concept, _ in _PATTERNS}))
"""All concepts, sorted."""
