"""Messages of FTS for the tests of its wire, and what the wire makes of them."""

from __future__ import annotations

import json
from typing import Any

from opintel.detector import Message
from opintel.fts.transfers import Transfer
from opintel.fts.wire import FtsWire
from opintel.rows import Row

COMPLETE: dict[str, Any] = {
    "endpnt": "FTS.example.org",
    "src_hostname": "SE01.a.example",
    "dst_hostname": "se02.b.example",
    "tr_id": "2026-03-02-0600__se01.a.example__se02.b.example__7__job-1",
    "job_id": "job-1",
    "file_id": "7",
    "retry": 1,
    "file_size": 4_000_000,
    "t_final_transfer_state": "Ok",
    "t_final_transfer_state_flag": 1,
    "t__error_message": "",
    "throughput": 2e6,
    "timestamp_tr_st": 1772431201000,
    "timestamp_tr_comp": 1772431203000,
    "tr_timestamp_start": 1772431200000,
    "tr_timestamp_complete": 1772431204000,
}

STATE: dict[str, Any] = {
    "source_se": "davs://se01.a.example",
    "dest_se": "davs://se02.b.example:443",
    "job_id": "job-1",
    "file_id": 7,
    "file_state": "FAILED",
    "reason": "too long in the queue",
    "timestamp": 1772431204000,
    "user_filesize": 5.0,
}

QUEUE: dict[str, Any] = {
    "source_se": "davs://se01.a.example",
    "dest_se": "davs://se02.b.example",
    "submitted_count": "40",
    "active_count": 12,
    "timestamp": 1772431204000,
}


def taken(wire: FtsWire, *messages: Message) -> list[Row[Transfer] | str]:
    """Rows and the reasons of rejects, in order."""
    found = wire.decode(messages)
    places = zip(found.message.tolist(), found.n.tolist(), found.rows.rows(), strict=True)
    by_place: dict[tuple[int, int], Row[Transfer] | str] = {(at, n): row for at, n, row in places}
    by_place |= {(reject.message, n): reject.reason for reject in found.rejects for n in reject.records}
    assert len(by_place) == len(found.rows) + sum(len(reject.records) for reject in found.rejects)
    return [by_place[place] for place in sorted(by_place)]


def decode(content: Any, wire: FtsWire | None = None, **place: Any) -> list[Row[Transfer] | str]:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return taken(wire or FtsWire(), Message(body, **place))


def row(content: Any, wire: FtsWire | None = None, **place: Any) -> Row[Transfer]:
    (found,) = decode(content, wire, **place)
    assert isinstance(found, Row), found
    return found


def reason(content: Any) -> str:
    (found,) = decode(content)
    assert isinstance(found, str), found
    return found
