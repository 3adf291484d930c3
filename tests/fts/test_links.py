from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from link_streams import SIZE, closing, host, windows

from opintel.finding import Finding, Window
from opintel.fts.judging.failures import LinkJudge, LinkSettings
from opintel.fts.judging.suspects import FLOOR
from opintel.fts.link_windows import SLICES, LinkWindow
from opintel.fts.links import judge
from opintel.stats.counts import shape


def grid(
    seed: int,
    mean: float,
    rho: float,
    *,
    bad_sources: int = 0,
    bad_destinations: int = 0,
    cuts: int = 0,
    links: int = 1200,
    sites: int = 60,
) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """(counts, link is explained by a bad endpoint, link is cut) of one simulated window with heavy-tailed counts."""
    rng = np.random.default_rng(seed)
    weight = np.outer(rng.pareto(1.2, sites) + 0.2, rng.pareto(1.2, sites) + 0.2).ravel()
    s, d = np.divmod(rng.choice(sites * sites, links, replace=False, p=weight / weight.sum()), sites)
    n = np.minimum(rng.zipf(1.5, links), 5000)
    p = rng.beta(*shape(mean, rho), links)
    down = (s < bad_sources) | (d < bad_destinations)
    p[down] = rng.uniform(0.7, 1.0, down.sum())
    cut = np.zeros(links, dtype=np.bool_)
    cut[rng.choice(np.flatnonzero(~down), cuts, replace=False)] = True
    n[cut] = np.maximum(n[cut], 30)
    p[cut] = rng.uniform(0.8, 1.0, cut.sum())
    names = {"source": [f"s{i}" for i in s], "destination": [f"d{i}" for i in d]}
    return pa.table({**names, "transfers": n, "failures": rng.binomial(n, p)}), down, cut


def verdict(table: pa.Table) -> tuple[dict[tuple[str, str], tuple[float, bool]], np.ndarray, np.ndarray]:
    """((role, host) → (p, flagged), p of links, flags of links)."""
    rows = table.to_pylist()
    ends = {(r["kind"], r[r["kind"]]): (r["p_value"], r["flagged"]) for r in rows if r["kind"] != "link"}
    links = [r for r in rows if r["kind"] == "link"]
    return ends, np.array([r["p_value"] for r in links]), np.array([r["flagged"] for r in links])


@pytest.mark.parametrize(("mean", "rho"), [(0.02, 0.02), (0.05, 0.1), (0.1, 0.3), (0.01, 0.3)])
def test_p_values_of_a_healthy_window_are_calibrated(mean: float, rho: float) -> None:
    """15 windows of 1200 links, fixed seeds: exceedances at most nominal + 4 standard errors, mean 1/2."""
    links, ends, flags = [], [], 0
    for seed in range(15):
        end, p, flagged = verdict(judge(grid(seed, mean, rho)[0]))
        links.append(p)
        ends += [p for p, _ in end.values()]
        flags += int(flagged.sum()) + sum(f for _, f in end.values())
    p = np.concatenate(links)
    assert p.mean() == pytest.approx(0.5, abs=0.02)
    for level in (0.1, 0.01, 0.001):
        assert (p <= level).mean() <= 1.3 * level + 4 * np.sqrt(level / len(p))
        assert (np.array(ends) <= level).mean() <= 1.3 * level + 4 * np.sqrt(level / len(ends))
    assert (p <= 0.01).mean() >= 0.003
    assert flags <= 6


@pytest.mark.parametrize(("mean", "rho"), [(0.02, 0.02), (0.05, 0.1), (0.1, 0.3)])
def test_failing_endpoints_are_found_and_explain_their_links(mean: float, rho: float) -> None:
    """A fifth of all links fail because of 12 endpoints of 120; false endpoints stay below the rate asked for."""
    found = wrong = bad = 0
    for seed in range(8):
        table, down, _ = grid(seed, mean, rho, bad_sources=6, bad_destinations=6)
        assert 0.1 < down.mean() < 0.45
        ends, _, flagged = verdict(judge(table))
        for (_, name), (_, hit) in ends.items():
            is_bad = int(name[1:]) < 6
            bad += is_bad
            found += hit and is_bad
            wrong += hit and not is_bad
        assert flagged[down].sum() <= 1
    assert found >= 0.9 * bad
    assert wrong <= 0.05 * (found + wrong) + 2


def test_cut_links_are_flagged_as_links_not_as_endpoints() -> None:
    found = wrong = ends_hit = 0
    for seed in range(8):
        table, _, cut = grid(seed, 0.03, 0.05, cuts=15)
        ends, _, flagged = verdict(judge(table))
        found += int(flagged[cut].sum())
        wrong += int(flagged[~cut].sum())
        ends_hit += sum(hit for _, hit in ends.values())
    assert found >= 0.9 * 8 * 15
    assert wrong <= 0.1 * (found + wrong)
    assert ends_hit <= 2


