from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from link_streams import SIZE, closing, host, windows

from opintel.detector import QUARANTINED, Record
from opintel.finding import Finding, Window
from opintel.fts.judging.silent import GIVEN_UP, SilentLinkJudge
from opintel.fts.link_windows import LinkWindow


def link(ok: int, failed: int = 0, *, source: str = "a", destination: str = "b", submitted: int = 0) -> LinkWindow:
    slices = [(0, ok, failed, 0, 0.0)]
    return LinkWindow(source, destination, ok, failed, 0, ok + failed, 0, slices, (0, 0.0, 0.0), [], 0, submitted)


def rest(w: int) -> list[LinkWindow]:
    return [link(10 + w % 3, source=f"s{i}", destination=f"d{i % 5}") for i in range(20)]


def play(judged: SilentLinkJudge, w: int, links: list[LinkWindow], *, complete: bool = True) -> list[Finding]:
    window = Window(w * SIZE, (w + 1) * SIZE)
    return judged.judge(closing(judged, window, links, complete=complete))


def learned(windows: int = 300) -> SilentLinkJudge:
    judged = SilentLinkJudge()
    for w in range(windows):
        assert play(judged, w, [link(20 + w % 7), *rest(w)]) == []
    return judged


def test_a_steady_link_that_stops_is_found_and_its_endpoints_explain_it() -> None:
    judged = learned()
    found = [play(judged, 300 + i, rest(i)) for i in range(18)]
    first = next(i for i, findings in enumerate(found) if findings)
    assert 1 <= first <= 8
    assert {f.subject["endpoint"] for f in found[first]} == {"a", "b"}
    assert all(f.kind == "silent" and f.log10_p is not None and f.log10_p <= -4 for f in found[first])
    assert "silent since 02:00" in found[first][0].summary
    tail = [f.log10_p for findings in found[first:] for f in findings if f.subject["endpoint"] == "a"]
    assert tail == sorted(tail, reverse=True)


def test_one_link_of_living_endpoints_is_a_link() -> None:
    judged = SilentLinkJudge()
    both = [link(15, destination="c"), link(15, source="e")]
    for w in range(300):
        play(judged, w, [link(20 + w % 7), *both, *rest(w)])
    found = [play(judged, 300 + i, [*both, *rest(i)]) for i in range(30)]
    subjects = {tuple(sorted(f.subject.items())) for findings in found for f in findings}
    assert subjects == {(("destination", "b"), ("scope", "fts.example"), ("source", "a"))}


def test_a_link_that_fails_is_not_silent() -> None:
    judged = learned()
    assert not any(play(judged, 300 + i, [link(0, 20), *rest(i)]) for i in range(30))


def test_a_quarantined_link_is_unknown_not_silent() -> None:
    judged = learned()
    for i in range(18):
        window = Window((300 + i) * SIZE, (301 + i) * SIZE)
        seen = closing(judged, window, rest(i))
        held = Record(window, QUARANTINED, "fts.example|a|b", "fts.example", 20)
        assert judged.judge(seen._replace(records=[*seen.records, held])) == []


def test_nothing_is_silent_where_the_input_ended() -> None:
    judged = learned()
    assert not any(play(judged, 300 + i, rest(i), complete=False) for i in range(30))


@pytest.mark.parametrize("left", [0, 1])
def test_where_most_links_stop_it_is_the_instance_and_no_link(left: int) -> None:
    judged = learned(40)
    found = [play(judged, 40 + i, rest(i)[:left]) for i in range(15)]
    assert [[f.subject for f in findings] for findings in found] == [[{"scope": "fts.example"}]] * 15
    first, last = found[0][0], found[-1][0]
    assert (first.kind, first.severity) == ("silent", "warning" if left else "critical")
    assert first.onset == first.window.start
    seen = "1 link has" if left else "no link has"
    assert last.summary == f"fts.example is silent since 06:40: {seen} a file where about 21 do usually"
    assert not any(play(judged, 55 + i, [link(20), *rest(i)]) for i in range(30))  # nor is a link made to answer for it


