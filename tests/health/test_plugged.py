"""river's detectors in a stream: what they say of a series, that they go on as if nothing had happened after a restart,
and what is refused."""

from __future__ import annotations

import json
import math
import random
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from contract.cases import HEALTH_STREAM, START
from contract.harness import LOGS, Case, Outcome, drain, feed, outcome, workers
from hypothesis import given
from hypothesis import strategies as st

from opintel.detector import Closing, Controls, Record
from opintel.evidence import Series, Table
from opintel.finding import NS, Finding, Window
from opintel.health.pipeline import PIPELINE
from opintel.health.river.plain import MAX_BYTES, RiverKind, river_kind
from opintel.health.river.plugged import BLOCK, LEAST, PluggedJudge, PluggedSettings
from opintel.health.windows import SERIES, Point, SeriesWindow
from opintel.health.wire import HealthWire
from opintel.site.errors import ConfigError
from opintel.site.load import load_site
from opintel.site.shipped import shipped_folder
from opintel.site.watched import detector_settings
from opintel.streams.ingest import Ingester
from opintel.streams.records import Control

MINUTE = 60 * NS
TREES = {"n_trees": 5, "height": 6, "window_size": 100}
FORECAST = {"alpha": 0.3, "beta": 0.1, "gamma": 0.2, "seasonality": 24}
SAVED: dict[str, tuple[str, dict[str, Any]]] = {
    "gaussian": ("anomaly.GaussianScorer", {"grace_period": 100}),
    "gaussian, window": ("anomaly.GaussianScorer", {"window_size": 200, "grace_period": 50}),
    "absolute deviation": ("anomaly.StandardAbsoluteDeviation", {}),
    "trees": ("anomaly.HalfSpaceTrees", {**TREES, "limits": {"value": [-10, 10]}, "seed": 7}),
    "trees, no seed": ("anomaly.HalfSpaceTrees", {**TREES, "limits": {"value": [-10, 10]}}),
    "trees, scaled": (
        "compose.Pipeline",
        {
            "steps": [
                {"model": "preprocessing.MinMaxScaler"},
                {"model": "anomaly.HalfSpaceTrees", "parameters": TREES},
            ]
        },
    ),
    "neighbours": (
        "anomaly.LocalOutlierFactor",
        {"n_neighbors": 5, "engine": {"model": "neighbors.LazySearch", "parameters": {"window_size": 50}}},
    ),
    "projections": ("anomaly.LODA", {"n_random_cuts": 10}),
    "one class": ("anomaly.OneClassSVM", {"nu": 0.2}),
    "threshold": (
        "anomaly.ThresholdFilter",
        {"anomaly_detector": {"model": "anomaly.GaussianScorer"}, "threshold": 0.995},
    ),
    "predictive": ("anomaly.PredictiveAnomalyDetection", {"n_std": 4.0}),
    "predictive, seasons": (
        "anomaly.PredictiveAnomalyDetection",
        {"predictive_model": {"model": "time_series.HoltWinters", "parameters": FORECAST}},
    ),
    "predictive, autoregressive": (
        "anomaly.PredictiveAnomalyDetection",
        {"predictive_model": {"model": "time_series.SNARIMAX", "parameters": {"p": 3, "d": 1, "q": 2}}},
    ),
}
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "compiled state": (
        "anomaly.QuantileFilter",
        {"anomaly_detector": {"model": "anomaly.GaussianScorer"}, "q": 0.99},
        r"cannot be saved: its quantile\._quantile is a river\._river_rust\.stats\.RsQuantile",
    ),
    "too large": ("anomaly.HalfSpaceTrees", {}, rf"a state of \d+ bytes, at most {MAX_BYTES} are kept"),
    "unknown": ("anomaly.Nothing", {}, "river has no anomaly.Nothing"),
    "a forest": ("anomaly.HalfSpaceTrees", {"n_trees": 10**8}, "n_trees is at most 1000, got 100000000"),
    "a tall tree": ("anomaly.HalfSpaceTrees", {"n_trees": 1, "height": 40}, "height is at most 15, got 40"),
    "unknown room": ("nowhere.Nothing", {}, "river has no nowhere.Nothing"),
    "no detector": ("linear_model.LinearRegression", {}, "is no anomaly detector"),
    "no model": ("conf.Interval", {"lower": 0, "upper": 1}, "is no anomaly detector|is no model|cannot be"),
    "no name": ("os.system", {}, "a model is a name such as"),
    "above river": ("..os.Path", {}, "a model is a name such as"),
    "unknown parameter": ("anomaly.GaussianScorer", {"grace": 3}, "no parameter grace; it has window_size, grace"),
    "parameter missing": ("anomaly.ThresholdFilter", {}, "anomaly.ThresholdFilter: .*missing"),
    "parameter of a part": (
        "anomaly.ThresholdFilter",
        {"anomaly_detector": {"model": "anomaly.Nothing"}, "threshold": 1},
        "river has no anomaly.Nothing",
    ),
    "wrong value": ("anomaly.HalfSpaceTrees", {"n_trees": "many"}, "cannot learn a single number"),
}
GAUSSIAN = PluggedSettings(*SAVED["gaussian"], metrics=("load",))


