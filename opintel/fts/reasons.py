"""What the reason of a state message says: FTS writes into it a failure's text, or why a file was canceled.

`message` reads state messages with it; the words are those of FTS 3 (cern-fts/fts3: `SanityChecks.cpp`,
`MySqlAPI.cpp::cancelExpiredJobsForVo`, `LegacyReporter.cpp`). All of it is untrusted text.
"""

from __future__ import annotations

import re

_HEADING = re.compile(r"(?:SOURCE|DESTINATION|TRANSFER|GENERAL[_ ]FAILURE) \[-?\d{1,9}\] +")
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


def without_heading(reason: str) -> str:
    """The text as the completion has it: the state adds scope and code. Staging and archiving have no completion, and
    keep theirs.

    >>> without_heading("TRANSFER [5] no space left"), without_heading("STAGING [110] timed out")
    ('no space left', 'STAGING [110] timed out')
    """
    found = _HEADING.match(reason)
    return reason if found is None else reason[found.end() :]