def test_one_dead_heavy_link_does_not_flag_its_endpoints() -> None:
    table, *_ = grid(1, 0.03, 0.05)
    rows = [r for r in table.to_pylist() if (r["source"], r["destination"]) != ("s0", "d0")]
    rows.append({"source": "s0", "destination": "d0", "transfers": 3000, "failures": 2900})
    ends, _, flagged = verdict(judge(pa.Table.from_pylist(rows)))
    assert flagged[-1]
    assert not ends["source", "s0"][1]
    assert not ends["destination", "d0"][1]


def test_low_counts() -> None:
    counts = [(0, 0), (1, 0), (1, 1), (5, 5), (5, 0)]
    background = pa.Table.from_pylist(grid(2, 0.05, 0.1)[0].to_pylist())
    more = [
        {"source": f"x{i}", "destination": f"y{i}", "transfers": n, "failures": k} for i, (n, k) in enumerate(counts)
    ]
    _, p, flagged = verdict(judge(pa.concat_tables([background, pa.Table.from_pylist(more)])))
    none, success, failure, dead, fine = p[-5:]
    assert none == 0.5
    assert 0.5 < success < fine < 0.7
    assert 0.01 < failure < 0.05
    assert dead < 1e-3
    assert not flagged[-5:-2].any()


def test_the_result_has_every_endpoint_and_link() -> None:
    counts = {"source": ["a", "a"], "destination": ["b", "c"], "transfers": [10, 0], "failures": [1, 0]}
    found = judge(pa.table(counts))
    names = ["kind", "source", "destination", "transfers", "failures", "p_value", "flagged"]
    assert found.column_names == names
    assert [(r["kind"], r["source"], r["destination"], r["transfers"]) for r in found.to_pylist()] == [
        ("source", "a", None, 10),
        ("destination", None, "b", 10),
        ("destination", None, "c", 0),
        ("link", "a", "b", 10),
        ("link", "a", "c", 0),
    ]
    empty = pa.table({c: pa.array([], t) for c, t in zip(counts, [pa.string()] * 2 + [pa.int64()] * 2, strict=True)})
    assert judge(empty).num_rows == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"failures": [2, 0]}, "row 0: failures > transfers"),
        ({"transfers": [1, -1]}, "row 1: transfers < 0"),
        ({"failures": [-1, 0]}, "row 0: failures < 0"),
        ({"source": ["a", None]}, "source is null in row 1"),
        ({"failures": [None, 0]}, "failures is null in row 0"),
        ({"destination": ["b", "b"]}, "rows 0 and 1 are the same link"),
        ({"transfers": [1.0, 2.0]}, "transfers: expected an integer column"),
        ({"source": [1, 2]}, "source: expected a text column"),
        ({"extra": [1, 2]}, "expected the columns"),
    ],
)
def test_bad_tables_are_refused(change: dict[str, list[Any]], words: str) -> None:
    good: dict[str, list[Any]] = {
        "source": ["a", "a"],
        "destination": ["b", "c"],
        "transfers": [1, 2],
        "failures": [1, 0],
    }
    with pytest.raises(ValueError, match=words):
        judge(pa.table(good | change))
    with pytest.raises(ValueError, match="fdr"):
        judge(pa.table(good), fdr=5.0)
    with pytest.raises(ValueError, match="pyarrow"):
        judge(good)  # type: ignore[arg-type]


def run(judged: LinkJudge, stream: Any, **kwargs: Any) -> list[list[Finding]]:
    return [judged.judge(closing(judged, window, links, **kwargs)) for window, links in stream]


def test_a_healthy_stream_stays_within_its_false_alarm_rate() -> None:
    """Two days of 500 links with chronic ones, bursts and bad hours: findings <= tests · 1e-4 · 1.5 + 4 sigma."""
    judged, tests, findings = LinkJudge(), 0, 0
    for window, links in windows(288, seed=2, shift=0.3):
        findings += len(judged.judge(closing(judged, window, links)))
        tests += sum(judged.tests.values())
    expected = tests * 1e-4
    assert expected > 5
    assert findings <= 1.5 * expected + 4 * np.sqrt(expected)


@cache
def of_a_day() -> bytes:
    """The state of a judge that has seen the first 150 windows of `windows(seed=5)`, in which nothing is wrong."""
    judged = LinkJudge()
    run(judged, windows(150, seed=5))
    return msgspec.msgpack.encode(judged.state())


def after_a_day(stream: Any) -> list[list[Finding]]:
    """What that judge says of the windows of a stream from the 150th on."""
    judged = LinkJudge()
    judged.restore(msgspec.msgpack.decode(of_a_day()))
    return run(judged, itertools.islice(stream, 150, None))


