"""The FTS wire: all message types and years, the forms they come in, ids that recognise copies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from wire_messages import COMPLETE, QUEUE, STATE, decode, reason, row, taken

from opintel.detector import Message
from opintel.finding import NS, parse_rfc3339
from opintel.fts.transfers import ABORTED, FAILED, OK, Transfer
from opintel.fts.wire import FtsWire
from opintel.fts.wire.fields import host
from opintel.ids import natural_id
from opintel.rows import Row


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


def test_real_messages(shared_data: Path) -> None:
    lines = (shared_data / "fts" / "monit_fts_example_2020.jsonl").read_bytes().splitlines()
    first, again = (row(line) for line in lines)
    assert first == again
    assert first.key == "fts-mit|se01.cmsaf.mit.edu|t3serv010.mit.edu"
    assert first.payload.error.startswith("SOURCE globus_ftp_control: gss_init_sec_context failed")
    old = row((shared_data / "fts" / "monit_fts_example_2017_ok.json").read_bytes())
    assert (old.payload.outcome, old.payload.bytes) == (OK, 10_556_847)
    assert old.payload.throughput == pytest.approx(10_556_847 / 2.308)
