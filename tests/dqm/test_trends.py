"""Slow changes that references follow: found, once, with a picture; and quiet where nothing ages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from opintel.detector import Closing, Controls, Message, Record, WindowRows
from opintel.dqm.histograms import Listing
from opintel.dqm.quality.trends import TrendJudge, TrendJudgeSettings
from opintel.dqm.records import HistogramOutcome, ManifestListed, run_key
from opintel.dqm.rolling.reducer import DqmReducer, DqmReducerSettings
from opintel.dqm.simulated.simulate import DqmSimulator
from opintel.dqm.wire import DqmWire, ends
from opintel.evidence import Series, Table
from opintel.finding import NS, Finding, Window
from opintel.stats.drift import DriftTest, Points

from .lumisections import Stages, element

LENGTH = 23 * NS
ENTRIES = 5000.0
Told = Callable[[int, np.random.Generator], float]


def lumisection(
    n: int,
    means: dict[str, float],
    *,
    run: int = 7,
    pileup: float | None = None,
    log10_p: float = 0.0,
    empty: float = 0.1,
    **listing: Any,
) -> Closing:
    """Lumisection `n` of a subsystem whose histograms have these means, width 9."""
    window = Window(n * LENGTH, (n + 1) * LENGTH)
    said = {
        f"T||{path}": HistogramOutcome(run, n, "judged", ENTRIES, ENTRIES, n, log10_p, tracked=(mean, 9.0, empty))
        for path, mean in means.items()
    }
    records: list[Record[Any]] = [Record(window, "outcome", run_key(run, key), "T", one) for key, one in said.items()]
    about = Listing(pileup=pileup, luminosity=23.0, **listing)
    records.insert(0, Record(window, "listed", run_key(run, "T||*"), "T", ManifestListed(run, n, about)))
    return Closing(window, "T", records, Controls(), TrendJudgeSettings(), "m", complete=True)


def play(
    told: Told, lumisections: int = 140, seed: int = 1, judge: TrendJudge | None = None, **about: Any
) -> list[Finding]:
    """One histogram whose mean at lumisection n is told, and one that only scatters."""
    rng, judge, found = np.random.default_rng(1), TrendJudge(), []
    for n in range(140):
        found += judge.judge(lumisection(n, {"aged": told(n, rng), "calm": 30.0 + rng.normal(0, 0.13)}, **about))
    return found


def ageing(n: int, rng: np.random.Generator) -> float:
    return 30.0 + rng.normal(0, 0.13) - 0.03 * max(0, n - 60)


def test_a_drift_is_found_once_or_a_few_times_and_said_with_its_picture() -> None:
    found = play(ageing)
    assert 1 <= len(found) <= 5
    assert {f.subject["histogram"] for f in found} == {"aged"}
    first = found[0]
    assert (first.kind, first.basis, first.severity) == ("trend", "extrapolated", "warning")
    assert first.log10_p is not None
    assert first.log10_p <= -6.0
    assert 61 < first.window.start // LENGTH < 120
    (series,) = [block for block in first.evidence if isinstance(block, Series)]
    assert series.expected is not None
    assert series.expected.high[-1] < series.expected.low[0]
    surer = [f.log10_p for f in found if f.log10_p is not None]
    assert surer == sorted(surer, reverse=True)


def test_scatter_steps_and_a_drift_too_small_to_matter_are_no_trends() -> None:
    """White scatter, a random walk, a step and a drift of a hundredth of a width: 4 series, each with a chance of 1e-6
    at each of 25 points; a walk's is some times as large."""
    walked = np.cumsum(np.random.default_rng(2).normal(0, 0.1, 200))
    stories: list[Told] = [
        lambda n, rng: 30.0 + rng.normal(0, 0.13),
        lambda n, rng: 30.0 + float(walked[n]),
        lambda n, rng: 30.0 + rng.normal(0, 0.13) - 3.0 * (n >= 80),
        lambda n, rng: 30.0 + rng.normal(0, 0.001) - 0.001 * max(0, n - 60),
    ]
    assert [f for told in stories for f in play(told)] == []


