"""Why a file was canceled, by the reason in its state message: by FTS itself, or by somebody.

`message` reads state messages with it; the words are those of FTS 3 (cern-fts/fts3: `SanityChecks.cpp`,
`MySqlAPI.cpp::cancelExpiredJobsForVo`). All of it is untrusted text.
"""

from __future__ import annotations

import re

_BY_SOMEBODY = re.compile(
    r"\b(?:by|from) (?:the |its |an? )?(?:vo )?(?:users?|owner|submitter|client|operator|manager|admin\w*)\b"
    r"|\bgfal2?_cancel|\buser'?s? (?:request|cancel)|\b(?:on|upon|at) (?:\w+ ){0,2}request\b",
    re.IGNORECASE,
)
_BY_FTS = re.compile(
    r"\btoo long\b|\btime[ds]?[ -]?outs?\b|\bexpired?\b|\bexceed(?:ed|s)?\b|\bbeyond its\b|\bforced?[ -]?cancell?ed\b"
    r"|\bin[ -](?:the[ -])?queue\b|\bin time\b|\boff-?line\b|\bunreachable\b|\bstalled\b|\bstuck\b|\bnot respond",
    re.IGNORECASE,
)


def canceled_by_fts(reason: str) -> bool:
    """Whether FTS gave the file up by itself (its queue, staging or archiving took too long, the host that had it is
    gone): a failure. Somebody's own cancel is none, nor is one that says nothing.

    >>> canceled_by_fts("Job has been canceled because it stayed in the queue for too long (global timeout)")
    True
    >>> canceled_by_fts("Transfer canceled by the user"), canceled_by_fts("")
    (False, False)
    """
    return _BY_SOMEBODY.search(reason) is None and _BY_FTS.search(reason) is not None
