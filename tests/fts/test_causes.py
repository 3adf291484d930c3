"""The cause in a text: first, with its code and side, whatever is wrapped around it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opintel.fts.texts.causes import cause, headline, of_state, reported, side
from opintel.fts.texts.masking import mask

COPY = "TRANSFER ERROR: Copy failed (3rd pull). Last attempt: "


@pytest.mark.parametrize(
    ("text", "first"),
    [
        (COPY + "copy HTTP 507 : Insufficient Storage", "HTTP 507 : Insufficient Storage"),
        ("TRANSFER [5] " + COPY + "copy HTTP 403 : Permission refused", "HTTP 403 : Permission refused"),
        (
            "SOURCE " + COPY + "copy curl error (52): Server returned nothing",
            "source: curl error (52): Server returned",
        ),
        (
            "TRANSFER Copy failed with mode 3rd push, with error: Transfer failure: rejected PUT: 507 X",
            "rejected PUT: 507",
        ),
        ("Non recoverable error: [5] TRANSFER ERROR: Copy failed (streamed). Last attempt: gone", "gone"),
        ("Error on XrdCl::CopyProcess::Run(): [ERROR] Server responded with an error: [3010] denied", "[3010] denied"),
        ("TRANSFER globus_ftp_client: the server responded with an error 451 General problem: killed", "451 killed"),
        ("DESTINATION CHECKSUM globus_xio: System error in recv: Broken pipe", "destination checksum: Broken pipe"),
        ("DESTINATION OVERWRITE Result HTTP 500 : Unexpected", "destination overwrite: HTTP 500 : Unexpected"),
        (
            "SOURCE SRM_GET_TURL error on the turl request : [SE][PrepareToGet][SRM_FILE_UNAVAILABLE] not online",
            "source: [SRM_FILE_UNAVAILABLE] not online",
        ),
        (
            "TPC_PullRequest: event=OPEN_FAIL, local=<PATH>, user=<USER>, status=400; Disk quota",
            "status=400; Disk quota",
        ),
        ("STAGING [13] Error reported by the storage", "STAGING [13] Error reported"),
    ],
)
def test_the_cause_comes_first(text: str, first: str) -> None:
    assert headline(text, 60).startswith(first)
    assert cause(text).startswith(first)


def test_a_code_is_not_cut_off() -> None:
    text = "an error that says a great many words before it comes to the point at last: got 429, retry later"
    assert headline(text, 60) == "… got 429, retry later"
    assert headline("SOURCE " + text, 60) == "source: … got 429, retry later"


def test_what_is_nothing_but_a_wrapper_stays() -> None:
    assert cause("TRANSFER ERROR: Copy failed (3rd pull). ") != ""
    assert (cause(""), headline("", 60)) == ("", "")


def test_a_report_names_the_side_once() -> None:
    assert reported("timed out", "DESTINATION") == "DESTINATION timed out"
    assert reported("DESTINATION timed out", " destination ") == "DESTINATION timed out"
    assert reported("timed out", "TRANSFER", "TRANSFER", "110", "CONNECTION_TIMED_OUT") == "timed out"
    assert reported("", "TRANSFER", "TRANSFER", "110", "") == "[110] in TRANSFER"
    assert reported(" ", "SOURCE", "", "0", "") == ""
    assert side(of_state("DESTINATION [13] refused")) == "destination"


def test_real_causes_are_told_apart_in_a_title(shared_data: Path) -> None:
    """Of 60 characters; forms that differ in nothing but their wrapper may share one."""
    with (shared_data / "fts" / "fts_10k_messages.csv").open(newline="") as file:
        forms = {mask(row["message"]) for row in csv.DictReader(file)}
    assert len({headline(form, 60) for form in forms}) > 0.7 * len(forms)
    assert len({form[:60] for form in forms}) < 0.55 * len(forms)


@given(st.text(max_size=200), st.integers(8, 80))
def test_any_text_makes_a_short_line(text: str, width: int) -> None:
    line = headline(text, width)
    assert len(line) <= width
    assert line.isprintable()
