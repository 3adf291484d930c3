"""Masking: what varies goes, what names a cause stays, on real messages and on anything."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from opintel.fts.templates.merging import form_id
from opintel.fts.texts.masking import MAX_FORM, MAX_TEXT, first_word, mask

FRAGMENTS = [
    *"/:=,;()[]{}<>\"'-_.@%+?!\x00\t\n",
    *("http://", "root://a.b.ch:1094//x/y", "/a/b", "1.2.3.4", "[2001:db8::1]:80", "2401:DE00:2:33::27:20367"),
    *("error", "500-", "500 End.", "[3010]", "status: 404", "HTTP/1.1", "85f76c29-ce98-427e-a153-5e42d32ac5ee"),
    *("0x1f", "a49cbe20", "12345", "7", "-3.5", "11:35:59", "2019-10-11", "Sat Jul 9", "user=", "for user bob"),
    *("/DC=ch/CN=Jo", "Doe", "<URL>", "<HOST>", "<NUM>", "<", "<USER>", "checksum", "28.2 KB", "10 s", "user-97aa30"),
    *("[a_b][c_d]", "se1.cern.ch:2811", "x@y.ch", "CN=Ann", "host=abc", "()", "GET", "¤é", "٣", "ſ"),
]
texts = st.one_of(
    st.text(max_size=300),
    st.lists(st.sampled_from(FRAGMENTS), max_size=30).flatmap(
        lambda parts: st.lists(st.sampled_from(["", " "]), min_size=len(parts), max_size=len(parts)).map(
            lambda gaps: "".join(a + b for a, b in zip(parts, gaps, strict=True))
        )
    ),
    st.text(min_size=900, max_size=2500),
)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Unable to connect to se03.cbpf.br:2811 globus_xio: ", "Unable to connect to <HOST> globus_xio:"),
        ("open failed for src_url=root://a.ch:1094///p/f?fst=1 ", "open failed for src_url=<URL>"),
        ("Unable to create /dpm/x.nl/home/f1; permission denied", "Unable to create <PATH>; permission denied"),
        ("accessing d17.res.in:/disk06/cms/2019-10-11: No route", "accessing <HOST>:<PATH>: No route"),
        ("token 2310037 is full, id=2310037", "token <NUM> is full, id=<NUM>"),
        ("do not match a49cbe20 != 7ff6eedd", "do not match <HEX> != <HEX>"),
        ("checksums do not match a49cbe20 != 58315445", "checksums do not match <HEX> != <HEX>"),
        ("job 85f76c29-ce98-427e-a153-5e42d32ac5ee at 2019-10-11T11:35:59.1Z", "job <UUID> at <TIME>"),
        ("after 3 attempts, 12 s", "after <NUM> attempts, <TIME>"),
        ("Mapped user jdoe is invalid, jane@cern.ch", "Mapped user <USER> is invalid, <USER>"),
        ("subject: /DC=ch/DC=cern/OU=Users/CN=jdoe/CN=John Doe: expired", "subject: <DN>: expired"),
        (
            "open /eos/home-j/user-97aa30/f, owner=user-97aa30 (uid uid-97aa30)",
            "open <PATH>, owner=<USER> (uid <USER>)",
        ),
        ("core C:\\Windows\\x_6.1\\cb.dll, mask=ffffffff at @0x47ea910", "core <PATH>, mask=<HEX> at @<HEX>"),
        ('ready=true tag="View Lock" error="no space"', 'ready=<BOOL> tag="<TEXT>" error="no space"'),
        ("quota of user-97aa30 exceeded", "quota of <USER> exceeded"),
        ("error 550 550-Errno: 2 550-Reason: stat 550- 550 End.", "error 550 Errno: 2 Reason: stat"),
        ("[gfalt_copy_file][perform_copy] Result timed out", "Result timed out"),
        ("no answer after 429 s, 503 bytes of 507 read", "no answer after <TIME>, <NUM> bytes of <NUM> read"),
        (
            "returned with 429 MB left, got 503 files, PUT 507 blocks",
            "returned with <SIZE> left, got <NUM> files, PUT <NUM> blocks",
        ),
        (
            "无法连接se1.example.org：端口1094，[2001:db8::7]:80，等待300ms",
            "无法连接<HOST>：端口<NUM>，<HOST>，等待<TIME>",
        ),
        ("délai dépassé：se1.example.org:2811", "délai dépassé：<HOST>"),
        ("the 17th of 20 parts, 12th pull", "the <NUM>th of <NUM> parts, <NUM>th pull"),
    ],
)
def test_what_varies_becomes_a_placeholder(text: str, form: str) -> None:
    assert mask(text) == form


@pytest.mark.parametrize(
    "text",
    [
        "the server responded with an error 431 Internal error",
        "Result HTTP 507 : Insufficient Storage",
        "rejected GET: 404 Not Found",
        "Copy failed with status code 403",
        "Server responded with an error: [3010] Write permission denied",
        "libcurl (28) Operation too slow",
        "GridFTP-Errno: 13",
        "TRANSFER [110] Connection timed out",
        "STAGING [13] Error reported by the storage",
        "ARCHIVING [110] Error not set",
        "QOS_TRANSITION [5] Request refused",
        "rejected PUT: 507 UNKNOWN_RESPONSE_CODE",
        "rejected COPY: 412, destination answered 429",
        "got 429, retry later",
        "received a 503 from the door",
        "statusCode=503, retcode 11",
        "Copy failed (3rd pull), 5xx",
        "Error reported from srm_ifce : 22 [SE][Ls][SRM_INVALID_PATH]",
        "diskCacheV111.services.space.NoFreeSpaceException: ADLER32 not supported by srmv2",
    ],
)
def test_codes_and_names_of_a_cause_stay(text: str) -> None:
    assert mask(text) == text


@settings(max_examples=600, deadline=None)
@given(texts)
@example("(28) [<HOST>]:80 500-500-x 500 End.")
def test_a_form_is_its_own_form_one_bounded_line(text: str) -> None:
    form = mask(text)
    assert mask(form) == form
    assert len(form) <= MAX_FORM
    assert form == " ".join(form.split())


@settings(max_examples=200, deadline=None)
@given(texts, st.lists(st.sampled_from([" ", "\t", "\n", "  "]), min_size=1, max_size=5))
def test_white_space_does_not_matter(text: str, gaps: list[str]) -> None:
    words = text[: MAX_TEXT // 4].split()
    spread = "".join(word + gaps[at % len(gaps)] for at, word in enumerate(words))
    assert mask(spread) == mask(" ".join(words))


@given(texts)
@example("Jan 5 x")
@example("disk full")
@example("7bcd x")
@example("7bc x")
def test_the_first_word_is_that_of_the_form(text: str) -> None:
    assert first_word(text) in ("", mask(text).partition(" ")[0])


@given(texts, texts)
def test_what_follows_the_cut_does_not_matter(text: str, tail: str) -> None:
    start = text[:MAX_TEXT].ljust(MAX_TEXT, "x")
    assert mask(start + tail) == mask(start)


def test_texts_cut_at_different_words_share_a_form() -> None:
    forms = {mask(f"error 451 on /{'d/' * n}file: " + "the cause of it all, " * 60) for n in (5, 60, 200)}
    assert len(forms) == 1


def test_ids_differ_and_are_stable() -> None:
    assert form_id("a") != form_id("b")
    assert form_id("TRANSFER Operation timed out") == "t-2607ad02aa73"
    assert form_id("\ud800").startswith("t-")


def test_real_messages_mix_no_families(shared_data: Path) -> None:
    with (shared_data / "fts" / "fts_patterns_labelled.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    families: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        families[mask(row["example"])].add(row["family"])
    assert {form: found for form, found in families.items() if len(found) > 1} == {}
    assert len(families) <= len(rows)


def test_real_messages_repeat_few_forms(shared_data: Path) -> None:
    with (shared_data / "fts" / "fts_10k_messages.csv").open(newline="") as file:
        forms = {mask(row["message"]) for row in csv.DictReader(file)}
    assert 100 < len(forms) <= 227
    assert all(mask(form) == form for form in forms)
