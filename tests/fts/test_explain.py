"""The evidence that says who is hit and where FTS's log of it stands."""

from __future__ import annotations

from typing import Any

from opintel.evidence import Links, Table
from opintel.fts.judging.explain import JOBS, jobs, who
from opintel.fts.link_windows import OTHERS, LinkWindow

LOG = "https://fts.example:8449/fts3/ftsmon/#/job/"


def link(forms: list[Any], named: list[list[tuple[str, str]]], facets: list[Any] | None = None) -> LinkWindow:
    return LinkWindow("a", "b", 5, 5, 0, 10, 0, [], (0, 0.0, 0.0), forms, facets=facets or [], jobs=named)


def form(text: str, count: int) -> tuple[str, str, int, str]:
    return (text, text, count, text)


def test_jobs_are_of_different_causes_and_link_to_their_log() -> None:
    one = link([form("no space", 9), form("denied", 2)], [[(f"j{n}", LOG + f"j{n}") for n in range(3)], [("d1", "")]])
    other = link([form("no space", 4)], [[("j0", LOG + "j0"), ("j7", LOG + "j7")]])
    linked, plain = jobs([one, other])
    assert isinstance(linked, Links)
    assert isinstance(plain, Table)
    assert linked.links == [("j0: no space", LOG + "j0"), ("j1: no space", LOG + "j1")]
    assert plain.rows == [["d1", "denied"]]


def test_one_cause_has_all_jobs_and_none_gives_no_block() -> None:
    [linked] = jobs([link([form("no space", 9)], [[(f"j{n}", LOG) for n in range(JOBS)]])])
    assert isinstance(linked, Links)
    assert len(linked.links) == JOBS
    assert jobs([link([form("no space", 9)], [])]) == []  # of an earlier build
    assert jobs([link([], [])]) == []


def test_who_is_hit_adds_up_over_links() -> None:
    one = link([], [], [("atlas", "Production", 2, 5), ("cms", "", 7, 0)])
    [table] = who([one, one, link([], [], [(OTHERS, OTHERS, 3, 1)])])
    assert table.rows == [
        ["atlas", "Production", 4, 10, 0.7143],
        [OTHERS, OTHERS, 3, 1, 0.25],
        ["cms", "unknown", 14, 0, 0.0],
    ]
    assert who([link([], [], [("", "", 5, 5)])]) == []
