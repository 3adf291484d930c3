"""FTS messages one by one: complete, state and optimiser messages of all years, bare or in MONIT's envelope.

`opintel.fts.wire` brings here what its quick ways do not take; content is untrusted. One typed JSON decoder reads the
fields in use, as whatever type the year wrote; `fields` makes them plain, `personal` takes people out of the errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from opintel.detector import Message
from opintel.finding import NS
from opintel.fts.texts.causes import of_state, reported
from opintel.fts.texts.credentials import redact
from opintel.fts.texts.personal import Pseudonyms
from opintel.fts.transfers import ABORTED, FAILED, OK, Transfer
from opintel.fts.wire import tables
from opintel.fts.wire.fields import (
    MAX_ERROR,
    MAX_NAME,
    count,
    host,
    instant,
    job,
    label,
    log_link,
    number,
    printable,
    shown,
    whole,
)
from opintel.fts.wire.reasons import canceled_by_fts
from opintel.ids import natural_id
from opintel.rows import Row

MAX_BYTES = 1 << 20
MAX_LIST_BYTES = 64 << 20
MAX_LIST = 10_000
SHORTEST = 16
"""Bytes: no message of any kind is shorter, and to look into ten thousand `{}` would cost more than to take rows."""
BARE_EPOCH = 946_684_800 * NS
"""2000-01-01: a bare message has no time, the k-th of a source is dated k seconds later."""
BARE_SCOPE = "messages"
_ERRORS = 4096
"""Errors that are remembered as they may be kept: nine of ten come again."""
_LABEL = 64
"""Characters of scope, phase and category that are looked at."""

_PADDING = b" \t\r\n\x00\x04"
"""FTS ends a message with EOT (0x04), since 2020 with a blank."""
_PREFIXES = {b"CO": "complete", b"SS": "state", b"OP": "queue", b"ST": "start"}
_TYPES = {
    "complete": "complete",
    "state": "state",
    "start": "start",
    "queue_state": "queue",
    "optimizer": "queue",
    "optimiser": "queue",
}
_STATES = {"ok": OK, "error": FAILED, "abort": ABORTED}
_FILE_STATES = {"FINISHED": OK, "FAILED": FAILED, "CANCELED": ABORTED, "CANCELLED": ABORTED}


class _Data(msgspec.Struct, gc=False):
    """The fields in use, of all message types, sorted as MONIT sorts them: that order decodes fastest."""

    active_count: Any = None
    activity: Any = None
    dest_se: Any = None
    dst_hostname: Any = None
    dst_se: Any = None
    dst_url: Any = None
    endpnt: Any = None
    f_size: Any = None
    file_id: Any = None
    file_metadata: msgspec.Raw = msgspec.Raw()
    file_size: Any = None
    file_state: Any = None
    job_id: Any = None
    log_link: Any = None
    reason: Any = None
    retry: Any = None
    source_se: Any = None
    src_hostname: Any = None
    src_se: Any = None
    src_url: Any = None
    submitted_count: Any = None
    t__error_message: Any = None
    t_error_code: Any = None
    t_failure_phase: Any = None
    t_final_transfer_state: Any = None
    t_final_transfer_state_flag: Any = None
    throughput: Any = None
    timestamp: Any = None
    timestamp_tr_comp: Any = None
    timestamp_tr_st: Any = None
    tr_error_category: Any = None
    tr_error_scope: Any = None
    tr_id: Any = None
    tr_timestamp_complete: Any = None
    tr_timestamp_start: Any = None
    transfer_id: Any = None
    transfer_time: Any = None
    vo: Any = None
    vo_name: Any = None


class _FileMetadata(msgspec.Struct, gc=False):
    activity: Any = None


class _Metadata(msgspec.Struct, gc=False):
    id: Any = msgspec.field(name="_id", default=None)
    topic: Any = None
    type: Any = None


class _Envelope(msgspec.Struct, gc=False):
    data: _Data | None = None
    metadata: _Metadata | None = None
    exported: msgspec.Raw = msgspec.field(name="_source", default_factory=msgspec.Raw)
    """The message, in a line of an export from OpenSearch."""
    event_type: Any = None
    payload: Any = None


_BARE = _Metadata()
_envelope = msgspec.json.Decoder(_Envelope)
_bare = msgspec.json.Decoder(_Data)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_file_metadata = msgspec.json.Decoder(_FileMetadata)


FIELDS = frozenset(field.encode_name for kind in (_Data, _Metadata) for field in msgspec.structs.fields(kind))
"""The fields in use."""
_TOO_SHORT = f"no FTS message has fewer than {SHORTEST} bytes"


class _Bad(Exception):
    """Why a record cannot become a row."""


class Messages:
    """Reads messages; `instance` is the scope of those that do not name their FTS.

    `pseudonyms` hide people's names; None leaves them.
    """

    def __init__(self, instance: str, pseudonyms: Pseudonyms | None) -> None:
        self._instance, self._pseudonyms = instance, pseudonyms
        self._errors: dict[tuple[str, ...], str] = {}
        self._names: dict[str, str] = {}

    def read(self, message: Message) -> Sequence[Row[Transfer] | str]:
        """The rows of a message or a list of messages; none where there is no outcome yet (a start).

        A text for each bad record says what is wrong; nothing is raised, whatever the content.
        """
        body = message.body
        if message.form == "text":
            return (self._bare_text(message),)
        if message.form == "table":
            try:
                body = tables.record(message)
            except ValueError as error:
                return (str(error),)
        if len(body) > (MAX_LIST_BYTES if body[:1] == b"[" else MAX_BYTES):
            return (f"{len(body)} bytes; a message has at most {MAX_BYTES}, a list {MAX_LIST_BYTES}",)
        kind = ""
        if body[:1] != b"{" or body[-1:] != b"}":
            body = body.strip(_PADDING)
            kind = _PREFIXES.get(body[:2], "")
            if kind:
                body = body[2:].strip(_PADDING)
        try:
            if not body.isascii():
                body.decode("utf-8")
            if body[:1] == b"[":
                return self._message_list(body, kind)
            row = self._record(body, kind)
        except _Bad as bad:
            return (str(bad),)
        except UnicodeDecodeError as error:
            return (f"not UTF-8 at byte {error.start}",)
        except RecursionError:
            return ("nested too deeply; an FTS message is an object of plain fields",)
        except msgspec.DecodeError as error:
            return (f"not an FTS message in JSON: {error}",)
        return () if row is None else (row,)

    def _message_list(self, body: bytes, kind: str) -> list[Row[Transfer] | str]:
        elements = _list.decode(body)
        if not 0 < len(elements) <= MAX_LIST:
            raise _Bad(f"expected a list of 1 to {MAX_LIST} messages, got {len(elements)}")
        out: list[Row[Transfer] | str] = []
        for element in elements:
            try:
                row = self._record(bytes(element), kind)
            except _Bad as bad:
                out.append(str(bad))
            except RecursionError:
                out.append("nested too deeply; an FTS message is an object of plain fields")
            except msgspec.DecodeError as error:
                out.append(f"not an FTS message in JSON: {error}")
            else:
                if row is not None:
                    out.append(row)
        return out

    def _record(self, body: bytes, kind: str) -> Row[Transfer] | None:
        if len(body) < SHORTEST and body[:1] == b"{":
            raise _Bad(_TOO_SHORT)
        envelope = _envelope.decode(body)
        if envelope.exported:
            body = bytes(envelope.exported)
            envelope = _envelope.decode(body)
        if envelope.data is None and isinstance(envelope.event_type, str) and envelope.payload is not None:
            raise _Bad("expected an FTS message, got an event (event_type, payload) as Rucio sends them")
        meta = envelope.metadata or _BARE
        data = envelope.data or _bare.decode(body)
        kind = _kind(meta, kind, data)
        if kind == "complete":
            return self._complete(data, meta)
        if kind == "state":
            return self._state(data, meta)
        return self._queue(data, meta) if kind == "queue" else None

    def _complete(self, data: _Data, meta: _Metadata) -> Row[Transfer]:
        source, destination = _link(data)
        scope = self._scope(data)
        time = _time("tr_timestamp_complete", data.tr_timestamp_complete)
        outcome = _outcome(data)
        row_id = _message_id(meta)
        if row_id is None:
            tr_id, retry = label(data.tr_id), count(data.retry)
            row_id = (
                natural_id(tr_id, retry)
                if tr_id
                else natural_id(label(data.job_id), label(data.file_id), retry, time, outcome, source, destination)
            )
        size = count(data.file_size) or count(data.f_size)
        start = instant(data.tr_timestamp_start)
        transfer = Transfer(
            "complete",
            scope,
            source,
            destination,
            _file(data, row_id),
            outcome,
            ""
            if outcome == OK
            else self.error(
                data.t__error_message,
                data.tr_error_scope,
                data.t_failure_phase,
                data.t_error_code,
                data.tr_error_category,
            ),
            size,
            _throughput(data, size) if outcome == OK else 0.0,
            (time - start) / NS if 0 < start < time else 0.0,
            0,
            0,
            self.name(data.vo),
            self.name(_activity(data)),
            *(("", "") if outcome == OK else self.log(data.job_id, data.log_link)),
        )
        return Row(f"{scope}|{source}|{destination}", time, row_id, transfer)

    def _state(self, data: _Data, meta: _Metadata) -> Row[Transfer] | None:
        if not isinstance(data.file_state, str) or not data.file_state:
            raise _Bad(f"file_state: expected FINISHED, FAILED, CANCELED, …, got {shown(data.file_state)}")
        outcome = _FILE_STATES.get(data.file_state.upper())
        if outcome is None:
            return None
        source, destination = _link(data)
        scope = self._scope(data)
        time = _time("timestamp", data.timestamp)
        row_id = _message_id(meta)
        if row_id is None:
            row_id = natural_id(label(data.job_id), label(data.file_id), data.file_state, time)
        reason = data.reason if isinstance(data.reason, str) else ""
        if outcome == ABORTED and canceled_by_fts(reason[:MAX_ERROR]):
            outcome = FAILED
        transfer = Transfer(
            "state",
            scope,
            source,
            destination,
            _file(data, row_id),
            outcome,
            "" if outcome == OK else self.error(of_state(reason)),
            0,
            0.0,
            0.0,
            0,
            0,
            self.name(data.vo or data.vo_name),
            self.name(_activity(data)),
            *(("", "") if outcome == OK else self.log(data.job_id, data.log_link)),
        )
        return Row(f"{scope}|{source}|{destination}", time, row_id, transfer)

    def _queue(self, data: _Data, meta: _Metadata) -> Row[Transfer]:
        source, destination = _link(data)
        scope = self._scope(data)
        time = _time("timestamp", data.timestamp)
        key = f"{scope}|{source}|{destination}"
        row_id = _message_id(meta)
        transfer = Transfer(
            "queue",
            scope,
            source,
            destination,
            file=0,
            outcome=OK,
            submitted=count(data.submitted_count),
            active=count(data.active_count),
        )
        return Row(key, time, natural_id(key, time) if row_id is None else row_id, transfer)

    def _scope(self, data: _Data) -> str:
        """The FTS that sent it: brokers' messages of all kinds name it since 2017."""
        scope = self._instance if data.endpnt is None or data.endpnt == "" else host(data.endpnt)
        if not scope:
            raise _Bad(f"endpnt: expected the host name of the FTS instance, got {shown(data.endpnt)}")
        return scope

    def _bare_text(self, message: Message) -> Row[Transfer]:
        text = message.body[: 4 * MAX_ERROR].decode("utf-8", "replace")
        row_id = natural_id(message.file, message.row)
        transfer = Transfer("message", BARE_SCOPE, "", "", row_id, FAILED, self.error(text))
        return Row(f"{BARE_SCOPE}||", BARE_EPOCH + message.index * NS, row_id, transfer)

    def error(self, text: Any, scope: Any = None, phase: Any = None, code: Any = None, category: Any = None) -> str:
        """An error as it may be kept (`causes.reported`): one line, cut, without secrets and names; of any values."""
        if not isinstance(text, str):
            text = ""
        said = (text[:MAX_ERROR], *[label(value)[:_LABEL] for value in (scope, phase, code, category)])
        kept = self._errors.get(said)
        if kept is None:
            if len(self._errors) >= _ERRORS:
                self._errors.clear()
            kept = self._errors[said] = self.clean(reported(*said)[:MAX_ERROR])[:MAX_ERROR]
        return kept

    def name(self, value: Any) -> str:
        """A VO's or an activity's name as it may be kept: short, on one line, without secrets and people's names."""
        return self._kept(label(value)[:MAX_NAME])

    def log(self, job_id: Any, link: Any) -> tuple[str, str]:
        """A job's id and the link to its log; empty where it holds what may not be kept, or is none."""
        of, link = job(job_id), log_link(link)
        same = link.replace(of, "") if of else link  # the same for all jobs, where FTS's monitor is meant
        return of, link if self._kept(same) == same else ""

    def _kept(self, text: str) -> str:
        kept = self._names.get(text)
        if kept is None:
            if len(self._names) >= _ERRORS:
                self._names.clear()
            kept = self._names[text] = self.clean(text)
        return kept

    def clean(self, text: str) -> str:
        """A text (bounded by the caller) on one line, without secrets and people's names."""
        text = redact(printable(text))
        return text if self._pseudonyms is None else self._pseudonyms.scrub(text)


