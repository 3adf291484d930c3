"""Numbers, times and untrusted texts in the words of the console's pages; pure functions, used as template filters.

`visible` makes every character of a text seen for what it is, so that what is shown cannot deceive; escaping for
HTML is the template engine's work and comes after it.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Any

from opintel.finding import NS, parse_rfc3339
from opintel.quantity import number, quantity

BASIS = {
    "exact": "computed exactly",
    "ranked": "ranked against its own history",
    "extrapolated": "extrapolated from its own history",
    "none": "no probability: an alarm by its budget",
}
EVENTS = {
    "opened": "Opened",
    "alert": "Alert joined",
    "acknowledge": "Acknowledged",
    "mitigate": "Mitigated",
    "clear": "All its alerts are quiet",
    "stay": "Quiet, but nothing says that it is back",
    "title": "Its title changed",
    "recur": "Came back",
    "expire": "Closed, the reopen window has passed",
    "close": "Closed",
    "merge": "Closed, another incident took it over",
    "merged": "Became part of another incident",
    "took-over": "Took over another incident",
    "about": "Its subject widened",
    "sites": "Whose the hosts are",
    "confirmed": "Confirmed as a true alarm",
    "false-alarm": "Marked as a false alarm",
    "known-until": "Known until a time",
    "severity": "Severity changed",
    "ticket-sent": "Ticket sent",
    "ticket-retried": "Ticket sent again",
}
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def visible(text: str) -> str:
    """The text with control, format and invisible characters made visible; line breaks and tabs stay.

    >>> visible("a\\x1b[31m\\u202eb")
    'a[U+001B][31m[U+202E]b'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else _named(c) for c in text)


def odds(log10_p: float) -> str:
    """A probability as odds, rounded to the side of less surprise.

    >>> odds(-0.5), odds(-4.3), odds(-9.36)
    ('1 in 3', '1 in 19,000', '1 in 10⁹')
    """
    n = -log10_p
    if n < 3:
        return f"1 in {max(1, int(10**n)):,}"
    if n < 6:
        return f"1 in {int(10 ** (n - 3)):,},000"
    return f"1 in 10{str(int(n)).translate(_SUPERSCRIPT)}"


def cell(value: Any, column: str) -> str:
    """A cell of an evidence table; a column named `bytes` in decimal units."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return quantity(value, "B") if column == "bytes" and abs(value) >= 1000 else number(value)


def duration(ns: int) -> str:
    """Two units at most.

    >>> duration(40 * 10**9), duration(2220 * 10**9), duration(93600 * 10**9)
    ('40 s', '37 min', '1 d 2 h')
    """
    seconds = max(0, ns) // NS
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    hours, minutes = divmod(seconds // 60, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def moment(text: str, form: str = "%-d %b %Y, %H:%M") -> str:
    """An RFC 3339 time for people, UTC."""
    return datetime.fromtimestamp(parse_rfc3339(text) // NS, UTC).strftime(form)


def happened(kind: str) -> str:
    """An event of an incident's history in words."""
    return EVENTS.get(kind, kind.replace("-", " ").capitalize())


def _named(character: str) -> str:
    # not the control pictures of Unicode: many fonts have none
    return " " if unicodedata.category(character) == "Zs" else f"[U+{ord(character):04X}]"