def closing(n: int, values: Mapping[str, float | None], given: PluggedSettings = GAUSSIAN) -> Closing:
    window = Window(START + n * MINUTE, START + (n + 1) * MINUTE)
    records = [
        Record(
            window,
            SERIES,
            series,
            "node",
            SeriesWindow(1, 0, Point(window.start + NS, value, None, None), None, False, "", 0, window.start),
        )
        for series, value in sorted(values.items())
    ]
    return Closing(window, "node", records, Controls(), given, "model", True)


def restarted(judge: PluggedJudge) -> PluggedJudge:
    """A new judge from the other's checkpoint."""
    again = PluggedJudge()
    again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(judge.state())))
    return again


def story(windows: int, series: int = 2, seed: int = 1) -> list[dict[str, float | None]]:
    """Noise with a daily wave, gaps, and a jump of the first series near the end."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((windows, series)) + np.sin(np.arange(windows) / 30.0)[:, None]
    x[windows - 40, 0] = 9.0
    gaps = rng.random(x.shape) < 0.02
    return [{f'load{{n="{k}"}}': None if gaps[n, k] else float(x[n, k]) for k in range(series)} for n in range(windows)]


@pytest.mark.parametrize("name", SAVED)
def test_a_restarted_judge_goes_on_bit_for_bit(name: str) -> None:
    given = PluggedSettings(*SAVED[name], metrics=("load",))
    whole, again, told = PluggedJudge(), PluggedJudge(), 0
    for n, values in enumerate(story(1300)):
        expected = whole.judge(closing(n, values, given))
        assert again.judge(closing(n, values, given)) == expected
        assert again.tests == whole.tests
        told += len(expected)
        if n in (0, 1, 2, 23, 24, 49, 50, 99, 100) or n % 97 == 0:
            again = restarted(again)
    assert msgspec.msgpack.encode(again.state()) == msgspec.msgpack.encode(whole.state())
    assert whole.tests["plugged"] > 0
    models = [model for _, _, model in whole.state()["series"]]
    assert all(model is not None and len(msgspec.msgpack.encode(model)) <= MAX_BYTES for model in models)
    if name.startswith(("gaussian", "absolute", "threshold")):  # a jump is what these look for
        assert told


@pytest.mark.parametrize("name", SAVED)
def test_two_models_of_one_kind_give_the_same_scores(name: str) -> None:
    """Also where river draws at random: a generator without a seed would give others in each process."""
    one, other = RiverKind(*SAVED[name]), RiverKind(*SAVED[name])
    first, second = one.fresh(), other.fresh()
    for value in np.random.default_rng(3).standard_normal(150).tolist():
        if name != "predictive, seasons":  # it cannot score its first two seasons
            assert one.score(first, value) == other.score(second, value)
        one.learn(first, value)
        other.learn(second, value)
    assert one.plain(first) == other.plain(second)


def test_a_seed_that_is_given_counts() -> None:
    def trees(seed: int | None) -> Any:
        kind = RiverKind("anomaly.HalfSpaceTrees", {**TREES, "seed": seed})
        model = kind.fresh()
        kind.learn(model, 0.5)
        return kind.plain(model)[1]

    assert trees(1) != trees(2)
    assert trees(None) != trees(1)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_in_words(name: str) -> None:
    model, parameters, said = REFUSED[name]
    with pytest.raises(ValueError, match=said):
        PluggedSettings(model, parameters, ("load",))


def test_settings_that_say_nothing_are_refused_or_do_nothing() -> None:
    with pytest.raises(ValueError, match="`metrics` names"):
        PluggedSettings("anomaly.GaussianScorer")
    with pytest.raises(msgspec.ValidationError, match="<= -3"):
        msgspec.convert({"emit": -1.0}, PluggedSettings)
    judge = PluggedJudge()
    assert judge.judge(closing(0, {"load": 1.0}, PluggedSettings())) == []
    assert (judge.tests, judge.state()) == ({}, None)


@pytest.fixture
def without_river(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    river_kind.__globals__["_kind"].cache_clear()
    monkeypatch.setitem(sys.modules, "river", None)
    yield
    river_kind.__globals__["_kind"].cache_clear()


def test_without_river_the_configuration_says_what_to_install(without_river: None, tmp_path: Path) -> None:
    for folder in ("streams", "alerts"):
        shutil.copytree(shipped_folder() / folder, tmp_path / folder)
    place = tmp_path / "streams" / "health.yaml"
    place.write_text(place.read_text() + "  health.river: {model: anomaly.GaussianScorer, metrics: [load]}\n")
    known: dict[str, type[Any]] = {judge.name: judge.Settings for judge in (make() for make in PIPELINE.judges)}
    known[PluggedJudge.name] = PluggedSettings
    with pytest.raises(ConfigError) as raised:
        detector_settings(load_site(tmp_path), "health", known)
    (problem,) = raised.value.problems
    assert "pip install -e '.[river]' in a checkout" in str(problem)
    assert "health.yaml" in str(problem)


def test_streams_without_it_do_not_need_river(without_river: None) -> None:
    judge = PluggedJudge()
    assert judge.judge(closing(0, {"load": 1.0}, msgspec.convert({}, PluggedSettings))) == []


# what is said


def test_a_jump_is_told_with_its_scores_and_the_rank_of_its_own() -> None:
    judge = PluggedJudge()
    told = [judge.judge(closing(n, values)) for n, values in enumerate(story(1300, seed=5))]
    assert not any(told[: LEAST + 999]), "1 / 1000 is the first p that is low enough"
    (finding,) = [f for f in told[1260] if f.subject["n"] == "0"]
    assert (finding.kind, finding.basis, finding.severity) == ("plugged", "ranked", "warning")
    assert finding.subject == {"scope": "node", "metric": "load", "n": "0"}
    assert finding.log10_p is not None
    scored = sum(values['load{n="0"}'] is not None for values in story(1300, seed=5)[:1260])
    assert finding.log10_p == -math.log10(1 + scored - LEAST)
    assert "anomaly.GaussianScorer gives it 1, higher than all of" in finding.summary
    drawn, scores = finding.evidence
    assert isinstance(drawn, Series)
    assert isinstance(scores, Series)
    assert (drawn.values[-1], scores.values[-1]) == (9.0, finding.effect.value)
    assert len(drawn.times) == len(scores.times) == 60


def test_p_is_the_rank_among_all_past_scores() -> None:
    """Recomputed slowly, across the change of blocks."""
    given = msgspec.structs.replace(GAUSSIAN, model="anomaly.StandardAbsoluteDeviation", parameters={})
    kind = river_kind(given.model, given.parameters)
    judge, model = PluggedJudge(), kind.fresh()
    block: list[float] = []
    before: list[float] = []
    rng = np.random.default_rng(11)
    told = 0
    for n, value in enumerate(rng.standard_t(4, 45_000).tolist()):
        found = judge.judge(closing(n, {"load": value}, given))
        score = kind.score(model, value)
        kind.learn(model, value)
        if n >= LEAST and (found or n % 5000 == 0):
            past = [*before, *block]
            p = (1 + sum(s >= score for s in past)) / (1 + len(past))
            assert [f.log10_p for f in found] == ([pytest.approx(math.log10(p), abs=1e-12)] if p <= 1e-3 else [])
        told += len(found)
        if len(block) == BLOCK:
            before, block = block, []
        if n >= LEAST:
            block.append(score)
    assert 15 <= told <= 75  # 44 expected; Poisson, beyond that 1 in 10^5


def test_nothing_is_said_before_enough_windows_and_p_is_as_rare_as_it_says() -> None:
    """60 series of noise over 3000 windows: 2 in 1000 windows, at p <= 1e-3, as the series begin to have 1000 scores.

    Expected at most 60 × 2000 × 1e-3 = 120; more than 160 has a chance of 2e-4, fewer than 60 one below 1e-6."""
    judge = PluggedJudge()
    rng = np.random.default_rng(2)
    told = 0
    for n in range(3000):
        values: dict[str, float | None] = {
            f'load{{n="{k}"}}': v for k, v in enumerate(rng.standard_normal(60).tolist())
        }
        told += len(judge.judge(closing(n, values)))
        assert judge.tests == {"plugged": 60 if n >= LEAST else 0}
    assert 60 <= told <= 160


def test_other_metrics_and_missing_values_are_passed_over() -> None:
    judge = PluggedJudge()
    for n in range(200):
        judge.judge(closing(n, {"load": float(n % 7), "disk": 1.0, "up": None}))
    assert [series for series, _, _ in judge.state()["series"]] == ["load"]


# bounds


def test_series_above_the_cap_are_told_once_a_window_and_change_nothing() -> None:
    few = msgspec.structs.replace(GAUSSIAN, max_series=2)
    alone, crowded = PluggedJudge(), PluggedJudge()
    for n, values in enumerate(story(1300)):
        expected = alone.judge(closing(n, values, few))
        others = {f'load{{n="x{k}"}}': 1.0 for k in range(50)} if n >= 5 else {}
        *found, told = [*crowded.judge(closing(n, {**values, **others}, few)), None][: None if n < 5 else -1] or [None]
        if n >= 5:
            assert isinstance(told, Finding)
            assert (told.kind, told.severity, told.log10_p, told.effect.value) == ("refused", "info", None, 50.0)
            assert "raise max_series" in told.summary
            assert isinstance(told.evidence[0], Table)
        assert found == expected
        assert crowded.tests == alone.tests
    assert crowded.state() == alone.state()


def test_a_series_that_is_gone_makes_room() -> None:
    one = msgspec.structs.replace(GAUSSIAN, max_series=1)
    judge = PluggedJudge()
    judge.judge(closing(0, {"load": 1.0}, one))
    for n in range(1, 1441):
        assert judge.judge(closing(n, {}, one)) == []
    assert len(judge.state()["series"]) == 1
    judge.judge(closing(1441, {}, one))
    assert judge.judge(closing(1442, {'load{n="1"}': 1.0}, one)) == []


def test_a_model_that_raises_begins_afresh_and_its_neighbours_go_on() -> None:
    product = {**FORECAST, "multiplicative": True}
    predictive = {"predictive_model": {"model": "time_series.HoltWinters", "parameters": product}}
    given = PluggedSettings("anomaly.PredictiveAnomalyDetection", predictive, ("load",))
    alone, both = PluggedJudge(), PluggedJudge()
    told: list[Finding] = []
    for n, values in enumerate(story(400, series=1)):
        good = {'load{n="0"}': 20.0 + (values['load{n="0"}'] or 0.0)}
        expected = alone.judge(closing(n, good, given))
        found = both.judge(closing(n, {**good, 'load{n="bad"}': 0.0}, given))
        told += [f for f in found if f.kind == "refused"]
        assert [f for f in found if f.kind != "refused"] == expected
        assert both.tests["plugged"] == alone.tests["plugged"]
    raised = [f for f in told if "cannot learn 0 and begins afresh: ZeroDivisionError" in f.summary]
    assert 2 <= len(raised) <= 20, "once a model, which takes a season or two to get there"
    assert len(both.state()["series"]) == 2


def test_a_model_that_grows_too_large_is_given_up_and_told() -> None:
    """A window of 100,000 values: too large after some thousand. Its size is looked at every 1024 windows."""
    given = PluggedSettings("anomaly.GaussianScorer", {"window_size": 100_000}, ("load",))
    judge = PluggedJudge()
    told = []
    for n, value in enumerate(np.random.default_rng(1).standard_normal(6000).tolist()):
        found = judge.judge(closing(n, {"load": value}, given))
        told += [n for f in found if f.kind == "refused" and "bytes, at most" in f.summary]
        if n % 256 == 0:
            assert len(msgspec.msgpack.encode(judge.state())) < MAX_BYTES + 1024 * 16 + 20_000
        if n == 4600:  # too large already, and not looked at yet
            again = PluggedJudge()
            again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(judge.state())))
        if n > 4600:
            assert again.judge(closing(n, {"load": value}, given)) == found
    assert 4096 <= told[0] < 6000
    assert told == list(range(told[0], 6000)), "once a window"
    assert judge.tests == {"plugged": 0}


def test_a_series_of_the_example_takes_little_room() -> None:
    judge = PluggedJudge()
    for n, values in enumerate(story(2000, series=10)):
        judge.judge(closing(n, values))
    assert len(msgspec.msgpack.encode(judge.state())) < 10 * 5000


# checkpoints


def unbroken(windows: int) -> PluggedJudge:
    judge = PluggedJudge()
    for n in range(windows):
        judge.judge(closing(n, {"load": float(n % 5)}))
    return judge


def test_other_settings_of_the_model_begin_afresh_and_others_do_not() -> None:
    judge = unbroken(150)
    before = judge.state()
    for change in ({"emit": -4.0}, {"max_findings": 1}, {"metrics": ("load", "disk")}):
        other = restarted(judge)
        other.judge(closing(150, {}, msgspec.structs.replace(GAUSSIAN, **change)))
        assert [one[1][0] for one in other.state()["series"]] == [one[1][0] for one in before["series"]] == [150]
    for change in ({"parameters": {"grace_period": 3}}, {"model": "anomaly.OneClassSVM", "parameters": {}}):
        for other in (restarted(judge), unbroken(150)):
            other.judge(closing(150, {}, msgspec.structs.replace(GAUSSIAN, **change)))
            assert other.state()["series"] == []
    other = restarted(judge)
    assert other.state() == msgspec.msgpack.decode(msgspec.msgpack.encode(before)), "untouched until a window closes"


def leaves(plain: Any, path: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """The places of everything in a model's state."""
    yield path
    if isinstance(plain, list):
        for n, one in enumerate(plain):
            yield from leaves(one, (*path, n))