def _kind(meta: _Metadata, prefix: str, data: _Data) -> str:
    """The message's type as the envelope, the prefix or, failing these, its fields say."""
    if isinstance(meta.type, str) and meta.type in _TYPES:
        return _TYPES[meta.type]
    if isinstance(meta.topic, str):
        for name, kind in _TYPES.items():
            if meta.topic.endswith(name):
                return kind
    if prefix:
        return prefix
    if data.file_state is not None:
        return "state"
    if data.submitted_count is not None or data.active_count is not None:
        return "queue"
    started = data.transfer_id is not None and data.tr_timestamp_complete is None
    return "start" if started else "complete"


def _link(data: _Data) -> tuple[str, str]:
    source = host(data.src_hostname) or host(data.src_se) or host(data.source_se) or host(data.src_url)
    destination = host(data.dst_hostname) or host(data.dst_se) or host(data.dest_se) or host(data.dst_url)
    if not source:
        raise _Bad("no source host: none of src_hostname, src_se, source_se, src_url holds a host name or URL")
    if not destination:
        raise _Bad("no destination host: none of dst_hostname, dst_se, dest_se, dst_url holds a host name or URL")
    return source, destination


def _time(name: str, value: Any) -> int:
    time = instant(value)
    if not time:
        raise _Bad(f"{name}: expected ms since 1970 in the years 2000 to 2100, got {shown(value)}")
    return time


