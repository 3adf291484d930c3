"""The time at the start of a line of a log, in the usual forms: ISO 8601, syslog, ctime, seconds since 1970.

A time without a zone is UTC, one without a year (RFC 3164) of the year 2000; what does not lie in 2000 to 2100 is none.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Final

from opintel.finding import NS

FIRST, LAST = 946_684_800 * NS, 4_133_980_800 * NS
"""2000-01-01 and 2101-01-01, ns UTC."""
LOOKED_AT: Final = 64
"""Characters in which a time is looked for."""
NO_YEAR: Final = 2000
"""Of times that do not say theirs; it has a 29 February."""
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CLOCK = r"(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9})\d{0,9})?"
_ZONE = r"(?: ?(Z|UTC|GMT|[+-]\d\d:?\d\d)(?![0-9A-Za-z]))?"
_END = r"[\])]?(?=[\s:,;|]|$)"
_ISO = re.compile(rf"[\[(]?(\d{{4}})[-/](\d\d)[-/](\d\d)(?:[T_]| {{1,2}}){_CLOCK}{_ZONE}{_END}", re.ASCII)
_WORDS = re.compile(
    rf"[\[(]?(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? )?({'|'.join(_MONTHS)}) {{1,2}}(\d{{1,2}})(?: (\d{{4}}))? {_CLOCK}"
    rf"(?: (\d{{4}})(?![0-9:]))?{_ZONE}{_END}",
    re.ASCII,
)
_EPOCH = re.compile(rf"[\[(]?(\d{{10}})(?:(\d{{3}}|\d{{6}}|\d{{9}})|\.(\d{{1,9}})\d{{0,9}})?{_END}", re.ASCII)


def leading_time(text: str) -> tuple[int | None, str]:
    """(the time with which a line begins, ns UTC, or None; the line without it).

    >>> leading_time("2024-05-01T12:00:00.5+02:00 disk full")
    (1714557600500000000, 'disk full')
    >>> leading_time("[Thu May 02 07:01:02 2024] up")[1], leading_time("99 bottles"), leading_time("1714557600 up")[0]
    ('up', (None, '99 bottles'), 1714557600000000000)
    """
    start = text[:LOOKED_AT]
    for pattern, read in ((_ISO, _of_iso), (_WORDS, _of_words), (_EPOCH, _of_epoch)):
        if (found := pattern.match(start)) is not None:
            time = read(found)
            return (None, text) if time is None else (time, text[found.end() :].lstrip(" \t:,;|"))
    return None, text


def epoch(number: float) -> int | None:
    """ns UTC of a number of s, ms, µs or ns since 1970, whichever gives a time in 2000 to 2100; None where none does.

    >>> epoch(1714557600.25), epoch(1714557600250), epoch(17)
    (1714557600250000000, 1714557600250000000, None)
    """
    for unit in (NS, 10**6, 1000, 1):
        if FIRST <= number * unit < LAST:
            return int(number * unit) if isinstance(number, int) else round(number * 1e6) * unit // 10**6
    return None


def _of_iso(found: re.Match[str]) -> int | None:
    year, month, day, hour, minute, second, part, zone = found.groups()
    return _time(int(year), int(month), int(day), hour, minute, second, part, zone)


def _of_words(found: re.Match[str]) -> int | None:
    month, day, before, hour, minute, second, part, after, zone = found.groups()
    year = int(before or after or NO_YEAR)
    return _time(year, _MONTHS.index(month) + 1, int(day), hour, minute, second, part, zone)


def _of_epoch(found: re.Match[str]) -> int | None:
    whole, more, part = found.groups()
    time = int(whole) * NS + int((more or part or "0").ljust(9, "0"))
    return time if FIRST <= time < LAST else None


def _time(
    year: int, month: int, day: int, hour: str, minute: str, second: str, part: str | None, zone: str | None
) -> int | None:
    start = _second(year, month, day, hour, minute, second, zone or "Z")
    return None if start is None else start + int((part or "0").ljust(9, "0"))


@lru_cache(maxsize=4096)
def _second(year: int, month: int, day: int, hour: str, minute: str, second: str, zone: str) -> int | None:
    """ns UTC of a second of the calendar; a leap second is the one before it."""
    try:
        local = datetime(year, month, day, int(hour), int(minute), min(int(second), 59), tzinfo=_zone(zone))
    except ValueError:
        return None
    time = int(local.timestamp()) * NS
    return time if FIRST <= time < LAST else None


def _zone(zone: str) -> timezone:
    """Raises ValueError for an offset of a day or more."""
    if zone[0] not in "+-":
        return UTC
    away = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
    return timezone(-away if zone[0] == "-" else away)
