"""Lines of logs to rows: plain text, with or without a time at its start, syslog, and records in JSON.

Whatever comes is taken, but for a JSON object without a text. A row's key is its source: the host that the line names,
else the file or topic from which it came. Names of people and secrets are replaced as in FTS's texts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np

from opintel.detector import Decoded, Message
from opintel.finding import NS
from opintel.fts.logs.times import epoch, leading_time
from opintel.fts.texts.credentials import redact
from opintel.fts.texts.personal import PUBLIC_KEY, Pseudonyms
from opintel.ids import natural_id
from opintel.rejects import Rejects
from opintel.rows import Batch, Columns, TextColumn

MAX_LINE: Final = 1024
"""Characters of a line that are kept; the form has fewer."""
MAX_SOURCE: Final = 200
"""Characters of the name of a source."""
BEGINNING: Final = 946_684_800 * NS
"""2000-01-01: row k of a source without times is dated k seconds later."""
EXCERPT: Final = 2048
"""Bytes of an undecodable message that are kept."""
_TEXTS: Final = ("message", "msg", "log", "MESSAGE", "text", "body", "content")
_TIMES: Final = ("timestamp_", "timestamp", "time", "ts", "realtime")
_HOSTS: Final = ("host", "hostname", "journal_host")
_REMEMBERED: Final = 4096
"""Lines whose cleaned form is remembered: many come again."""
_PRIORITY = re.compile(r"<\d{1,3}>(1 )?", re.ASCII)
_OLD_HEADER = re.compile(
    r"([A-Za-z0-9][\w.:-]{0,199}) (?=[^\s:\[\]]{1,64}(?:\([^\s()]{1,64}\))?(?:\[\d{1,10}\])?:(?:\s|$))"
)
"""RFC 3164: the host, before the tag and its colon."""
_NEW_HEADER = re.compile(r"(\S{1,255}) (\S{1,48}) \S{1,128} \S{1,32} (?:- ?)?")
"""RFC 5424: host, application, process, kind of message, and no structured data."""


class LogLine(msgspec.Struct, array_like=True, gc=False):
    """A line of a log, without its time and host, with personal data replaced."""

    text: str


class LogLines(Columns):
    """`LogLine`s as columns."""

    ROW = LogLine
    text: TextColumn


class _Record(msgspec.Struct, gc=False):
    """The fields of records in JSON that are read: those of log shippers, of containers and of journald."""

    message: Any = None
    msg: Any = None
    log: Any = None
    MESSAGE: Any = None
    text: Any = None
    body: Any = None
    content: Any = None
    timestamp_: Any = msgspec.field(name="@timestamp", default=None)
    timestamp: Any = None
    time: Any = None
    ts: Any = None
    realtime: Any = msgspec.field(name="__REALTIME_TIMESTAMP", default=None)
    host: Any = None
    hostname: Any = None
    journal_host: Any = msgspec.field(name="_HOSTNAME", default=None)


_record = msgspec.json.Decoder(_Record)
_NO_TEXT: Final = f"expected a text in one of {', '.join(_TEXTS)}, got a JSON object without one"
_Line = tuple[str, int | None, str]
"""host or '', time ns or None, text"""


class LogWire:
    """Decodes lines of any log. `pseudonym_key` hides people's names, unless `keep_personal`."""

    def __init__(self, *, pseudonym_key: bytes = PUBLIC_KEY, keep_personal: bool = False) -> None:
        self._pseudonyms = None if keep_personal else Pseudonyms(pseudonym_key)
        self._cleaned: dict[str, str] = {}

    def decode(self, messages: Sequence[Message]) -> Decoded[LogLine]:
        """A row a line. Blank lines, and lines that begin with a blank and have no time, are none: they go on with the
        line before."""
        keys: list[str] = []
        times: list[int] = []
        ids: list[int] = []
        texts: list[str] = []
        places: list[int] = []
        rejects = Rejects()
        for at, message in enumerate(messages):
            try:
                host, time, text = _read(message.body)
            except ValueError as error:
                rejects.add(at, 0, self._clean(str(error)))
                continue
            if not text.strip() or (time is None and text[0].isspace()):
                continue
            keys.append(host or _name(message.file.partition(" offset ")[0]))
            times.append(BEGINNING + message.index * NS if time is None else time)
            ids.append(natural_id(message.file, message.row, message.index))
            texts.append(self._clean(text.strip()[:MAX_LINE])[:MAX_LINE])
            places.append(at)
        rows = Batch[LogLine](
            TextColumn.of(keys),
            np.array(times, dtype=np.int64),
            np.array(ids, dtype=np.int64),
            LogLines(TextColumn.of(texts)),
        )
        return Decoded(rows, np.array(places, dtype=np.int64), np.zeros(len(places), dtype=np.int64), rejects.found())

    def redacted(self, body: bytes) -> bytes:
        """The start of a message for the dead letters, without secrets and people's names."""
        text = redact(body[:EXCERPT].decode("utf-8", "backslashreplace"))
        return (text if self._pseudonyms is None else self._pseudonyms.scrub_record(text)).encode()

    def _clean(self, text: str) -> str:
        kept = self._cleaned.get(text)
        if kept is None:
            kept = redact("".join(c if c.isprintable() else " " for c in text))
            kept = kept if self._pseudonyms is None else self._pseudonyms.scrub(kept)
            if len(self._cleaned) >= _REMEMBERED:
                self._cleaned.clear()
            self._cleaned[text] = kept
        return kept


def _read(body: bytes) -> _Line:
    """Raises ValueError for a JSON object without a text."""
    if body[:1] == b"{":
        try:
            return _of_record(_record.decode(body))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # a line of text that begins with a brace
    return _of_text(body[: 8 * MAX_LINE].decode("utf-8", "replace").rstrip("\x00\r\n"))


def _of_record(record: _Record) -> _Line:
    said = next((text for name in _TEXTS if isinstance(text := getattr(record, name), str) and text.strip()), None)
    if said is None:
        raise ValueError(_NO_TEXT)
    host, time, text = _of_text(said[: 8 * MAX_LINE].strip())
    times = (_instant(getattr(record, name)) for name in _TIMES)
    hosts = (_host(getattr(record, name)) for name in _HOSTS)
    return next(filter(None, hosts), host), next(filter(None, times), time), text


def _of_text(text: str) -> _Line:
    marked = _PRIORITY.match(text)
    if marked is not None:
        text = text[marked.end() :]
    time, rest = leading_time(text)
    if time is not None and marked is not None and marked.group(1):
        header = _NEW_HEADER.match(rest)
        if header is not None:
            return _name(header.group(1)), time, f"{header.group(2)}: {rest[header.end() :]}"
    elif time is not None:
        header = _OLD_HEADER.match(rest)
        if header is not None:
            return _name(header.group(1)), time, rest[header.end() :]
    return "", time, rest


def _instant(value: Any) -> int | None:
    """The time in a record's field: a text as at the start of a line, or a number since 1970."""
    if isinstance(value, str):
        return epoch(int(value)) if value.isascii() and value.isdigit() and len(value) < 20 else leading_time(value)[0]
    return epoch(value) if type(value) in (int, float) else None


def _host(value: Any) -> str:
    """A host's name, or the `name` of an object, as log shippers write it."""
    if isinstance(value, dict):
        value = value.get("name")
    return _name(value) if isinstance(value, str) else ""


def _name(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:MAX_SOURCE])
