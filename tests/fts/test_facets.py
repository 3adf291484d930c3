"""Facets of error texts: each layer's own way of speaking, codes with their meaning, and what a record adds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opintel.fts.causes.codes import code, errno
from opintel.fts.causes.facets import CAUSE, Facets, facet_table, facets

COPY = "TRANSFER ERROR: Copy failed (3rd pull). Last attempt: "
LAYERS = {
    "davix": (
        f"SOURCE {COPY}Result HTTP 503 : Service Unavailable after 2 attempts",
        Facets(
            blamed="source",
            phase="transfer",
            operation="third-party pull",
            layer="davix",
            code="HTTP 503",
            meaning="service unavailable",
            cause="HTTP 503 : Service Unavailable after <NUM> attempts",
        ),
    ),
    "xrootd": (
        "[gfalt_copy][gfal_xrootd_3rd_copy] Error on XrdCl::CopyProcess::Run(): [ERROR] Server responded with an error"
        ": [3021] over quota at root://XRD.example.org:1094//f",
        Facets(
            phase="transfer",
            operation="third-party copy",
            protocols="root",
            layer="xrootd",
            code="XRootD 3021",
            meaning="over quota",
            cause="[3021] over quota at <URL>",
            host="xrd.example.org",
        ),
    ),
    "srm": (
        "DESTINATION SRM_PUT_TURL error on the turl request : [SE][StatusOfPutRequest][SRM_NO_FREE_SPACE] pool full",
        Facets(
            blamed="destination",
            phase="preparation",
            operation="put-turl",
            layer="srm",
            code="SRM_NO_FREE_SPACE",
            meaning="no free space",
            cause="[SRM_NO_FREE_SPACE] pool full",
        ),
    ),
    "gridftp": (
        "DESTINATION CHECKSUM globus_ftp_client: the server responded with an error 500 Command failed. : odd",
        Facets(
            blamed="destination",
            phase="finalization",
            operation="checksum",
            layer="gridftp",
            code="FTP 500",
            meaning="command failed or not understood",
            cause="500 odd",
        ),
    ),
    "http-tpc": (
        "TRANSFER Copy failed with mode 3rd push, with error: Transfer failure: rejected PUT: 507 Insufficient Storage",
        Facets(
            blamed="transfer",
            phase="transfer",
            operation="third-party push",
            layer="http-tpc",
            code="HTTP 507",
            meaning="insufficient storage",
            cause="rejected PUT: 507 Insufficient Storage",
        ),
    ),
    "gfal2": (
        "DESTINATION MAKE_PARENT [gfal2_mkdir_rec] errno=13 at se1.example.org:8443",
        Facets(
            blamed="destination",
            phase="preparation",
            operation="directory",
            layer="gfal2",
            code="errno 13",
            meaning="permission denied",
            cause="[gfal2_mkdir_rec] errno=13 at <HOST>",
            host="se1.example.org",
        ),
    ),
    "fts": (
        "Job has been canceled because it stayed in the queue for too long",
        Facets(
            phase="queue",
            layer="fts",
            cause="Job has been canceled because it stayed in the queue for too long",
        ),
    ),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_each_layer_is_read(layer: str) -> None:
    text, wanted = LAYERS[layer]
    assert facets(text) == wanted


@pytest.mark.parametrize(
    ("text", "likely", "wanted"),
    [
        ("the server responded with an error 500 sorry", "ftp", "FTP 500"),
        ("the server responded with an error 500 sorry", "", "HTTP 500"),
        ("the server responded with an error 451 sorry", "", "FTP 451"),
        ("curl error (28): after 500 s", "", "curl 28"),
        ("[3005] another said: [3011] no file", "", "XRootD 3011"),
        ("STAGING [110] it took its time", "", "errno 110"),
        ("451-GridFTP-Errno: 13 refused", "", "FTP 451"),
        ("GridFTP-Errno: 13 refused", "", "errno 13"),
    ],
)
def test_a_code_is_of_the_kind_that_its_words_say(text: str, likely: str, wanted: str) -> None:
    assert str(code(text, likely)) == wanted


@pytest.mark.parametrize("text", ["waited 503 seconds", "45 files of 507 bytes", "[9999] odd", "SRM operation", ""])
def test_other_numbers_are_no_code(text: str) -> None:
    assert code(text) is None


def test_a_record_s_own_fields_hold_where_it_has_them() -> None:
    text = "Connection timed out"
    found = facets(
        text,
        scope="SOURCE",
        phase="TRANSFER_PREPARATION",
        errno="110",
        source_url="davs://a.example.org:443/f",
        destination_url="root://b.example.org//f",
    )
    assert (found.blamed, found.phase, found.code, found.protocols) == (
        "source",
        "preparation",
        "errno 110",
        "davs → root",
    )
    assert facets(f"{text}: HTTP 504", errno="70").code == "HTTP 504"
    assert facets("SOURCE [13] PERMISSION_DENIED in TRANSFER_FINALIZATION").phase == "finalization"
    assert errno("0") is errno("rubbish") is None


def test_one_host_is_named_and_no_path() -> None:
    assert facets("cannot open /pnfs/site.example.org/f from se.example.org:1094").host == "se.example.org"
    assert facets("davs://who@[2001:db8::1]:443/f is gone").host == "[2001:db8::1]"
    assert facets("file.root has version 5.4.3 in lib.so").host == ""


def test_a_table_counts_messages_and_names_the_most_frequent_value() -> None:
    table = facet_table([("SOURCE HTTP 404 : none", 2), ("SOURCE HTTP 507 : full", 5), ("gone", 1)])
    rows = {str(name): (value, count) for name, value, count in table.rows}
    assert rows["blamed"] == ("source", 7)
    assert rows["code"] == ("HTTP 507", 5)
    assert "protocols" not in rows


@given(st.text(max_size=300) | st.text("0123456789.:/[]@-aX <>", max_size=300))
def test_any_text_has_facets(text: str) -> None:
    found = facets(text)
    assert len(found.cause) <= CAUSE
    assert len(found.host) <= len(text)
