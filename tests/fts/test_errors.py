"""The error forms of an hour."""

from __future__ import annotations

import msgspec
import pytest

from opintel.detector import Closing, Controls, Record
from opintel.evidence import Table
from opintel.finding import Finding, Window
from opintel.fts.causes.families import Family
from opintel.fts.judging.errors import CAPACITY, COLUMNS, FORMS, HOUR, ROOM, ErrorsByHour, ErrorsSettings, forms_of
from opintel.fts.link_windows import LINK, LinkWindow

TEN_MINUTES = HOUR // 6
Forms = list[tuple[str, str, int, str]]
SETTINGS = ErrorsSettings((Family("full", concepts=("space",)),))


def closing(
    start: int, forms: Forms, *, length: int = TEN_MINUTES, source: str = "a", destination: str = "b"
) -> Closing:
    window = Window(start, start + length)
    link = LinkWindow(source, "b", 0, 1, 0, 1, 0, [], (0, 0.0, 0.0), forms)
    records = [Record(window, LINK, "key", "fts1", link)] if forms else []
    return Closing(window, "fts1", records, Controls(), SETTINGS, "", complete=True)


def table(finding: Finding) -> list[dict[str, object]]:
    [block] = finding.evidence
    assert isinstance(block, Table)
    assert tuple(block.columns) == COLUMNS
    return [dict(zip(COLUMNS, row, strict=True)) for row in block.rows]


def hour_of(judge: ErrorsByHour, *closings: Closing) -> list[Finding]:
    return [finding for one in closings for finding in judge.judge(one)]


def test_an_hour_is_one_finding_with_the_most_frequent_form_first() -> None:
    full, odd = ("f1", "DESTINATION disk full", 2, "as sent"), ("f2", "what", 5, "what?")
    windows = [closing(k * TEN_MINUTES, [full, odd] if k % 2 else [full]) for k in range(6)]
    [found] = hour_of(ErrorsByHour(), *windows, closing(HOUR, []))
    assert (found.window, found.kind, found.basis) == (Window(0, HOUR), "errors", "none")
    assert found.subject == {"scope": "fts1"}
    first, second = table(found)
    assert (first["template"], first["family"], first["messages"], first["hosts"]) == ("f2", "unclassified", 15, "a b")
    assert (second["family"], second["messages"], second["example"], second["hosts"]) == ("full", 12, "as sent", "b")


def test_the_state_of_half_an_hour_goes_on_as_if_nothing_had_happened() -> None:
    windows = [closing(k * TEN_MINUTES, [(f"f{k % 3}", f"text {k % 3}", k + 1, "e")]) for k in range(6)]
    whole, first, second = ErrorsByHour(), ErrorsByHour(), ErrorsByHour()
    assert hour_of(first, *windows[:3]) == []
    second.restore(first.state())
    assert second.state() == first.state()
    assert hour_of(second, *windows[3:]) == hour_of(whole, *windows)


def test_an_hour_without_errors_says_nothing_and_one_that_never_closed_is_told_with_the_next_window() -> None:
    judge = ErrorsByHour()
    assert hour_of(judge, *(closing(k * TEN_MINUTES, []) for k in range(6))) == []
    assert hour_of(judge, closing(7 * TEN_MINUTES, [("f", "t", 1, "e")])) == []
    [late] = hour_of(judge, closing(5 * HOUR, []))
    assert late.window == Window(HOUR, 2 * HOUR)


def test_windows_that_do_not_divide_the_hour_end_it_where_they_end() -> None:
    length = HOUR * 2 // 5
    windows = [closing(k * length, [("f", "t", 1, "e")], length=length) for k in range(4)]
    [found] = hour_of(ErrorsByHour(), *windows)
    assert (found.window, table(found)[0]["messages"]) == (Window(0, 3 * length), 3)


def test_what_an_attacker_can_make_it_say_and_keep_is_bounded() -> None:
    many: Forms = [(f"f{n}", f"{n} " + "\x00€" * 9000, 1, "x" * 9000) for n in range(2 * CAPACITY)]
    judge = ErrorsByHour()
    for k in range(5):
        assert judge.judge(closing(k * TEN_MINUTES, many, source=f"host {k}")) == []
    assert len(judge.state()["forms"]) == CAPACITY
    [found] = judge.judge(closing(5 * TEN_MINUTES, many))
    assert 0 < len(table(found)) <= FORMS
    assert sum(len(str(row)) for row in table(found)) < 2 * ROOM
    assert found.effect.value == 6 * 2 * CAPACITY
    assert [form.template for form in forms_of(found)] == [row["template"] for row in table(found)]


def test_a_table_of_another_form_is_refused() -> None:
    [found] = hour_of(ErrorsByHour(), *(closing(k * TEN_MINUTES, [("f", "t", 1, "e")]) for k in range(6)))
    rows: list[list[str | float | int | None]] = [["f", "t", "full", -1, "e", ""]]
    for block in (Table("errors", list(COLUMNS), rows), Table("errors", ["template"], [["f"]])):
        with pytest.raises(ValueError, match=r"errors: (Expected|.*expected)"):
            forms_of(msgspec.structs.replace(found, evidence=(block,)))
    assert forms_of(msgspec.structs.replace(found, evidence=())) == []
