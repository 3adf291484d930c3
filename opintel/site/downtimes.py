"""Downtimes that others announce, as planned work of a site: GOCDB's XML and calendars (iCalendar).

`alerts/maintenance.yaml` names the files. They may come from anywhere: no entity is expanded, nothing
is fetched, and what they hold is bounded.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from opintel.alerts.settings import DowntimeFile, Maintenance, Timestamp
from opintel.finding import NS

MOST_BYTES, MOST_DOWNTIMES = 16 << 20, 20_000
"""Of a file."""
REASON = 300
"""Characters of a reason."""
_HOST = re.compile(r"(?=.{1,253}$)(?:[a-z0-9_-]{1,63}\.)+[a-z0-9-]{1,63}")
_DURATION = re.compile(r"P(?:(\d{1,4})W)?(?:(\d{1,4})D)?(?:T(?:(\d{1,5})H)?(?:(\d{1,6})M)?(?:(\d{1,7})S)?)?")


log = logging.getLogger(__name__)


class Downtime(NamedTuple):
    """Some hosts that do not work for a time [start, end) in ns UTC."""

    hosts: tuple[str, ...]
    start: int
    end: int
    reason: str


class Downtimes:
    """The planned work that files say; one that changes is read again, one that cannot be read keeps what it said."""

    def __init__(self, files: Sequence[DowntimeFile]) -> None:
        self._files = files
        self._seen: list[tuple[int, int] | None] = [None] * len(files)
        self._said: list[list[Maintenance]] = [[] for _ in files]

    def read(self) -> list[Maintenance]:
        """That of all files."""
        for n, file in enumerate(self._files):
            try:
                status = Path(file.path).stat()
                seen = (status.st_mtime_ns, status.st_size)
                if seen != self._seen[n]:
                    self._seen[n] = seen
                    self._said[n] = planned(file)
            except (OSError, ValueError) as error:
                if self._seen[n] != (0, 0) or not isinstance(error, OSError):
                    log.warning("downtimes of %s: %s", file.stream, error)
                if isinstance(error, OSError):
                    self._seen[n] = (0, 0)
        return [one for said in self._said for one in said]


def planned(file: DowntimeFile) -> list[Maintenance]:
    """What a file says: one for each host. ValueError says what is wrong with it, OSError that it cannot be read."""
    with Path(file.path).open("rb") as opened:
        body = opened.read(MOST_BYTES + 1)
    if len(body) > MOST_BYTES:
        raise ValueError(f"{file.path}: expected at most {MOST_BYTES} bytes")
    try:
        found = downtimes(body)
    except ValueError as error:
        raise ValueError(f"{file.path}: {error}") from None
    return [
        Maintenance(
            stream=file.stream,
            subject={file.label: host},
            start=Timestamp(one.start),
            end=Timestamp(one.end),
            reason=one.reason,
        )
        for one in found
        for host in one.hosts
    ]


def downtimes(body: bytes) -> list[Downtime]:
    """The downtimes of a GOCDB document (`get_downtime`: outages, not what is only at risk) or a calendar.

    >>> event = "BEGIN:VEVENT|DTSTART:20260302T080000Z|DURATION:PT2H|LOCATION:se01.example.org|SUMMARY:Disks|END:VEVENT"
    >>> [one] = downtimes(f"BEGIN:VCALENDAR|{event}|END:VCALENDAR".replace("|", chr(10)).encode())
    >>> one.hosts, (one.end - one.start) // NS, one.reason
    (('se01.example.org',), 7200, 'Disks')
    """
    start = body.lstrip(b"\xef\xbb\xbf \t\r\n")[:15].upper()
    found = list(_events(body) if start.startswith(b"BEGIN:VCALENDAR") else _outages(body))
    if len(found) > MOST_DOWNTIMES:
        raise ValueError(f"expected at most {MOST_DOWNTIMES} downtimes, got {len(found)}")
    return found


def _outages(body: bytes) -> Iterator[Downtime]:
    for fields in _xml(body):
        if fields.get("SEVERITY", "OUTAGE").upper() != "OUTAGE":
            continue
        host = fields.get("HOSTNAME", "").lower()
        if not _HOST.fullmatch(host):
            raise ValueError(f"HOSTNAME: expected a host name, got {host[:60]!r}")
        start, end = (_epoch(name, fields.get(name, "")) for name in ("START_DATE", "END_DATE"))
        if end > start:
            yield Downtime((host,), start, end, _reason(fields.get("DESCRIPTION", "")))


def _epoch(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise ValueError(f"{name}: expected seconds since 1970, got {text[:60]!r}")
    return int(text) * NS


def _xml(body: bytes) -> list[dict[str, str]]:
    """The text of the elements right below each DOWNTIME."""
    found: list[dict[str, str]] = []
    path: list[str] = []

    def begin(name: str, _: dict[str, str]) -> None:
        path.append(name)
        if name == "DOWNTIME":
            found.append({})
        if len(path) > 32 or len(found) > MOST_DOWNTIMES:
            raise ValueError(f"expected at most {MOST_DOWNTIMES} downtimes, 32 levels deep")

    def text(more: str) -> None:
        if len(path) > 1 and path[-2] == "DOWNTIME" and len(found[-1].get(path[-1], "")) < 4096:
            found[-1][path[-1]] = found[-1].get(path[-1], "") + more

    def end(_: str) -> None:
        path.pop()

    def declared(*_: object) -> None:
        raise ValueError("expected XML without entities of its own")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = begin, end, text
    parser.EntityDeclHandler = declared
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise ValueError(f"expected downtimes as GOCDB's XML or a calendar (BEGIN:VCALENDAR), got {error}") from None
    return [{name: value.strip() for name, value in fields.items()} for fields in found]


def _events(body: bytes) -> Iterator[Downtime]:
    """RFC 5545: the events of a calendar that name hosts in LOCATION, else in SUMMARY."""
    event: dict[str, tuple[str, str]] | None = None
    for line in _unfolded(body):
        name, _, value = line.partition(":")
        name, _, parameters = name.partition(";")
        name = name.upper()
        if (name, value.strip().upper()) == ("BEGIN", "VEVENT"):
            event = {}
        elif (name, value.strip().upper()) == ("END", "VEVENT"):
            if event is not None and event.get("STATUS", ("", ""))[1].strip().upper() != "CANCELLED":
                yield from _event(event)
            event = None
        elif event is not None:
            event.setdefault(name, (parameters, value.strip()))


def _event(event: dict[str, tuple[str, str]]) -> Iterator[Downtime]:
    summary = _unescaped(event.get("SUMMARY", ("", ""))[1])
    if "RRULE" in event:
        raise ValueError(f"event {summary[:60]!r}: expected an event of one date, got one that recurs (RRULE)")
    places = _unescaped(event.get("LOCATION", ("", ""))[1]) or summary
    words = [word.strip(".()[]\"'").lower() for word in re.split(r"[\s,;]+", places)]
    hosts = tuple(dict.fromkeys(word for word in words if _HOST.fullmatch(word)))
    if not hosts:
        return
    start, whole_day = _moment(event, "DTSTART")
    if "DTEND" in event:
        end, _ = _moment(event, "DTEND")
    elif "DURATION" in event:
        end = start + _length(event["DURATION"][1])
    else:
        end = start + (timedelta(days=1) if whole_day else timedelta())
    if end > start:
        yield Downtime(hosts, int(start.timestamp()) * NS, int(end.timestamp()) * NS, _reason(summary))


def _moment(event: dict[str, tuple[str, str]], name: str) -> tuple[datetime, bool]:
    """A date or time, UTC where it names no zone; whether it is a date."""
    parameters, text = event.get(name, ("", ""))
    zone = re.search(r"\bTZID=\"?([^\";:]{1,64})", parameters, re.IGNORECASE)
    try:
        if re.fullmatch(r"\d{8}", text):
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC), True
        local = datetime.strptime(text.rstrip("Zz"), "%Y%m%dT%H%M%S")
        return local.replace(tzinfo=ZoneInfo(zone[1]) if zone and text[-1:] not in "Zz" else UTC), False
    except (ValueError, ZoneInfoNotFoundError):
        raise ValueError(f"{name}: expected a time such as 20260302T080000Z, got {text[:60]!r}") from None


def _length(text: str) -> timedelta:
    found = _DURATION.fullmatch(text.upper())
    if found is None:
        raise ValueError(f"DURATION: expected a time such as PT2H, got {text[:60]!r}")
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)


def _unfolded(body: bytes) -> Iterator[str]:
    """Lines of a calendar: one that begins with a blank goes on the one before."""
    text = body.decode("utf-8-sig", "replace")
    yield from re.sub(r"\r?\n[ \t]", "", text).splitlines()


def _unescaped(text: str) -> str:
    return re.sub(r"\\([\\,;nN])", lambda found: " " if found[1] in "nN" else found[1], text)


def _reason(text: str) -> str:
    said = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:REASON]
    return said or "downtime"
