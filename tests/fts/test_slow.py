from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from link_streams import SIZE, closing, windows

from opintel.finding import Finding, Window
from opintel.fts.judging.slow import SlowJudge
from opintel.fts.link_windows import SLICES, LinkWindow


def link(rates: np.ndarray, source: str = "a") -> LinkWindow:
    n = len(rates)
    log_rate = (n, float(rates.sum()), float((rates**2).sum()))
    return LinkWindow(source, "b", n, 0, 0, n, n, [(0, n, 0, *log_rate[:2])], log_rate, [])


def play(judged: SlowJudge, w: int, links: list[LinkWindow]) -> list[Finding]:
    return judged.judge(closing(judged, Window(w * SIZE, (w + 1) * SIZE), links))


def learned(rng: np.random.Generator, windows: int = 100) -> SlowJudge:
    judged = SlowJudge()
    for w in range(windows):
        play(judged, w, [link(rng.normal(17.0 + rng.normal(0, 0.2), 0.5, 6))])
    return judged


def test_a_slow_link_is_found_at_once_and_stays_found() -> None:
    rng = np.random.default_rng(1)
    judged = learned(rng)
    found = [play(judged, 100 + i, [link(rng.normal(17.0 - np.log(8.0), 0.5, 6))]) for i in range(36)]
    assert all(found)
    (first,), (later,) = found[0], found[3]
    assert first.subject == {"scope": "fts.example", "source": "a", "destination": "b"}
    assert first.effect.value == pytest.approx(8.0, rel=1.0)
    assert first.basis == "extrapolated"
    assert "times slower since 16:40" in first.summary
    assert "since 16:40" in later.summary
    assert (first.onset, later.onset) == (100 * SIZE, None)


@pytest.mark.parametrize("absurd", [1e300, 1e-300])
def test_one_absurd_rate_does_not_hide_what_the_next_hours_say(absurd: float) -> None:
    """Of the link itself, nor of another one through the variance of all."""
    rng = np.random.default_rng(5)
    judged, fine = SlowJudge(), [17.0, 0.5]
    for w in range(100):
        play(judged, w, [link(rng.normal(*fine, 6), source) for source in "ac"])
    play(judged, 100, [link(np.append(rng.normal(*fine, 5), np.log(absurd))), link(rng.normal(*fine, 6), "c")])
    for w in range(101, 107):
        assert play(judged, w, [link(rng.normal(*fine, 6), source) for source in "ac"]) == []
    found = [play(judged, 107 + w, [link(rng.normal(15.0, 0.5, 6), source) for source in "ac"]) for w in range(3)]
    assert [{f.subject["source"] for f in one} for one in found] == [{"a", "c"}] * 3


def test_an_endpoint_s_own_transfers_are_no_link() -> None:
    rng, judged = np.random.default_rng(2), SlowJudge()
    for w in range(100):
        play(judged, w, [link(rng.normal(17.0, 0.5, 6), "b")])
    (found,) = play(judged, 100, [link(rng.normal(14.0, 0.5, 6), "b")])
    assert found.subject == {"scope": "fts.example", "endpoint": "b", "role": "both"}
    assert found.summary.startswith("b within itself (staging) is ")


def test_onset_is_the_slice_from_which_on_it_is_slow() -> None:
    rng = np.random.default_rng(3)
    judged = learned(rng)
    slices = [(3, 3 * 17.1)] * 4 + [(0, 0.0)] + [(2, 2 * 13.0)] * 5
    n, total = sum(c for c, _ in slices), sum(s for _, s in slices)
    squares = 12 * 17.1**2 + 10 * 13.0**2
    parts = [(at, count, 0, count, part) for at, (count, part) in enumerate(slices) if count]
    slow = LinkWindow("a", "b", n, 0, 0, n, n, parts, (n, total, squares), [])
    (found,) = play(judged, 100, [slow])
    assert found.onset == 100 * SIZE + 5 * (SIZE // SLICES)


def test_faster_few_or_new_is_no_finding() -> None:
    rng = np.random.default_rng(2)
    judged = learned(rng)
    assert play(judged, 100, [link(rng.normal(21.0, 0.5, 6))]) == []
    assert play(judged, 101, [link(np.array([10.0, 10.0]))]) == []
    assert play(judged, 102, [link(np.full(9, 5.0), source="new")]) == []
    assert judged.tests == {"slow": 0}


def test_p_values_of_a_healthy_stream_are_calibrated() -> None:
    """A day and a half of 300 links: at three levels at most 1.5 · nominal + 4 sigma, and not far below at 1e-2."""
    judged, tests = SlowJudge(), 0
    counts = dict.fromkeys((1e-2, 1e-3, 1e-4), 0)
    loud = SlowJudge.Settings(emit=-2.0, times_slower=1.0, max_findings=10_000)
    for window, links in windows(216, seed=4, links=300, traffic=2.0):
        for finding in judged.judge(closing(judged, window, links, settings=loud)):
            for level in counts:
                counts[level] += 10.0 ** (finding.log10_p or 0.0) <= level
        tests += judged.tests["slow"]
    assert tests > 10_000
    for level, count in counts.items():
        assert count <= 1.5 * level * tests + 4 * np.sqrt(level * tests)
    assert counts[1e-2] >= 0.4e-2 * tests


def slowed(w: int, state: dict[str, Any]) -> None:
    if w >= 40:
        state["rate"][state["source"] == 2] -= 2.5


STREAM = list(windows(50, seed=8, sites=10, links=40, change=slowed))


@settings(max_examples=6, deadline=None)
@given(cuts=st.sets(st.integers(1, 49), max_size=4))
def test_restored_anywhere_it_says_the_same(cuts: set[int]) -> None:
    straight, restored = SlowJudge(), SlowJudge()
    said = 0
    for w, (window, links) in enumerate(STREAM):
        if w in cuts:
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(restored.state()))
            restored = SlowJudge()
            restored.restore(state)
        found = restored.judge(closing(restored, window, links))
        assert found == straight.judge(closing(straight, window, links))
        said += len(found)
    assert said > 5
    assert restored.state() == straight.state()