@pytest.mark.parametrize("ages", [False, True])
def test_what_follows_the_pileup_is_no_ageing_and_ageing_beside_it_is_found(ages: bool) -> None:
    judge, rng, found = TrendJudge(), np.random.default_rng(4), []
    for n in range(160):
        pileup = 55.0 * np.exp(-n / 300.0)
        mean = 30.0 + 0.4 * pileup + rng.normal(0, 0.13) - ages * 0.06 * max(0, n - 70)
        found += judge.judge(lumisection(n, {"h": mean}, pileup=pileup))
    assert bool(found) == ages


def test_ageing_over_runs_is_found_though_no_run_shows_it() -> None:
    """A run's mean scatters by .1, and falls by .3 from one to the next: within a run it is lost."""
    judge, rng, found = TrendJudge(), np.random.default_rng(5), []
    for run in range(26):
        offset = rng.normal(0, 0.1) - 0.3 * max(0, run - 12)
        for n in range(8):
            mean = 30.0 + offset + rng.normal(0, 0.05)
            found += judge.judge(lumisection(8 * run + n, {"h": mean}, run=run))
    assert found
    assert {
        row[1] for f in found for b in f.evidence if isinstance(b, Table) for row in b.rows if row[0] == "points"
    } & {f"{n}, over runs" for n in range(12, 31)}


def test_lumisections_that_stand_out_or_were_taken_without_beams_say_nothing() -> None:
    assert play(ageing, log10_p=-5.0) == []
    assert play(ageing, stable_beams=False) == []


