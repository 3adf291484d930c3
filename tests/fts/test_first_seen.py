"""First-seen templates: each form once a scope, under its caps, the same after any restart."""

from __future__ import annotations

import csv
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from windows import closed

from opintel.detector import Closing, Controls, Record
from opintel.evidence import Table, Texts
from opintel.finding import NS, Finding, Window
from opintel.fts.judging import new_forms
from opintel.fts.judging.first_seen import FirstSeen
from opintel.fts.judging.new_forms import DAY, FirstSeenSettings
from opintel.fts.link_windows import LINK, MESSAGES, LinkWindow
from opintel.fts.reducer import FtsReducer
from opintel.fts.templates.merging import form_id
from opintel.fts.templates.miner import OVERFLOW
from opintel.fts.texts.masking import mask
from opintel.fts.transfers import FAILED, Transfer, Transfers
from opintel.rows import Row

LENGTH = 600 * NS


def record(window: Window, errors: dict[str, int], link: tuple[str, str] = ("", "")) -> Record:
    forms = [(form_id(mask(error)), mask(error), count, error) for error, count in errors.items()]
    forms.sort(key=lambda form: (-form[2], form[0]))
    total = sum(errors.values())
    payload = LinkWindow(*link, 0, total, 0, total, 0, [], (0, 0.0, 0.0), forms)
    kind, key = (LINK, "|".join(link)) if any(link) else (MESSAGES, "")
    return Record(window, kind, key, "fts1", msgspec.to_builtins(payload))


def closing(number: int, *contents: tuple[dict[str, int], tuple[str, str]], **settings: int) -> Closing:
    window = Window(number * LENGTH, (number + 1) * LENGTH)
    records = sorted((record(window, *content) for content in contents), key=lambda r: (r.kind, r.key))
    return Closing(window, "fts1", records, Controls(), FirstSeenSettings(**settings), "m", True)


NO_LINK = ("", "")


def templates(findings: list[Finding]) -> list[str]:
    return [finding.subject["template"] for finding in findings]


def test_a_form_is_reported_once_with_its_links_and_examples() -> None:
    judge = FirstSeen()
    first = closing(1, ({"error 451 on /a/b": 2}, ("s", "d")), ({"error 451 on /c/d": 3, "full": 9}, ("s", "e")))
    findings = judge.judge(first)
    assert [f.effect.value for f in findings] == [9.0, 5.0]
    found = findings[1]
    assert (found.kind, found.basis, found.log10_p, found.severity) == ("new-template", "none", None, "info")
    assert found.subject == {"scope": "fts1", "template": form_id("error 451 on <PATH>")}
    assert found.summary == "New error message, 5 times on 2 links: error 451 on <PATH>"
    masked, examples, facets, links = found.evidence
    assert isinstance(masked, Texts)
    assert masked.samples == [("error 451 on <PATH>", 5)]
    assert isinstance(examples, Texts)
    assert examples.samples == [("error 451 on /c/d", 3), ("error 451 on /a/b", 2)]
    assert isinstance(facets, Table)
    assert ["code", "FTP 451", 5] in facets.rows
    assert isinstance(links, Table)
    assert links.rows == [["s", "e", 3], ["s", "d", 2]]
    assert judge.judge(closing(2, ({"error 451 on /x/y": 1}, NO_LINK))) == []
    assert judge.forms.first_seen(found.subject["template"]) == LENGTH
    assert judge.forms.first_seen("t-0") is None


