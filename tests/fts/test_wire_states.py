"""The FTS wire: which FTS a message belongs to, what states say of a file, whose cancels are failures, queues."""

from __future__ import annotations

import json

import pytest
from wire_messages import COMPLETE, QUEUE, STATE, decode, row

from opintel.fts.transfers import ABORTED, FAILED, OK
from opintel.fts.wire import FtsWire
from opintel.fts.wire.arrow import packed
from opintel.fts.wire.fields import host


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