def destination_down(w: int, state: dict[str, Any]) -> None:
    if 150 <= w < 156:
        state["p"][state["destination"] == 3] = 0.9


def test_a_dead_destination_is_one_finding_in_its_first_window() -> None:
    found = after_a_day(windows(156, seed=5, change=destination_down))
    for findings in found:
        (finding,) = [f for f in findings if f.kind == "endpoint"]
        assert finding.subject == {"scope": "fts.example", "endpoint": host(3), "role": "destination"}
        assert finding.log10_p is not None
        assert FLOOR <= finding.log10_p <= -8
        assert finding.effect.value > 0.7
        assert not [f for f in findings if f.kind == "link" and host(3) in f.subject.values()]
        assert [b.__class__.__name__ for b in finding.evidence] == ["Series", "Matrix", "Texts", "Texts", "Table"]
        assert msgspec.json.decode(msgspec.json.encode(finding))
    first, later = (next(f for f in found[w] if f.kind == "endpoint") for w in (0, 3))
    assert "fails as destination" in first.summary
    assert "mostly 'connection to <host> timed out'" in first.summary
    assert first.onset is not None
    assert later.onset is None
    assert "since 23:20 " in first.summary
    assert "since 15 Nov 23:20 " in later.summary
    assert first.severity == "critical"


def both_roles_down(w: int, state: dict[str, Any]) -> None:
    if w >= 100:
        state["p"][(state["destination"] == 3) | (state["source"] == 3)] = 0.95


def test_an_endpoint_that_fails_in_both_roles_is_one_finding() -> None:
    found = run(LinkJudge(), windows(102, seed=6, traffic=3.0, change=both_roles_down))
    ends = [f for f in found[100] if f.kind == "endpoint"]
    assert [(f.subject["endpoint"], f.subject["role"]) for f in ends] == [(host(3), "both")]


def test_a_cut_link_is_a_link_and_its_way_back_is_fine() -> None:
    chosen: list[tuple[int, int]] = []

    def cut(w: int, state: dict[str, Any]) -> None:
        if w == 150:
            busy = int(np.argmax(state["n"]))
            chosen.append((int(state["source"][busy]), int(state["destination"][busy])))
        if w >= 150:
            s, d = chosen[0]
            state["p"][(state["source"] == s) & (state["destination"] == d)] = 0.95

    found = after_a_day(windows(153, seed=5, change=cut))
    ((s, d),) = chosen
    for findings in found:
        assert {"scope": "fts.example", "source": host(s), "destination": host(d)} in [f.subject for f in findings]
        assert not [f for f in findings if f.kind == "endpoint"]
        assert host(s) not in [f.subject.get("destination") for f in findings]


def steady(w: int, failed: int, ok: int = 0, *, source: str = "a", destination: str = "b") -> LinkWindow:
    slices = [(0, ok, failed, 0, 0.0)]
    return LinkWindow(source, destination, ok, failed, 0, ok + failed, 0, slices, (0, 0.0, 0.0), [])


def others(w: int) -> list[LinkWindow]:
    """Thirty links that fail now and then, some windows more than others."""
    failed = np.random.default_rng([7, w]).binomial(20, np.random.default_rng([8, w]).beta(0.4, 12.0, 30)).tolist()
    return [steady(w, k, 20 - k, source=f"s{i}", destination=f"d{i}") for i, k in enumerate(failed)]


def lone(judged: LinkJudge, w: int, failed: int, ok: int) -> list[Finding]:
    links = [steady(w, failed, ok), *others(w)]
    return judged.judge(closing(judged, Window(w * SIZE, (w + 1) * SIZE), links))


def test_a_chronic_link_is_no_news_but_its_death_is() -> None:
    judged = LinkJudge()
    said = [f.subject.get("source") for w in range(300) for f in lone(judged, w, 6, 14)]
    assert "a" not in said
    (dead,) = [f for f in lone(judged, 300, 40, 0) if f.subject.get("source") == "a"]
    assert dead.effect.value == 1.0
    assert "(usual 2" in dead.summary or "(usual 3" in dead.summary


def test_a_fault_does_not_become_the_norm_within_hours() -> None:
    judged = LinkJudge()
    for w in range(300):
        lone(judged, w, 0, 20)
    assert all(lone(judged, w, 20, 0) for w in range(300, 300 + 36))


def test_the_first_windows_only_teach() -> None:
    judged = LinkJudge()
    for w in range(LinkSettings().warm_up):
        assert lone(judged, w, 100, 0) == []