def test_an_endpoint_that_stages_is_no_link_to_itself() -> None:
    judged = SilentLinkJudge()
    for w in range(100):
        assert play(judged, w, [link(20 + w % 7, source="b"), *rest(w)]) == []
    found = [play(judged, 100 + i, rest(i)) for i in range(18)]
    subjects = {tuple(sorted(f.subject.items())) for findings in found for f in findings}
    assert subjects == {(("endpoint", "b"), ("role", "both"), ("scope", "fts.example"))}
    assert found[-1][0].summary.startswith("b within itself (staging) is silent since ")


def test_a_small_or_a_young_instance_may_rest() -> None:
    small = SilentLinkJudge()
    for w in range(300):
        play(small, w, [link(3), link(2, source="c")])
    assert not any(play(small, 300 + i, []) for i in range(5))
    assert not any(play(learned(10), 10 + i, []) for i in range(3))


def test_an_instance_that_stopped_for_good_is_given_up() -> None:
    judged = learned(40)
    found = [bool(play(judged, 40 + i, [])) for i in range(GIVEN_UP + 100)]
    assert found == [True] * GIVEN_UP + [False] * 100


def test_the_queue_is_named() -> None:
    judged = learned()
    found = [play(judged, 300 + i, [link(0, submitted=70), *rest(i)]) for i in range(12)]
    assert "70 files wait in its queue" in found[-1][0].summary


def test_a_subject_that_stopped_for_good_is_forgotten() -> None:
    judged = learned()
    found = [bool(play(judged, 300 + i, rest(i))) for i in range(GIVEN_UP + 20)]
    assert any(found)
    assert not any(found[GIVEN_UP + 1 :])


def test_a_bursty_link_may_rest() -> None:
    """Active six windows, then resting for eighteen, again and again: rests of up to thirty are its habit."""
    judged = SilentLinkJudge()
    for w in range(480):
        assert play(judged, w, [*([link(30)] if w % 24 < 6 else []), *rest(w)]) == []
    assert not any(play(judged, 480 + i, rest(i)) for i in range(30))


def test_a_healthy_stream_hardly_ever_raises_it() -> None:
    """Two days of 400 links, 40 % of which start and stop at random: windows in alarm <= 3 tests · 1e-4 + 4 sigma.

    Windows in alarm come in runs, so that they vary more than a Poisson number; the runs themselves are at most four.
    """
    judged, tests, stories, count = SilentLinkJudge(), 0, set(), 0
    for window, links in windows(288, seed=1, links=400):
        findings = judged.judge(closing(judged, window, links))
        tests += judged.tests["silent"]
        count += len(findings)
        stories |= {f.summary.split(":")[0] for f in findings}
    assert tests * 1e-4 > 3
    assert count <= 3 * tests * 1e-4 + 4 * np.sqrt(tests * 1e-4)
    assert len(stories) <= 4


def silenced(w: int, state: dict[str, Any]) -> None:
    if w >= 200:
        state["n"][state["destination"] == 3] = 0


def test_a_destination_that_falls_silent_in_a_busy_instance_is_found() -> None:
    judged = SilentLinkJudge()
    found = [judged.judge(closing(judged, w, links)) for w, links in windows(212, seed=5, change=silenced)]
    subject = {"scope": "fts.example", "endpoint": host(3), "role": "destination"}
    hits = [i for i, findings in enumerate(found) if subject in [f.subject for f in findings]]
    assert hits
    assert 200 < hits[0] <= 211
    assert not [f for f in found[-1] if f.subject.get("destination") == host(3)]


STREAM = list(windows(70, seed=8, sites=8, links=30, change=lambda w, s: s["n"].__imul__(w % 50 < 40)))


@settings(max_examples=6, deadline=None)
@given(cuts=st.sets(st.integers(1, 69), max_size=4))
def test_restored_anywhere_it_says_the_same(cuts: set[int]) -> None:
    straight, restored = SilentLinkJudge(), SilentLinkJudge()
    loud = SilentLinkJudge.Settings(emit=-0.5)
    for w, (window, links) in enumerate(STREAM):
        if w in cuts:
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(restored.state()))
            restored = SilentLinkJudge()
            restored.restore(state)
        one = closing(restored, window, links, settings=loud)
        assert restored.judge(one) == straight.judge(one)
    assert restored.state() == straight.state()