def test_the_cap_shows_the_most_frequent_and_names_the_rest() -> None:
    judge = FirstSeen()
    errors = {f"no {name}": count for count, name in enumerate("abcdefg", 1)}
    findings = judge.judge(closing(1, (errors, NO_LINK), per_window=3))
    assert [f.effect.value for f in findings] == [7.0, 6.0, 5.0]
    rest = findings[-1].evidence[-1]
    assert isinstance(rest, Table)
    assert rest.title.startswith("4 more new messages")
    assert rest.rows[0] == ["no d", 4]
    assert all("more new" not in block.title for finding in findings[:-1] for block in finding.evidence)
    later = judge.judge(closing(2, ({"no a": 9, "no g": 9}, NO_LINK), per_window=3))
    assert [(f.effect.value, f.summary[:50]) for f in later] == [
        (10.0, "New error message, 10 times since 00:10: no a"),
        (4.0, "New error message, 4 times since 00:10: no d"),
        (3.0, "New error message, 3 times since 00:10: no c"),
    ]
    assert [f.effect.value for f in judge.judge(closing(3, per_window=3))] == [2.0]
    assert judge.judge(closing(4, (errors, NO_LINK))) == []


def test_the_cap_of_a_day_starts_anew_with_the_day() -> None:
    judge = FirstSeen()
    windows_a_day = DAY // LENGTH
    counts = []
    for number in (1, 2, 3, windows_a_day):
        errors = {f"no {chr(97 + number % 26)}{letter}": 1 for letter in "abc"}
        counts.append(len(judge.judge(closing(number, (errors, NO_LINK), per_day=5))))
    assert counts == [3, 2, 0, 5]


def test_a_cause_behind_a_burst_is_told_when_the_cap_has_room() -> None:
    """Also where it does not come again; of what waits the most frequent comes first."""
    judge, day = FirstSeen(), DAY // LENGTH
    told = 0
    for number in range(1, 50):
        text = f"harmless {'abcdefgh'[number % 8]}{'abcdefgh'[number // 8]}"
        told += len(judge.judge(closing(number, ({text: 1}, NO_LINK))))
    assert told == FirstSeenSettings().per_day
    assert judge.judge(closing(60, ({"SOURCE [14] no token": 20}, ("s", "d")))) == []
    findings = judge.judge(closing(day, ({"one more": 1}, NO_LINK)))
    assert findings[0].subject["template"] == form_id("SOURCE [14] no token")
    assert findings[0].summary.startswith("New error message, 20 times on 1 link since ")
    assert findings[0].summary.endswith("source: [14] no token")
    assert len(findings) == 10


def test_what_waits_is_bounded_and_new_when_it_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_forms, "WAITING", 1)
    judge = FirstSeen()
    assert judge.judge(closing(1, ({"no a": 3, "no b": 2, "no c": 1}, NO_LINK), per_window=0)) == []
    assert judge.forms.first_seen(form_id("no b")) is None
    assert templates(judge.judge(closing(2, ({"no b": 1}, NO_LINK)))) == [form_id("no a"), form_id("no b")]


def test_the_same_text_at_both_sides_is_two_and_without_a_side_the_same() -> None:
    judge, text = FirstSeen(), "HTTP 403 : Permission refused"
    both = judge.judge(closing(1, ({f"SOURCE {text}": 2, f"DESTINATION {text}": 1}, NO_LINK)))
    assert [f.summary.partition(": ")[2] for f in both] == [f"source: {text}", f"destination: {text}"]
    assert judge.judge(closing(2, ({text: 1}, NO_LINK))) == []
    assert len(judge.judge(closing(3, ({"no space left": 1, "SOURCE no space left": 1}, NO_LINK)))) == 1


def test_a_variable_that_masking_did_not_find_is_news_twice() -> None:
    judge, found = FirstSeen(), []
    for number in range(1, 6):
        found.append(len(judge.judge(closing(number, ({f"no answer from rack C{number} today": 1}, NO_LINK)))))
    assert found == [1, 1, 0, 0, 0]
    ids = [form_id(f"no answer from rack C{number} today") for number in range(1, 6)]
    assert {judge.forms.resolve(id) for id in ids} == {ids[0]}
    again = FirstSeen()
    again.restore(judge.state())
    assert again.forms.resolve(ids[4]) == ids[0]