def test_onset_is_the_slice_in_which_it_began() -> None:
    judged = LinkJudge()
    for w in range(100):
        lone(judged, w, 0, 50)
    slices = [(at, 5, 0, 0, 0.0) for at in range(6)] + [(at, 0, 5, 0, 0.0) for at in range(6, 10)]
    fault = LinkWindow("a", "b", 30, 20, 0, 50, 0, slices, (0, 0.0, 0.0), [])
    (found,) = judged.judge(closing(judged, Window(100 * SIZE, 101 * SIZE), [fault, *others(100)]))
    assert found.onset == 100 * SIZE + 6 * (SIZE // SLICES)


def test_a_link_between_two_that_fail_is_in_the_story_of_neither() -> None:
    """The heaviest sender to D has failed for an hour when D's disk fills, in the middle of a window."""
    judged = LinkJudge()

    def link(source: str, destination: str, fails_from: int, why: str, files: int = 3) -> LinkWindow:
        slices = [(at, *((files, 0) if at < fails_from else (0, files)), 0, 0.0) for at in range(SLICES)]
        ok, failed = files * fails_from, files * (SLICES - fails_from)
        forms = [(why, why, failed, why)] if failed else []
        return LinkWindow(source, destination, ok, failed, 0, ok + failed, 0, slices, (0, 0.0, 0.0), forms)

    def network(w: int) -> list[LinkWindow]:
        full = 6 if w == 106 else SLICES
        expired = [link("S", f"d{i}", 0 if w >= 100 else SLICES, "certificate expired") for i in range(8)]
        filling = [link(f"s{i}", "D", full, "no space left") for i in range(8)]
        both = link("S", "D", 0 if w >= 100 else SLICES, "certificate expired", files=30)
        return [*expired, *filling, both, *others(w)]

    found = [judged.judge(closing(judged, Window(w * SIZE, (w + 1) * SIZE), network(w))) for w in range(107)]
    by_name = {f.subject["endpoint"]: f for f in found[106]}
    assert set(by_name) == {"S", "D"}
    assert by_name["D"].onset == 106 * SIZE + 6 * (SIZE // SLICES)
    assert "96 of 240 files" in by_name["D"].summary
    assert "no space left" in by_name["D"].summary
    assert "certificate expired" in by_name["S"].summary


def test_an_endpoint_that_stages_is_no_link_to_itself() -> None:
    judged = LinkJudge()
    for w in range(100):
        judged.judge(closing(judged, Window(w * SIZE, (w + 1) * SIZE), [steady(w, 0, 20, source="b"), *others(w)]))
    staging = [steady(100, 20, source="b"), *others(100)]
    (found,) = judged.judge(closing(judged, Window(100 * SIZE, 101 * SIZE), staging))
    assert (found.kind, found.subject) == ("endpoint", {"scope": "fts.example", "endpoint": "b", "role": "both"})
    assert found.summary.startswith("b fails within itself (staging): 20 of 20 files since ")
    # where its transfers fail too, that is one finding about it, which names its partners
    down = [*staging, *(steady(101, 20, source="b", destination=f"d{i}") for i in range(5)), *others(101)]
    (found,) = [
        f for f in judged.judge(closing(judged, Window(101 * SIZE, 102 * SIZE), down)) if "b" in f.summary.split()
    ]
    assert found.subject == {"scope": "fts.example", "endpoint": "b", "role": "source"}
    assert "to 5 destinations" in found.summary


def test_emission_level_and_cap() -> None:
    judged = LinkJudge()
    few = LinkSettings(emit=-2.0, max_findings=1)
    found = run(judged, windows(40, seed=1), settings=few)
    assert max(len(f) for f in found) == 1
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"emmit": -3.0}, LinkSettings)


def test_a_window_without_records_is_fine() -> None:
    judged = LinkJudge()
    assert judged.judge(closing(judged, Window(0, SIZE), [])) == []
    assert judged.tests == {"endpoint": 0, "link": 0, "shared-cause": 1}


def source_down(w: int, state: dict[str, Any]) -> None:
    if w > 25:
        state["p"][state["source"] == 2] = 0.9


STREAM = list(windows(40, seed=8, sites=12, links=60, change=source_down))


@cache
def straight_on() -> tuple[list[list[Finding]], dict[str, Any]]:
    """What a judge says of the stream that is never restored, and its state in the end."""
    judged = LinkJudge()
    return run(judged, STREAM), judged.state()


@settings(max_examples=6, deadline=None)
@given(cuts=st.sets(st.integers(1, 39), max_size=4))
def test_restored_anywhere_it_says_the_same(cuts: set[int]) -> None:
    found, state_then = straight_on()
    restored = LinkJudge()
    for w, (window, links) in enumerate(STREAM):
        if w in cuts:
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(restored.state()))
            restored = LinkJudge()
            restored.restore(state)
        assert restored.judge(closing(restored, window, links)) == found[w]
    assert restored.state() == state_then
