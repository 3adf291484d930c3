"""The FTS wire: all message types and years, hostile content, ids that recognise copies, names of people replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opintel.detector import Message
from opintel.finding import NS, parse_rfc3339
from opintel.fts.texts.personal import PUBLIC_KEY, Pseudonyms
from opintel.fts.transfers import ABORTED, FAILED, OK, Transfer
from opintel.fts.wire import FtsWire
from opintel.fts.wire.arrow import packed
from opintel.fts.wire.fields import host, number, whole
from opintel.fts.wire.message import MAX_BYTES, Messages
from opintel.ids import natural_id
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


def test_complete_message() -> None:
    found = row(COMPLETE)
    assert found.key == "fts.example.org|se01.a.example|se02.b.example"
    assert found.time == parse_rfc3339("2026-03-02T06:00:04Z")
    assert found.id == natural_id(COMPLETE["tr_id"], 1)
    assert found.payload == Transfer(
        "complete",
        "fts.example.org",
        "se01.a.example",
        "se02.b.example",
        natural_id("job-1", "7"),
        OK,
        bytes=4_000_000,
        throughput=2e6,
        duration=4.0,
    )


def test_state_message_names_the_same_file_as_the_complete_one() -> None:
    found = row(STATE, FtsWire(instance="fts7.example.org"))
    assert found.payload.file == row(COMPLETE).payload.file
    assert found.key == "fts7.example.org|se01.a.example|se02.b.example"
    assert (found.payload.kind, found.payload.outcome, found.payload.error) == (
        "state",
        FAILED,
        "too long in the queue",
    )
    assert found.payload.bytes == 0  # what its `user_filesize` says was only claimed


@pytest.mark.parametrize(
    "spelling", ["fts-a.example.net", "FTS-A.Example.net", "https://fts-a.example.net:8446/", "fts-a.example.net."]
)
def test_every_message_belongs_to_the_fts_that_it_names(spelling: str) -> None:
    wire = FtsWire(instance="fts.example.org")
    for base in (COMPLETE, STATE, QUEUE):
        named = row({**base, "endpnt": spelling, "fqdn": "node-003.example.net", "vo": "vo1"}, wire)
        assert named.payload.scope == "fts-a.example.net"
        assert named.key == "fts-a.example.net|se01.a.example|se02.b.example"
        unnamed = {k: v for k, v in base.items() if k != "endpnt"}
        assert row({**unnamed, "fqdn": "node-003.example.net"}, wire).payload.scope == "fts.example.org"
        (refused,) = decode({**base, "endpnt": "no host|"}, wire)
        assert isinstance(refused, str)
        assert refused.startswith("endpnt: ")


@pytest.mark.parametrize(
    "spelling",
    [
        "2001:db8::10",
        "[2001:db8::10]",
        "[2001:db8::10]:1094",
        "[2001:DB8:0:0:0:0:0:10]:1094",
        "2001:0db8:00::0:10",
        "davs://[2001:db8:0::10]:443/data",
        "[2001:db8::10%eth0]",
    ],
)
def test_an_ipv6_address_has_one_spelling(spelling: str) -> None:
    assert row({**COMPLETE, "src_hostname": spelling}).payload.source == "2001:db8::10"


@pytest.mark.parametrize("spelling", ["[2001:db8::10", "2001:db8::10]", "[2001:db8::g]", "a:b:c", "[]", "[::1]x"])
def test_what_looks_like_an_ipv6_address_and_is_none_is_no_host(spelling: str) -> None:
    assert host(spelling) == ""


@pytest.mark.parametrize(
    ("state", "outcome"),
    [("FINISHED", OK), ("FAILED", FAILED), ("CANCELED", ABORTED), ("ACTIVE", None), ("STAGING", None)],
)
def test_only_final_states_are_outcomes(state: str, outcome: int | None) -> None:
    assert [r.payload.outcome for r in decode({**STATE, "reason": "", "file_state": state})] == (
        [] if outcome is None else [outcome]
    )  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "reason",
    [
        "Job has been canceled because it stayed in the queue for too long (global timeout)",
        "Job has been canceled because it stayed in the queue for too long (max-time-in-queue timeout)",
        "Transfer has been forced-canceled because host fts-01.example.org is offline and the transfer is"
        " still assigned to it",
        "Transfer has been forced-canceled because it has been in staging started state beyond its bringonline timeout",
        "Transfer has been forced-canceled because it has been in ARCHIVING state beyond its archive timeout",
        "STAGING [110] bring-online timed out",
    ],
)
def test_what_fts_cancels_by_itself_has_failed(reason: str) -> None:
    found = row({**STATE, "file_state": "CANCELED", "reason": reason}).payload
    assert (found.outcome, found.error) == (FAILED, reason)


@pytest.mark.parametrize(
    "reason",
    [
        *("", "Transfer canceled by the user", "job canceled by the user jdoe", "Canceled by user, it took too long"),
        *(
            "Operation canceled from gfal2_cancel",
            "canceled on request of the owner",
            "stopped by the VO manager",
            None,
        ),
    ],
)
def test_what_somebody_cancels_has_not_failed(reason: str | None) -> None:
    assert row({**STATE, "file_state": "CANCELED", "reason": reason}).payload.outcome == ABORTED


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("TRANSFER [5] no space left", "no space left"),
        ("DESTINATION [13] HTTP 403 : refused", "DESTINATION HTTP 403 : refused"),
        ("GENERAL_FAILURE [70] stale", "stale"),
        ("STAGING [110] no answer", "STAGING [110] no answer"),
        ("ARCHIVING [5] no answer", "ARCHIVING [5] no answer"),
        ("TRANSFER failed [5] here", "TRANSFER failed [5] here"),
    ],
)
def test_the_error_of_a_state_is_that_of_its_completion(reason: str, error: str) -> None:
    assert row({**STATE, "reason": reason}).payload.error == error


def test_an_error_says_the_side_that_fts_blames() -> None:
    """JSON of today and of other years, and Arrow alike; without a text, what scope, phase, code and category say."""
    said = {
        "tr_error_scope": "SOURCE",
        "t_failure_phase": "TRANSFER",
        "t_error_code": 13,
        "tr_error_category": "DENIED",
    }
    failed = {**COMPLETE, "t_final_transfer_state_flag": 0, "t__error_message": "no", **said}
    silent = {**failed, "t__error_message": ""}
    for kind, words in ((failed, "SOURCE no"), (silent, "SOURCE [13] DENIED in TRANSFER")):
        monit = {"data": kind, "metadata": {"type": "complete", "_id": "m-1"}}
        for content in (kind, {**kind, "t_error_code": "13"}, monit, packed([{**kind, "retry": 0}])):
            assert row(content).payload.error == words


def test_queue_message() -> None:
    found = row(QUEUE)
    assert (found.payload.kind, found.payload.submitted, found.payload.active) == ("queue", 40, 12)
    assert found.id == row(QUEUE).id != row({**QUEUE, "timestamp": QUEUE["timestamp"] + 1}).id


def test_start_messages_carry_no_outcome() -> None:
    start = {"transfer_id": "x", "timestamp": 1772431204000, "src_hostname": "a", "dst_hostname": "b"}
    assert decode(start) == []
    assert decode({"data": start, "metadata": {"type": "start"}}) == []
    assert decode(b"ST " + json.dumps(start).encode() + b"\x04") == []


@pytest.mark.parametrize("tail", [b"\x04", b" ", b"\n", b"\x04\n", b""])
@pytest.mark.parametrize(("prefix", "content"), [(b"CO ", COMPLETE), (b"SS ", STATE), (b"OP ", QUEUE)])
def test_form_on_disk(prefix: bytes, content: dict[str, Any], tail: bytes) -> None:
    assert decode(prefix + json.dumps(content).encode() + tail) == decode(content)


@pytest.mark.parametrize(
    "metadata",
    [
        {"type": "state"},
        {"topic": "fts_raw_state"},
        {"original-destination": "elsewhere"},
        {"type": 5, "topic": None},
        None,
    ],
)
def test_envelope_and_bare_give_the_same_transfer(metadata: Any) -> None:
    assert row({"data": STATE, "metadata": metadata}).payload == row(STATE).payload


@pytest.mark.parametrize("content", [COMPLETE, STATE, QUEUE, {"data": COMPLETE, "metadata": {"_id": "1"}}])
def test_a_line_of_an_export_is_the_message_in_it(content: dict[str, Any]) -> None:
    exported = {"_index": "fts_raw-2026-03-02", "_id": "a1", "_score": None, "_source": content}
    assert row(exported) == row(content)


def test_what_is_no_fts_message_is_named() -> None:
    event = {"event_type": "transfer-done", "payload": {"src-url": "davs://a.example/x"}, "created_at": "today"}
    assert reason(event) == "expected an FTS message, got an event (event_type, payload) as Rucio sends them"
    assert "nested too deeply" in reason(b'{"_source":' * 20_000 + b"{}" + b"}" * 20_000)
    assert reason({"_source": {"_source": COMPLETE}}).startswith("no source host")


def test_types_of_other_years() -> None:
    old = {
        **COMPLETE,
        "file_id": 7,
        "retry": "1",
        "file_size": "4000000",
        "t_final_transfer_state_flag": "1",
        "t_error_code": "0",
        "throughput": "2000000.0",
        "timestamp_tr_st": "1772431201000",
        "tr_timestamp_start": 1.7724312e12,
        "tr_timestamp_complete": "1772431204000",
        "ipv6": False,
        "file_metadata": {"filesize": 1.0556847e7},
    }
    assert row(old) == row(COMPLETE)


def test_size_under_its_old_name() -> None:
    assert row({**COMPLETE, "file_size": 0, "f_size": 4_000_000}) == row(COMPLETE)


@pytest.mark.parametrize(
    ("flag", "text", "outcome"),
    [
        (1, "Ok", OK),
        ("0", "", FAILED),
        (-1, "Abort", ABORTED),
        ("-1", None, ABORTED),
        (None, "Error", FAILED),
        ("", "Abort", ABORTED),
    ],
)
def test_outcome(flag: Any, text: Any, outcome: int) -> None:
    changed = {**COMPLETE, "t_final_transfer_state_flag": flag, "t_final_transfer_state": text}
    assert row(changed).payload.outcome == outcome


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"tr_timestamp_complete": None}, "tr_timestamp_complete"),
        ({"tr_timestamp_complete": 1772431204}, "tr_timestamp_complete"),
        ({"tr_timestamp_complete": 9e15}, "tr_timestamp_complete"),
        ({"src_hostname": ""}, "src_hostname"),
        ({"dst_hostname": "a|b"}, "dst_hostname"),
        ({"dst_hostname": "x" * 254}, "dst_hostname"),
        ({"endpnt": "fts|x"}, "endpnt"),
        ({"t_final_transfer_state_flag": 7, "t_final_transfer_state": "?"}, "t_final_transfer_state_flag"),
    ],
)
def test_a_reject_names_the_field(changes: dict[str, Any], named: str) -> None:
    assert named in reason({**COMPLETE, **changes})


def test_hosts_come_from_urls_where_they_must() -> None:
    bare = {k: v for k, v in COMPLETE.items() if not k.endswith("_hostname")}
    urls = {"src_se": "gsiftp://SE01.a.example:2811", "dst_url": "srm://u@se02.b.example:8443/srm?SFN=/x"}
    assert row({**bare, **urls}).key == row(COMPLETE).key
    assert host("[2001:DB8::1]:1094") == "2001:db8::1"
    assert host("2001:db8::1") == "2001:db8::1"


@pytest.mark.parametrize("changed", [{"throughput": v} for v in (-1, None, 0, "nan", "inf", [], True)])
def test_throughput_is_reckoned_where_it_was_not_sent(changed: dict[str, Any]) -> None:
    assert row({**COMPLETE, **changed}).payload.throughput == 2e6


def test_a_failure_has_no_throughput_and_a_success_no_error() -> None:
    failed = {**COMPLETE, "t_final_transfer_state_flag": 0, "t__error_message": "a\tb\u202ec" + "x" * 3000}
    payload = row(failed).payload
    assert payload.throughput == 0
    assert payload.error.startswith("a b cxx")
    assert len(payload.error) == 1024
    assert row({**failed, "t_final_transfer_state_flag": 1}).payload.error == ""


def test_copies_are_recognised() -> None:
    first = row({"data": COMPLETE, "metadata": {"_id": "abc", "type": "complete"}})
    again = row({"data": {**COMPLETE, "user_dn": "x"}, "metadata": {"_id": "abc", "topic": "fts_raw_complete"}})
    assert first.id == again.id == natural_id("abc")
    assert row({**COMPLETE, "retry": 2}).id != row(COMPLETE).id
    without = {**COMPLETE, "tr_id": None}
    assert row(without).id == row({**without, "file_id": 7}).id != row({**without, "retry": 2}).id
    assert row(STATE).id != row({**STATE, "file_state": "CANCELED"}).id


def test_files_without_an_id_are_not_retries_of_each_other() -> None:
    nameless = {k: v for k, v in COMPLETE.items() if k not in ("tr_id", "job_id", "file_id")}
    assert row(nameless).payload.file != row({**nameless, "tr_timestamp_complete": 1772431204001}).payload.file


def test_bare_texts() -> None:
    wire = FtsWire()
    message = Message("Überlauf in /store/user/jdoe/x\n".encode("latin-1"), "a.csv", 3, 3, "text")
    (found,) = taken(wire, message)
    assert isinstance(found, Row)
    assert (found.key, found.time, found.id) == ("messages||", 946684803 * NS, natural_id("a.csv", 3))
    assert found.payload.error.startswith("\ufffdberlauf in /store/user/user-")
    assert (found.payload.kind, found.payload.outcome) == ("message", FAILED)


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


def test_real_messages(shared_data: Path) -> None:
    lines = (shared_data / "fts" / "monit_fts_example_2020.jsonl").read_bytes().splitlines()
    first, again = (row(line) for line in lines)
    assert first == again
    assert first.key == "fts-mit|se01.cmsaf.mit.edu|t3serv010.mit.edu"
    assert first.payload.error.startswith("SOURCE globus_ftp_control: gss_init_sec_context failed")
    old = row((shared_data / "fts" / "monit_fts_example_2017_ok.json").read_bytes())
    assert (old.payload.outcome, old.payload.bytes) == (OK, 10_556_847)
    assert old.payload.throughput == pytest.approx(10_556_847 / 2.308)


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