def put(plain: Any, path: Sequence[int], value: Any) -> Any:
    if not path:
        return value
    copy = list(plain)
    copy[path[0]] = put(copy[path[0]], path[1:], value)
    return copy


def saved(name: str) -> tuple[RiverKind, Any]:
    kind = river_kind(*SAVED[name])
    model = kind.fresh()
    for n in range(60):
        kind.learn(model, float(n % 7))
    return kind, msgspec.msgpack.decode(msgspec.msgpack.encode(kind.plain(model)))


@pytest.mark.parametrize(
    "foreign", ["os.system", "builtins.eval", "subprocess.Popen", "river.anomaly.svm.OneClassSVM", "river.utils.log"]
)
def test_a_state_names_no_class_that_its_model_has_not(foreign: str) -> None:
    kind, plain = saved("gaussian, window")
    named = [n for n, (name, _, _) in enumerate(plain[0]) if name.startswith("river.")]
    for n in named:
        shapes = [[foreign, True, one[2]] if k == n else one for k, one in enumerate(plain[0])]
        with pytest.raises(ValueError, match=f"not the state of a anomaly.GaussianScorer.*names {foreign}"):
            kind.restored([shapes, plain[1]])


@given(data=st.data(), name=st.sampled_from(["gaussian, window", "one class", "predictive, seasons", "trees, scaled"]))
def test_a_state_with_anything_in_it_gives_a_model_or_a_reason(data: st.DataObject, name: str) -> None:
    kind, plain = saved(name)
    places = sorted(leaves(plain))
    anything = st.sampled_from([None, -1, 10**6, 1.5, "x", b"x", [], [[]], [9, "os.system"], [8, 0], [10, 0], {}, True])
    for path in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3)):
        try:
            plain = put(plain, path, data.draw(anything))
        except (IndexError, TypeError):
            continue  # the place went with an earlier change
    why = ""
    try:
        kind.restored(plain)
    except ValueError as error:
        why = str(error)
    assert why == "" or why.startswith(f"not the state of a {kind.model} of river ")


