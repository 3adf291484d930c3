"""The FTS wire formats to `Transfers`: JSON messages of all kinds and years, and Arrow messages of many records.

Messages come from the transports (broker, files) and are untrusted. Nearly all are complete messages as MONIT sends
them: those are decoded here into columns, with the fields in use only. Whatever is not quite like that goes to
`message`, one by one, with the same result; Arrow messages go to `arrow`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from opintel.arrow_ipc import is_arrow
from opintel.detector import Decoded, Message, each
from opintel.finding import NS, Int64
from opintel.fts.texts.credentials import redact
from opintel.fts.texts.personal import PUBLIC_KEY, Pseudonyms
from opintel.fts.transfers import ABORTED, OK, Transfer, Transfers
from opintel.fts.wire import arrow, tables
from opintel.fts.wire.fields import MAX_MS, MIN_MS, host
from opintel.fts.wire.message import FIELDS, MAX_BYTES, Messages
from opintel.ids import natural_ids
from opintel.rows import Batch, TextColumn, coded

__all__ = ["PUBLIC_KEY", "FtsWire"]

EXCERPT = 2048
"""Bytes of an undecodable message that are kept."""
_CACHE = 1 << 16
"""Keys that are remembered: more than there are links."""
_MS = 1_000_000
"""ns in a millisecond."""


class _Data(msgspec.Struct, gc=False, kw_only=True):
    """A complete message's fields in use, with the types of today, sorted as MONIT sorts them."""

    activity: str = ""
    dst_hostname: str
    endpnt: str
    f_size: Int64
    file_id: str
    file_size: Int64
    job_id: str
    log_link: str = ""
    src_hostname: str
    t__error_message: str
    t_error_code: Int64 | str = 0
    t_failure_phase: str = ""
    t_final_transfer_state_flag: Int64
    throughput: float
    tr_error_category: str = ""
    tr_error_scope: str = ""
    tr_timestamp_complete: Int64
    tr_timestamp_start: Int64
    vo: str = ""


class _Metadata(msgspec.Struct, gc=False):
    type: Literal["complete"]
    id: Annotated[str, msgspec.Meta(min_length=1)] = msgspec.field(name="_id")


class _Complete(msgspec.Struct, gc=False):
    data: _Data
    metadata: _Metadata


_complete = msgspec.json.Decoder(_Complete)
_numbers = attrgetter(
    "t_final_transfer_state_flag", "tr_timestamp_complete", "tr_timestamp_start", "file_size", "f_size"
)
_WHOLE = 5
_throughput = attrgetter("throughput")
_places = attrgetter("endpnt", "src_hostname", "dst_hostname")
_facets = attrgetter("vo", "activity")
_error = attrgetter("t__error_message", "tr_error_scope", "t_failure_phase", "t_error_code", "tr_error_category")


