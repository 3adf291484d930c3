"""Lines of logs: the times at their start, their hosts, records in JSON, and what is no line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opintel.detector import Message
from opintel.finding import NS
from opintel.fts.logs.times import LAST, epoch, leading_time
from opintel.fts.logs.wire import BEGINNING, MAX_LINE, LogWire

WIRE = LogWire(pseudonym_key=b"secret")


def rows(*bodies: str | bytes, file: str = "a.log") -> list[tuple[str, int, str]]:
    """(source, time, text) of these lines of a file."""
    messages = [Message(b if isinstance(b, bytes) else b.encode(), file, n, n) for n, b in enumerate(bodies)]
    decoded = WIRE.decode(messages)
    found = decoded.rows
    return [(found.row(n).key, found.row(n).time, found.row(n).payload.text) for n in range(len(found))]


def at(*date: int, ns: int = 0) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp()) * NS + ns  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2024-05-01T12:00:03Z up", at(2024, 5, 1, 12, 0, 3)),
        ("2024-05-01 12:00:03,250 up", at(2024, 5, 1, 12, 0, 3, ns=250_000_000)),
        ("[2024/05/01 12:00:03.000000001] up", at(2024, 5, 1, 12, 0, 3, ns=1)),
        ("2024-05-01T12:00:03+02:00 up", at(2024, 5, 1, 10, 0, 3)),
        ("2024-05-01 12:00:03 -0530: up", at(2024, 5, 1, 17, 30, 3)),
        ("2016-12-31T23:59:60Z up", at(2016, 12, 31, 23, 59, 59)),
        ("Feb 29 07:01:02 up", at(2000, 2, 29, 7, 1, 2)),
        ("May  1 07:01:02 up", at(2000, 5, 1, 7, 1, 2)),
        ("[Wed May 01 07:01:02 2024] up", at(2024, 5, 1, 7, 1, 2)),
        ("Wed, May 01 07:01:02.5 2024 up", at(2024, 5, 1, 7, 1, 2, ns=500_000_000)),
        ("1714557600 up", 1_714_557_600 * NS),
        ("[1714557600.5] up", 1_714_557_600 * NS + 500_000_000),
        ("1714557600123 up", 1_714_557_600_123 * 10**6),
        ("1714557600123456789\tup", 1_714_557_600_123_456_789),
    ],
)
def test_a_time_at_the_start_is_taken_off(text: str, time: int) -> None:
    assert leading_time(text) == (time, "up")


@pytest.mark.parametrize(
    "text",
    [
        "up since 2024-05-01T12:00:03Z",
        "2024-13-01T12:00:03Z up",
        "1999-05-01T12:00:03Z up",
        "2024-05-01T12:00:03+99:00 up",
        "2024-05-01 up",
        "Feb 30 07:01:02 up",
        "Mayor 12 07:01:02 up",
        "1714557600x up",
        "17145576001 up",
        "0000000001 up",
        " 2024-05-01T12:00:03Z up",
        "",
    ],
)
def test_other_starts_are_no_time(text: str) -> None:
    assert leading_time(text) == (None, text)


def test_a_number_is_of_the_unit_that_gives_a_time() -> None:
    assert {epoch(1_714_557_600 * unit) for unit in (1, 10**3, 10**6, 10**9)} == {1_714_557_600 * NS}
    assert epoch(1_714_557_600.000001) == 1_714_557_600 * NS + 1000
    assert [epoch(number) for number in (-1, 0, 3, float("nan"), float("inf"), 10**30)] == [None] * 6
    assert epoch(LAST) is None


def test_a_line_without_a_time_is_dated_by_its_row() -> None:
    assert rows("one", "", "\tat frame", "  more", "two") == [
        ("a.log", BEGINNING, "one"),
        ("a.log", BEGINNING + 4 * NS, "two"),
    ]


def test_a_header_of_syslog_names_the_host() -> None:
    assert rows("May  1 07:01:02 web1 sshd[17]: refused", "<34>May  1 07:01:02 web2 cron: x") == [
        ("web1", at(2000, 5, 1, 7, 1, 2), "sshd[17]: refused"),
        ("web2", at(2000, 5, 1, 7, 1, 2), "cron: x"),
    ]
    assert rows(
        "<165>1 2024-05-01T12:00:03Z db.example.org app 17 ID47 - full", "2024-05-01T12:00:03Z disk is: full"
    ) == [
        ("db.example.org", at(2024, 5, 1, 12, 0, 3), "app: full"),
        ("disk", at(2024, 5, 1, 12, 0, 3), "is: full"),
    ]
    assert rows("2024-05-01T12:00:03Z ERROR the disk is full") == [
        ("a.log", at(2024, 5, 1, 12, 0, 3), "ERROR the disk is full")
    ]


@pytest.mark.parametrize(
    ("record", "row"),
    [
        ({"message": "up", "timestamp": 1_714_557_600}, ("a.log", 1_714_557_600 * NS, "up")),
        ({"msg": "up", "ts": 1_714_557_600.5, "host": "h"}, ("h", 1_714_557_600 * NS + NS // 2, "up")),
        ({"log": "up\n", "time": "2024-05-01T12:00:03Z"}, ("a.log", at(2024, 5, 1, 12, 0, 3), "up")),
        ({"message": "2024-05-01 12:00:03 up", "host": {"name": "h"}}, ("h", at(2024, 5, 1, 12, 0, 3), "up")),
        (
            {"MESSAGE": "up", "__REALTIME_TIMESTAMP": "1714557600123456", "_HOSTNAME": "h"},
            ("h", 1_714_557_600_123_456_000, "up"),
        ),
        ({"message": "up", "time": "yesterday", "host": 5}, ("a.log", BEGINNING, "up")),
    ],
)
def test_records_in_json(record: dict[str, Any], row: tuple[str, int, str]) -> None:
    assert rows(json.dumps(record)) == [row]


def test_only_a_record_without_a_text_is_refused() -> None:
    messages = [
        Message(body, "a", n, n) for n, body in enumerate([b'{"level": "info"}', b'{"message": 5}', b"{not json"])
    ]
    decoded = WIRE.decode(messages)
    [reject] = decoded.rejects if len(decoded.rejects) == 1 else [decoded.rejects[0]]
    assert {place.message for place in decoded.rejects} == {0, 1}
    assert reject.reason.startswith("expected a text in one of message, msg, ")
    assert decoded.rows.payload.text.values == ["{not json"]


def test_a_topic_is_one_source_whatever_its_offsets() -> None:
    assert rows("up", file="logs[0] offset 17")[0][0] == "logs[0]"


def test_people_and_secrets_are_hidden() -> None:
    (_, _, text), *_ = rows("open /home/jdoe/x?token=abcdef for jdoe@example.org")
    assert "jdoe" not in text
    assert "abcdef" not in text
    assert b"jdoe" not in WIRE.redacted(b'{"user": "jdoe"}')


@given(
    st.binary(max_size=300)
    | st.text(max_size=300).map(str.encode)
    | st.text("<0123456789>: -T[]Z", max_size=80).map(str.encode)
)
def test_any_bytes_are_a_line_or_none(body: bytes) -> None:
    decoded = WIRE.decode([Message(body, "a", 0, 0)])
    assert len(decoded.rows) + len(decoded.rejects) <= 1
    for text in decoded.rows.payload.text.values:
        assert len(text) <= MAX_LINE
        assert text.isprintable()
