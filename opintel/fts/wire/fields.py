"""Field by field: what FTS messages of all years hold (numbers as text, ms, URLs), as plain bounded values.

The wire calls these on values straight from JSON: any type may come, none raises.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Any

MAX_ERROR = 1024
"""Characters of an error text; FTS itself cuts there."""
MIN_MS, MAX_MS = 946_684_800_000, 4_133_980_800_000
"""2000-01-01 to 2101-01-01 in ms since 1970: any other time is a mistake of unit or clock."""
MAX_HOST = 253
MAX_NAME = 64
"""Characters of a VO's, an activity's or a job's name."""
MAX_LINK = 400
"""Characters of a link to a log: FTS's own have some 200."""
_JOB = re.compile(rf"[0-9A-Za-z_.-]{{1,{MAX_NAME}}}")
_LOG = re.compile(r"https?://[0-9A-Za-z.:\[\]-]+(?:/[0-9A-Za-z_.,:+#/-]*)?")
"""Without `user@`, query and escapes: there secrets and names would stand."""
_HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")


def whole(value: Any) -> int | None:
    """An integer from an int, a float (its whole part) or their text; None for all else (bool, NaN, null, 1e300)."""
    if type(value) is int:
        return value
    if isinstance(value, str) and len(value) <= 32:
        try:
            return int(value)
        except ValueError:
            value = _float(value)
    return int(value) if isinstance(value, float) and abs(value) < 2.0**63 else None


def number(value: Any) -> float:
    """A finite float from a number or its text, else 0.0."""
    if isinstance(value, str) and len(value) <= 32:
        value = _float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else 0.0
    return float(value) if type(value) is int and abs(value) < 1 << 63 else 0.0


def count(value: Any) -> int:
    """A number that is not negative and fits in 63 bits, else 0."""
    found = whole(value)
    return found if found is not None and 0 <= found < 1 << 63 else 0


def instant(value: Any) -> int:
    """ns UTC of a time in ms; 0 where there is none in 2000 to 2100 (FTS writes 0 for "not reached")."""
    ms = value if type(value) is int else whole(value)
    return ms * 1_000_000 if ms is not None and MIN_MS <= ms < MAX_MS else 0


def label(value: Any) -> str:
    """An identifier that is text in some years and a number in others, as text; empty where there is none."""
    if isinstance(value, str):
        return value.strip()
    found = whole(value)
    return "" if found is None else str(found)


def job(value: Any) -> str:
    """A job's id (FTS: a UUID), empty where there is none."""
    name = label(value)
    return name if _JOB.fullmatch(name) else ""


def log_link(value: Any) -> str:
    """The URL of a log, empty where it is no plain http or https URL of at most `MAX_LINK` characters.

    >>> log_link("https://fts.example.org:8449/fts3/ftsmon/#/job/78fa"), log_link("/var/log/fts3/x")
    ('https://fts.example.org:8449/fts3/ftsmon/#/job/78fa', '')
    """
    return value if isinstance(value, str) and len(value) <= MAX_LINK and _LOG.fullmatch(value) else ""


def host(value: Any) -> str:
    """The host name in a host, host:port or URL: lower case, checked, at most 253 characters; empty if none.

    An IPv6 address is spelled as RFC 5952 has it, without brackets, port and zone.

    >>> host("gsiftp://SE01.example.org:2811//data"), host("[2001:DB8:0::1]:1094"), host("none|other")
    ('se01.example.org', '2001:db8::1', '')
    """
    return _host(value) if isinstance(value, str) and len(value) <= 4096 else ""


@lru_cache(maxsize=8192)
def _host(value: str) -> str:
    text = value.strip().lower()
    text = text.partition("://")[2] or text
    for mark in "/?#":
        text = text.partition(mark)[0]
    text = text.rpartition("@")[2]
    if text.startswith("["):
        address, bracket, port = text[1:].partition("]")
        return _ipv6(address) if bracket and (not port or port.startswith(":")) else ""
    if text.count(":") > 1:
        return _ipv6(text)
    text = text.partition(":")[0].rstrip(".")
    fine = len(text) <= MAX_HOST and _HOST_CHARACTERS.issuperset(text) and any(c.isalnum() for c in text)
    return text if fine else ""


def _ipv6(text: str) -> str:
    """The canonical spelling of an IPv6 address, nothing where there is none."""
    with suppress(ValueError):
        return str(IPv6Address(text.partition("%")[0]))
    return ""


def _float(text: str) -> float:
    """The number in a text, NaN where there is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def printable(text: str) -> str:
    """`text` with a blank for whatever does not print: control characters, line ends, direction marks."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def shown(value: Any) -> str:
    """A value as a reject's reason may quote it: short and printable."""
    return printable(repr(value)[:60])
