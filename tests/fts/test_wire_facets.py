"""Whose files they are, what for, and where the log of a failure stands: by all ways of the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from opintel.detector import Message
from opintel.fts.transfers import Transfer
from opintel.fts.wire import FtsWire
from opintel.fts.wire.arrow import packed
from opintel.fts.wire.fields import MAX_LINK, MAX_NAME

JOB = "78fa83bc-2a18-11ea-b9ed-0022195e67a3"
LOG = f"https://fts.example.org:8449/fts3/ftsmon/#/job/{JOB}"
COMPLETE: dict[str, Any] = {
    "activity": "Production Input",
    "dst_hostname": "se02.b.example",
    "endpnt": "fts.example.org",
    "f_size": 0,
    "file_id": "7",
    "file_size": 5,
    "job_id": JOB,
    "log_link": LOG,
    "src_hostname": "se01.a.example",
    "t__error_message": "no space",
    "t_final_transfer_state_flag": 0,
    "throughput": -1.0,
    "tr_timestamp_complete": 1772431204000,
    "tr_timestamp_start": 1772431200000,
    "vo": "atlas",
}
STATE: dict[str, Any] = {
    "source_se": "davs://se01.a.example",
    "dest_se": "davs://se02.b.example:443",
    "job_id": JOB,
    "file_id": 7,
    "file_state": "FAILED",
    "reason": "no space",
    "timestamp": 1772431204000,
}


def read(message: bytes, form: Any = "json") -> Transfer:
    (row,) = FtsWire().decode([Message(message, form=form)]).rows.rows()
    return row.payload


def bodies(record: dict[str, Any]) -> list[bytes]:
    """A complete message in each form in which one may come."""
    envelope = {"data": record, "metadata": {"_id": "m1", "type": "complete"}}
    slow = {"data": record, "metadata": {"type": "complete"}}
    return [json.dumps(envelope).encode(), json.dumps(slow).encode(), packed([record])]


@pytest.mark.parametrize("body", bodies(COMPLETE))
def test_every_form_says_who_and_where_the_log_is(body: bytes) -> None:
    found = read(body)
    assert (found.vo, found.activity, found.job, found.log_link) == ("atlas", "Production Input", JOB, LOG)


@pytest.mark.parametrize("body", bodies({**COMPLETE, "t_final_transfer_state_flag": 1, "throughput": 2.0}))
def test_what_arrived_needs_no_log(body: bytes) -> None:
    found = read(body)
    assert (found.vo, found.activity, found.job, found.log_link) == ("atlas", "Production Input", "", "")


@pytest.mark.parametrize("vo", ["vo", "vo_name"])
def test_a_state_says_it_in_its_own_fields(vo: str) -> None:
    found = read(json.dumps({**STATE, vo: "cms", "file_metadata": {"activity": "Analysis"}}).encode())
    assert (found.vo, found.activity, found.job, found.log_link) == ("cms", "Analysis", JOB, "")


@pytest.mark.parametrize("metadata", [None, "text", 5, [], {"activity": ["x"]}, {}])
def test_a_file_s_metadata_are_whatever_somebody_wrote(metadata: Any) -> None:
    assert read(json.dumps({**STATE, "file_metadata": metadata}).encode()).activity == ""


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "/var/log/fts3/transfers/x",
        f"{LOG}?access_token=abc",
        "https://user:secret@fts.example.org/x",
        'https://fts.example.org/"onclick=x',
        "https://fts.example.org/a b",
        "https://fts.example.org/\u202ex",
        "https://fts.example.org/" + "x" * MAX_LINK,
        "https://fts.example.org/home/jdoe/log",
    ],
)
def test_a_log_is_a_plain_link_without_secrets_and_names(link: str) -> None:
    for body in bodies({**COMPLETE, "log_link": link}):
        found = read(body)
        assert (found.job, found.log_link) == (JOB, "")


@pytest.mark.parametrize("body", bodies({**COMPLETE, "job_id": "a b", "vo": "v" * 999, "activity": "for user=jdoe"}))
def test_names_are_short_and_hide_people(body: bytes) -> None:
    found = read(body)
    assert (found.job, found.vo) == ("", "v" * MAX_NAME)
    assert "jdoe" not in found.activity


@pytest.mark.parametrize("field", ["vo", "activity", "log_link", "job_id"])
@pytest.mark.parametrize("value", [None, 5, ["x"], {"x": 1}])
def test_any_value_is_survived(field: str, value: Any) -> None:
    for body in bodies(COMPLETE)[:2]:
        message = json.loads(body)
        message["data"][field] = value
        assert read(json.dumps(message).encode()).error == "no space"