def test_a_state_of_before_is_read() -> None:
    """From before forms waited and merged: a rolling upgrade begins with one."""
    judge, text = FirstSeen(), "no route"
    judge.restore({"forms": [[0, form_id(text)]], "windows": 1, "day": 0, "reported": 1})
    assert judge.judge(closing(2, ({text: 1}, NO_LINK))) == []
    assert len(judge.judge(closing(3, ({"no answer": 1}, NO_LINK)))) == 1


def test_warm_up_learns_without_findings() -> None:
    judge = FirstSeen()
    assert judge.judge(closing(1, ({"full": 1}, NO_LINK), warm_up_windows=2)) == []
    assert judge.judge(closing(2, warm_up_windows=2)) == []
    assert templates(judge.judge(closing(3, ({"full": 1, "gone": 1}, NO_LINK), warm_up_windows=2))) == [form_id("gone")]


def test_above_the_capacity_new_forms_count_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_forms, "CAPACITY", 2)
    judge = FirstSeen()
    findings = judge.judge(closing(1, ({"a": 1, "b": 1, "c": 1, "d": 1}, NO_LINK)))
    assert sorted(templates(findings))[-1] == OVERFLOW
    assert len(findings) == 3
    assert judge.judge(closing(2, ({"e": 1}, NO_LINK))) == []
    assert len(judge.state()["forms"]) == 3


def test_a_summary_is_one_short_line() -> None:
    wrapper = "TRANSFER ERROR: Copy failed (3rd pull). Last attempt: copy "
    (finding,) = FirstSeen().judge(closing(1, ({wrapper + "very long cause " * 20: 1}, NO_LINK)))
    assert len(finding.summary) < 220
    assert finding.summary.startswith("New error message, once: very long cause")


def test_settings_refuse_mistakes() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"per_windows": 3}, FirstSeenSettings)
    with pytest.raises(msgspec.ValidationError, match="per_day"):
        msgspec.convert({"per_day": -1}, FirstSeenSettings)


windows = st.lists(
    st.dictionaries(
        st.sampled_from(["a", "b", "c", "d", "e /x", "e /y", "f of g1", "f of g2", "f of g3", "f of g4"]),
        st.integers(1, 5),
    ),
    max_size=8,
)


@given(windows, st.integers(0, 8), st.integers(0, 4))
def test_a_restart_anywhere_changes_nothing(contents: list[dict[str, int]], restart: int, per_window: int) -> None:
    closings = [
        closing(n, (errors, NO_LINK), (errors, ("s", "d")), per_window=per_window, per_day=5)
        for n, errors in enumerate(contents)
    ]
    whole = FirstSeen()
    expected = [whole.judge(c) for c in closings]
    judge, found = FirstSeen(), []
    for number, one in enumerate(closings):
        if number == restart:
            state = judge.state()
            plain = msgspec.msgpack.decode(msgspec.msgpack.encode(state))
            assert plain == state
            judge = FirstSeen()
            judge.restore(plain)
        found.append(judge.judge(one))
    assert found == expected
    assert judge.state() == whole.state()
    ids = [finding.id for findings in found for finding in findings]
    assert len(ids) == len(set(ids))


def test_real_messages_in_windows_reach_the_cap(shared_data: Path) -> None:
    with (shared_data / "fts" / "fts_10k_messages.csv").open(newline="") as file:
        texts = [row["message"] for row in csv.DictReader(file)]
    reducer, judge = FtsReducer(), FirstSeen()
    rows = [
        Row("messages||", k * NS, k, Transfer("message", "messages", "", "", k, FAILED, text))
        for k, text in enumerate(texts)
    ]
    findings: list[Finding] = []
    for start in range(0, len(texts) * NS, LENGTH):
        window = Window(start, start + LENGTH)
        records = closed(reducer, window, rows, Transfers)
        found = judge.judge(Closing(window, "messages", records, Controls(), FirstSeenSettings(), "m", True))
        assert len(found) <= FirstSeenSettings().per_window
        findings += found
    assert len(findings) == FirstSeenSettings().per_day
    assert len(set(templates(findings))) == len(findings)
