"""The FTS wire and hostile content: any bytes and records give a row or a reason, the quick way says what the careful
one says, and what is refused keeps neither name nor secret."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_messages import COMPLETE, QUEUE, STATE, decode, reason, row, taken

from opintel.detector import Message
from opintel.finding import parse_rfc3339
from opintel.fts.texts.personal import PUBLIC_KEY, Pseudonyms
from opintel.fts.transfers import OK
from opintel.fts.wire import FtsWire
from opintel.fts.wire.fields import host, number, whole
from opintel.fts.wire.message import MAX_BYTES, Messages

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)

broken_records = st.builds(
    lambda base, changes, dropped: {k: v for k, v in {**base, **changes}.items() if k not in dropped},
    st.sampled_from([COMPLETE, STATE, QUEUE, {}]),
    st.dictionaries(st.sampled_from(sorted({*COMPLETE, *STATE, *QUEUE})), json_values, max_size=4),
    st.sets(st.sampled_from(sorted({*COMPLETE, *STATE, *QUEUE})), max_size=3),
)


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"\x04",
            b"[]",
            b"{}",
            b"null",
            b'"text"',
            b"5",
            b"NaN",
            b"1e999",
            b"\xff\xfe",
            b'{"a":"\xff"}',
            b"{",
            b"CO ",
        ),
        b'{"data":5,"metadata":[]}',
        b'{"data":{},"metadata":null}',
        b'{"data":null}',
        b'{"throughput":1e999}',
        b"[" * 500_000,
        b'{"file_metadata":' + b"[" * 400_000 + b"]" * 400_000 + b"}",
        b'{"tr_id":' + b"[" * 400_000 + b"]" * 400_000 + b"}",
        b'{"file_id":' + b"9" * 10_000 + b"}",
        b" " * (MAX_BYTES + 1),
        b"[" + b"1," * 20_000 + b"1]",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_hostile_bodies_are_rejected_with_a_reason(body: bytes) -> None:
    assert len(reason(body)) > 10


@given(st.binary(max_size=200))
def test_any_bytes_are_survived(body: bytes) -> None:
    wire = FtsWire()
    for form in ("json", "text"):
        assert taken(wire, Message(body, form=form)), "a row or a reason: nothing is lost"


@given(broken_records)
def test_any_record_gives_a_sound_row_or_a_reason(record: dict[str, Any]) -> None:
    for found in decode(record):
        if isinstance(found, str):
            assert found.isprintable()
            continue
        payload = found.payload
        assert found.key == f"{payload.scope}|{payload.source}|{payload.destination}"
        assert found.key.count("|") == 2
        assert payload.source
        assert payload.destination
        assert parse_rfc3339("2000-01-01T00:00:00Z") <= found.time < parse_rfc3339("2101-01-01T00:00:00Z")
        assert all(
            -(2**63) <= n < 2**63 for n in (found.id, payload.file, payload.bytes, payload.submitted, payload.active)
        )
        assert 0 <= payload.throughput < float("inf")
        assert 0 <= payload.duration < float("inf")
        assert len(payload.error) <= 1024
        assert payload.error.isprintable()
        payload.error.encode()


@given(st.lists(broken_records, min_size=1, max_size=5), st.booleans())
def test_a_list_is_its_messages_one_by_one(records: list[dict[str, Any]], enveloped: bool) -> None:
    messages: list[Any] = (
        [{"data": r, "metadata": {"_id": str(i)}} for i, r in enumerate(records)] if enveloped else records
    )
    assert decode(messages) == [found for message in messages for found in decode(message)]


monit_records = broken_records.map(lambda data: {"data": data, "metadata": {"_id": "m", "type": "complete"}})

today = {**COMPLETE, "f_size": 3, "throughput": 5.0}

odd = st.sampled_from([" 7 ", "", 0, -1, -(2**63), 2**63, 1772431204000, "a|b", "SE9.x", "\u00a07", "\u202e"])


def enveloped(changes: dict[str, Any], id: Any) -> bytes:
    return json.dumps({"data": {**today, **changes}, "metadata": {"_id": id, "type": "complete"}}).encode()


nearly_today = st.builds(
    enveloped,
    st.dictionaries(st.sampled_from(sorted(today)), json_values | odd, max_size=3),
    st.sampled_from(["", "m-1", "é", " m "]) | json_values,
)


@given(st.lists(nearly_today | monit_records.map(lambda record: json.dumps(record).encode()), max_size=8))
def test_the_quick_way_says_what_the_careful_one_says(bodies: list[bytes]) -> None:
    """Messages together, many of them by column, are what `Messages.read` makes of each."""
    careful = Messages("fts.example.org", Pseudonyms(PUBLIC_KEY))
    expected = [found for body in bodies for found in careful.read(Message(body))]
    assert taken(FtsWire(), *map(Message, bodies)) == expected


def test_messages_of_today_go_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [
        json.dumps({"data": {**today, "retry": n}, "metadata": {"_id": str(n), "type": "complete"}}) for n in range(9)
    ]
    monkeypatch.setattr(Messages, "read", None)
    assert len(FtsWire().decode([Message(body.encode()) for body in bodies]).rows) == 9


@given(st.sets(st.sampled_from(sorted(set(COMPLETE) - {"src_hostname", "dst_hostname", "tr_timestamp_complete"}))))
def test_any_other_field_may_be_missing(dropped: set[str]) -> None:
    if {"t_final_transfer_state", "t_final_transfer_state_flag"} <= dropped:
        dropped = dropped - {"t_final_transfer_state"}
    found = row({k: v for k, v in COMPLETE.items() if k not in dropped})
    assert found.payload.outcome == OK
    assert found.time == row(COMPLETE).time


@given(st.one_of(json_values, st.floats()))
def test_fields_never_raise(value: Any) -> None:
    assert whole(value) is None or isinstance(whole(value), int)
    assert abs(number(value)) < float("inf")
    assert isinstance(host(value), str)


def test_the_key_decides_the_pseudonym_and_nothing_else() -> None:
    failed = {**COMPLETE, "t_final_transfer_state_flag": 0, "t__error_message": "denied /user/jdoe/x", "tr_id": ""}
    one, other = row(failed), row(failed, FtsWire(pseudonym_key=b"other"))
    open_ = row(failed, FtsWire(keep_personal=True))
    assert len({r.payload.error for r in (one, other, open_)}) == 3
    assert open_.payload.error == "denied /user/jdoe/x"
    assert len({(r.id, r.key, r.payload.file) for r in (one, other, open_)}) == 1


@pytest.mark.parametrize("key", [b"", b"x" * 65])
def test_keys_of_a_wrong_length_are_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="1 to 64 bytes"):
        FtsWire(pseudonym_key=key)


def test_the_instance_is_a_host_name() -> None:
    with pytest.raises(ValueError, match="instance"):
        FtsWire(instance="a|b")


def test_a_dead_letter_keeps_no_name() -> None:
    body = b'{"user_dn": "/DC=org/CN=Jane Doe", "user": "jdoe", "dst_url": "root://x/store/user/jdoe/f", "x": \xff'
    kept = FtsWire().redacted(body)
    assert b"Jane" not in kept
    assert b"jdoe" not in kept
    assert b"\\xff" in kept
    assert len(FtsWire().redacted(b'"user": "' + b"\xff" * 10**6)) < 4 * 4096
    assert FtsWire(keep_personal=True).redacted(body).startswith(b'{"user_dn": "/DC=org/CN=Jane')


@pytest.mark.parametrize("keep_personal", [False, True])
def test_no_secret_is_kept_of_what_is_refused(keep_personal: bool) -> None:
    wire, secret = FtsWire(keep_personal=keep_personal), "s3cretpassword"
    token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2ln"
    for field in ("endpnt", "src_hostname", "tr_timestamp_complete"):
        for value in (f"gsiftp://u:{secret}@a b/", f"authz=Bearer {token}", f"https://u:{secret * 9}"):
            body = (
                json.dumps({**COMPLETE, field: value, "dst_url": f"https://u:{secret}@b/"})
                .replace("//", "\\/\\/")
                .encode()
            )
            decoded = wire.decode([Message(body)])
            kept = [*(reject.reason for reject in decoded.rejects), wire.redacted(body).decode()]
            assert decoded.rejects or value.startswith("https:"), value
            assert not [text for text in kept if secret[:6] in text or token[:9] in text], kept