# the whole path


def messages(hosts: int = 3, windows: int = 1200) -> Sequence[tuple[int, bytes]]:
    """A scrape a minute and host; one host jumps at the end."""
    rng = random.Random(4)
    rows = []
    for n in range(windows):
        for host in range(hosts):
            time = START + n * MINUTE + host * NS
            value = rng.gauss(0, 1) + 9.0 * (host == 1 and n > windows - 10)
            body = {"timestamp": time / NS, "value": value, "name": "load", "labels": {"instance": f"h{host}"}}
            rows.append((time, json.dumps(body).encode()))
    return rows


def played(folder: Path, restarts: random.Random | None = None) -> Outcome:
    pipeline = PIPELINE._replace(judges=(PluggedJudge,))
    case = Case("plugged", HEALTH_STREAM._replace(interval=5 * MINUTE, partitions=1), pipeline, HealthWire(), messages)
    bus = LOGS["sqlite"](folder)
    team = workers(bus, case, folder)
    value = {"health.river": {"model": "anomaly.GaussianScorer", "metrics": ["load"]}}
    for n, _ in enumerate(feed(bus, case)):
        if n == 0:
            sender = Ingester(bus, case.stream, case.pipeline, case.wire, "test", live=True)
            sender.control(Control("on", "settings", "health", 1, 0, value, sender.seen))
        if restarts is None or restarts.random() < 0.5:
            drain(team, restarts)
        if restarts is not None and restarts.random() < 0.2:
            for worker in team:
                if restarts.random() < 0.5:
                    worker.checkpoint()
            team = workers(bus, case, folder, restarts.choice([3, 17, 64]))
    drain(team, restarts)
    told = outcome(bus, case)
    bus.close()
    return told


def test_a_stream_with_a_plugged_detector_tells_the_same_after_crashes(tmp_path: Path) -> None:
    steady = played(tmp_path / "steady")
    assert played(tmp_path / "crashing", random.Random(8)) == steady
    told = [f for f in steady.findings.values() if f["detector"] == "health.river"]
    assert any(f["subject"]["instance"] == "h1" for f in told)
    assert not [aside for aside in steady.asides if aside[0] == "quarantined"]
    assert max(seen["tests"].get("plugged", 0) for seen in steady.judged.values()) == 3