def test_it_says_when_a_limit_will_be_reached() -> None:
    judge, rng = TrendJudge(), np.random.default_rng(6)
    settings = TrendJudgeSettings(limits={"*aged": (27.0, 40.0)})
    said = [
        f for n in range(140) for f in judge.judge(lumisection(n, {"aged": ageing(n, rng)})._replace(settings=settings))
    ]
    hours = (160 - said[0].window.start // LENGTH) * LENGTH / 3600 / NS
    assert "limit 27" in said[0].summary
    away = float(said[0].summary.partition("limit 27 is ")[2].partition(" h")[0])
    assert abs(away - hours) < 0.4 * hours


def test_many_that_drift_together_are_one_finding_about_the_subsystem() -> None:
    judge, rng, found = TrendJudge(), np.random.default_rng(7), []
    for n in range(140):
        found += judge.judge(lumisection(n, {f"h{i}": ageing(n, rng) for i in range(30)}))
    together = [f for f in found if "histogram" not in f.subject]
    assert together
    assert len(found) < 16
    assert "of 30 histograms drift" in together[0].summary


def test_operators_answers_make_a_trend_less_surprising() -> None:
    judge, rng, p = TrendJudge(), np.random.default_rng(1), {}
    said = Controls({("feedback", "T||aged"): (1, {"decades": 3})})
    for decades in (Controls(), said):
        judge, rng = TrendJudge(), np.random.default_rng(1)
        p[decades] = [
            f.window.start
            for n in range(140)
            for f in judge.judge(lumisection(n, {"aged": ageing(n, rng)})._replace(controls=decades))
        ]
    assert p[said][0] > p[next(iter(p))][0]


def test_it_goes_on_from_its_state_and_forgets_what_does_not_come_any_more() -> None:
    rng, judge = np.random.default_rng(1), TrendJudge()
    whole, resumed = [], []
    other = TrendJudge()
    for n in range(150):
        means = {"aged": ageing(n, rng), "calm": 30.0 + rng.normal(0, 0.13)} | ({"gone": 1.0} if n < 9 else {})
        whole += judge.judge(lumisection(n, means, run=7 + n // 70))
        if n % 13 == 5:
            again = TrendJudge()
            again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(other.state()), strict=False))
            other = again
        resumed += other.judge(lumisection(n, means, run=7 + n // 70))
    assert whole == resumed
    assert whole
    assert msgspec.msgpack.encode(judge.state()) == msgspec.msgpack.encode(other.state())


def test_p_of_a_drift_is_calibrated_or_cautious() -> None:
    """1,200 series of 26 points each: of white scatter, scatter that is correlated by .5, and runs with offsets, at
    most 1.5 % have p <= .01 (the chance of more, if it were 1 %, is .04); of a walk, which no noise here is, 4 %."""
    rng, many, m = np.random.default_rng(3), 1200, 26
    runs = np.arange(m) // 8
    test = DriftTest(Points(np.arange(m) * 1.0, 55.0 * np.exp(-np.arange(m) / 75.0)[:, None], runs.astype(float)))
    white = rng.standard_normal((m, many))
    correlated = np.zeros((m, many))
    for n in range(m):
        correlated[n] = 0.5 * correlated[n - 1] * (n > 0) + rng.standard_normal(many)
    offsets = white + 1.5 * rng.standard_normal((4, many))[runs]
    for noise, most in ((white, 0.015), (correlated, 0.015), (offsets, 0.015), (np.cumsum(white, axis=0), 0.04)):
        screened = test.screen(noise)
        p = np.array([test.test(noise[:, n]).log10_p if screened[n] <= -2.0 else 0.0 for n in range(many)])
        assert (p <= -2.0).mean() <= most


def test_the_simulated_detectors_ageing_is_found_before_it_ends() -> None:
    story = DqmSimulator(seed=1, hours=4.5, quiet_hours=1.5, length=120.0, faults=["slow-ageing"], histograms=3)
    (fault,) = story.truth
    reducer, judge, wire, found = DqmReducer(), TrendJudge(), DqmWire(), []
    for _, body in story.messages():
        rows = wire.decode([Message(body)]).rows.by_key()
        if f"{fault.subject['scope']}||*" not in rows.key.values:
            continue
        window = Window(int(rows.time[0]), int(ends(rows)[0]))
        reduced = reducer.close(WindowRows(window, rows, rows.cut(0, 0), Controls(), DqmReducerSettings(), {}))
        about = (reduced.records, Controls(), TrendJudgeSettings(), "m", True)
        found += judge.judge(Closing(window, fault.subject["scope"], *about))
    assert found
    assert all(one.subject == fault.subject for one in found)
    assert fault.start < found[0].window.end < fault.end


@pytest.mark.parametrize("bins", [1, 4])
def test_one_empty_bin_more_is_no_trend(bins: int) -> None:
    """Of 30 bins, while the pile-up falls: one that is empty from the middle on is too few, four one after the other
    are a trend."""
    judge, rng, found = TrendJudge(), np.random.default_rng(9), []
    for n in range(140):
        gone = bins * max(0, n - 70) / 70 + rng.normal(0, 0.02)
        about = {"pileup": 55.0 * float(np.exp(-n / 300.0)), "empty": gone / 30}
        found += judge.judge(lumisection(n, {"h": 30.0 + rng.normal(0, 0.13)}, **about))
    assert bool(found) == (bins > 1)


def test_empty_bins_are_followed_where_entries_do_not_decide_them() -> None:
    """A tail has fewer of them the more entries there are; a filled histogram with dead channels as many as these."""
    rng, stages = np.random.default_rng(8), Stages()
    tail, filled = 400.0 * np.exp(-np.arange(40) / 5.0), np.full(40, 60.0)
    filled[[3, 17]] = 0.0
    stages.play(5, [1], lambda _: [element("T/tail", rng.poisson(tail)), element("T/filled", rng.poisson(filled))])
    empty = {r.key.rpartition("/")[2]: r.payload.tracked[2] for r in stages.records if r.kind == "outcome"}
    assert empty == {"tail": None, "filled": pytest.approx(2 / 40)}