class FtsWire:
    """Decodes FTS messages; `instance` is the scope of those that do not name their FTS (`endpnt`).

    `pseudonym_key` hides people's names, unless `keep_personal`. ValueError if `instance` is no host name.
    """

    def __init__(
        self,
        *,
        instance: str = "fts.example.org",
        pseudonym_key: bytes = PUBLIC_KEY,
        keep_personal: bool = False,
    ) -> None:
        if not host(instance):
            raise ValueError(f"the instance is a host name as in `endpnt`, got {instance!r}")
        self._instance = host(instance)
        self._pseudonyms = None if keep_personal else Pseudonyms(pseudonym_key)
        self._messages = Messages(self._instance, self._pseudonyms)
        self._keys = _Keys(self._instance)

    def decode(self, messages: Sequence[Message]) -> Decoded[Transfer]:
        """The rows of the messages; a start has none. What is wrong with the others is said; nothing is raised."""
        found: list[_Complete] = []
        places: list[int] = []
        others: list[int] = []
        batched: list[list[int]] = [[]]
        room = arrow.MAX_MESSAGE
        batches: list[Decoded[Transfer]] = []
        decode = _complete.decode
        for at, message in enumerate(messages):
            body = message.body
            if message.form == "json" and len(body) <= MAX_BYTES and body.isascii():
                try:
                    found.append(decode(body))
                    places.append(at)
                    continue
                except (msgspec.DecodeError, RecursionError):
                    pass  # `message` says what is wrong, if anything is
            elif message.form == "json" and is_arrow(body):
                room -= len(body)
                if room < 0:
                    batched.append([])
                    room = arrow.MAX_MESSAGE
                batched[-1].append(at)
                continue
            others.append(at)
        if found:
            complete, left = self._columns(found, np.array(places, dtype=np.int64))
            batches.append(complete)
            others += left
        for group in filter(None, batched):
            bodies = [messages[at].body for at in group]
            batches.append(_placed(arrow.decode(bodies, self._instance, self._messages), group))
        if others or not batches:
            others.sort()
            one_by_one = each(self._messages.read, [messages[at] for at in others], Transfers)
            batches.append(_placed(one_by_one, others))
        decoded = _in_order(batches)
        rejects = [reject._replace(reason=self._messages.clean(reject.reason)) for reject in decoded.rejects]
        return decoded._replace(rejects=rejects, columns=tables.columns_read(messages, FIELDS))

    def redacted(self, body: bytes) -> bytes:
        """The start of a message for the dead letters, without secrets and people's names."""
        text = redact(body[:EXCERPT].decode("utf-8", "backslashreplace").replace("\\/", "/"))
        return (text if self._pseudonyms is None else self._pseudonyms.scrub_record(text)).encode()

    def _columns(self, found: Sequence[_Complete], places: Any) -> tuple[Decoded[Transfer], list[int]]:
        """The rows of messages whose fields are valid as they stand, and the places of the others."""
        data = [one.data for one in found]
        whole = np.fromiter(chain.from_iterable(map(_numbers, data)), dtype=np.int64, count=_WHOLE * len(data))
        outcome, end, start, size, other_size = whole.reshape(-1, _WHOLE).T
        throughput = np.fromiter(map(_throughput, data), dtype=np.float64, count=len(data))
        keys = TextColumn.of(map(self._keys.__getitem__, map(_places, data)))
        good = outcome == OK
        size = np.where(size > 0, size, other_size)
        fine = np.array([key != "" for key in keys.values])[keys.code] & (outcome >= ABORTED) & (outcome <= OK)
        fine &= (end >= MIN_MS) & (end < MAX_MS) & (size >= 0)
        fine &= ~good | ((throughput > 0) & (throughput < 2.0**63))  # an integer above that is none
        index = np.flatnonzero(fine)
        if len(index) < len(data):
            chosen = index.tolist()
            found, data = [found[n] for n in chosen], [data[n] for n in chosen]
            outcome, end, start, size = (column[index] for column in (outcome, end, start, size))
            throughput, good, keys = throughput[index], good[index], keys.take(index)
        row_id = natural_ids([one.metadata.id for one in found])
        labels = [(one.job_id.strip(), one.file_id.strip()) for one in data]
        file = natural_ids([f"{job}\x1f{file}" for job, file in labels])
        nameless = [n for n, (_, file_id) in enumerate(labels) if not file_id]
        file[nameless] = row_id[nameless]
        failed = np.flatnonzero(~good)
        errors = [self._messages.error(*_error(data[n])) for n in failed.tolist()]
        logs = [self._messages.log(data[n].job_id, data[n].log_link) for n in failed.tolist()]
        pairs, pair = coded(map(_facets, data))
        vo, activity = (TextColumn.of([self._messages.name(one[side]) for one in pairs]) for side in (0, 1))
        known = (start >= MIN_MS) & (start < end)
        none = np.zeros(len(data), dtype=np.int64)
        transfers = Transfers(
            none.astype(np.int8),
            file,
            outcome.astype(np.int8),
            TextColumn.among(failed, errors, len(data)),
            size,
            np.where(good, throughput, 0.0),
            np.where(known, (end - start) * _MS / NS, 0.0),
            none,
            none,
            TextColumn(vo.values, vo.code[pair]),
            TextColumn(activity.values, activity.code[pair]),
            TextColumn.among(failed, [job for job, _ in logs], len(data)),
            TextColumn.among(failed, [link for _, link in logs], len(data)),
        )
        rows = Batch[Transfer](keys, end * _MS, row_id, transfers)
        return Decoded(rows, places[index], none, []), places[~fine].tolist()


class _Keys(dict[tuple[str, str, str], str]):
    """(endpnt, source, destination) as sent → the row's key, empty where one of the three is no host name."""

    def __init__(self, instance: str) -> None:
        self._instance = instance

    def __missing__(self, place: tuple[str, str, str]) -> str:
        endpoint, source, destination = place
        parts = (host(endpoint) if endpoint else self._instance, host(source), host(destination))
        if len(self) >= _CACHE:
            self.clear()
        key = self[place] = "|".join(parts) if all(parts) else ""
        return key


def _placed(decoded: Decoded[Transfer], places: Sequence[int]) -> Decoded[Transfer]:
    """The same, its messages being those at `places` of a longer list."""
    rejects = [reject._replace(message=places[reject.message]) for reject in decoded.rejects]
    return decoded._replace(message=np.array(places, dtype=np.int64)[decoded.message], rejects=rejects)


def _in_order(parts: Sequence[Decoded[Transfer]]) -> Decoded[Transfer]:
    """The parts as one, by message."""
    if len(parts) == 1:
        return parts[0]
    rows = Batch.joined([part.rows for part in parts])
    message = np.concatenate([part.message for part in parts])
    n = np.concatenate([part.n for part in parts])
    order = np.argsort(message, kind="stable")
    return Decoded(rows.take(order), message[order], n[order], [r for part in parts for r in part.rejects])