def _outcome(data: _Data) -> int:
    flag = data.t_final_transfer_state_flag
    value = flag if type(flag) is int else whole(flag)
    if value in (OK, FAILED, ABORTED):
        return value
    state = data.t_final_transfer_state
    outcome = _STATES.get(state.strip().lower()) if isinstance(state, str) else None
    if outcome is None:
        raise _Bad(
            "t_final_transfer_state_flag, t_final_transfer_state: expected 1, 0, -1 or Ok, Error, Abort, "
            f"got {shown(flag)} and {shown(state)}"
        )
    return outcome


def _message_id(meta: _Metadata) -> int | None:
    """The id that MONIT gave the message: a copy of the message has the same."""
    given = meta.id
    return natural_id(given) if given and type(given) in (str, int) else None


def _file(data: _Data, row_id: int) -> int:
    """Job and file id hashed; without a file id the row's own, so that strangers do not pass for retries."""
    file_id = label(data.file_id)
    return natural_id(label(data.job_id), file_id) if file_id else row_id


def _activity(data: _Data) -> Any:
    """As a completion says it, else as Rucio wrote it into the file's metadata; any value."""
    if data.activity or not data.file_metadata:
        return data.activity
    try:
        return _file_metadata.decode(data.file_metadata).activity
    except (msgspec.DecodeError, RecursionError):
        return None  # any text or value may stand there


def _throughput(data: _Data, size: int) -> float:
    """bytes/s as sent, else from the size and the time in which the bytes flowed (ms), else 0."""
    sent = number(data.throughput)
    if sent > 0:
        return sent
    begin, end = instant(data.timestamp_tr_st), instant(data.timestamp_tr_comp)
    spent = (end - begin) / NS if 0 < begin < end else number(data.transfer_time) / 1000
    return size / spent if spent > 0 else 0.0
