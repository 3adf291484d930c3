"""The simulated detector: reproducible bytes, believable runs, and faults that show where the truth says they are."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from opintel.detector import Message
from opintel.dqm.histograms import HISTOGRAM, MANIFEST, HistogramKey, Histograms
from opintel.dqm.simulated.simulate import FAULT_KINDS, STORIES, DqmSimulator, Fault
from opintel.dqm.wire import DqmWire, ends
from opintel.dqm.wire.heads import Head
from opintel.finding import NS

SEEDS = range(6)


class Story(NamedTuple):
    simulator: DqmSimulator
    contents: dict[str, dict[int, NDArray[np.float32]]]
    """Path → start of a lumisection → contents of its highest revision; of cumulative ones, increments."""
    listings: dict[str, dict[int, dict[str, Any]]]
    """Subsystem → start → manifest."""

    def fault(self, kind: str) -> Fault:
        return next(fault for fault in self.simulator.truth if fault.kind == kind)

    def inside(self, fault: Fault, path: str) -> NDArray[np.float64]:
        """Contents summed over the lumisections of a fault, as a share of all."""
        return self._summed(path, lambda start: fault.start <= start < fault.end)

    def before(self, fault: Fault, path: str) -> NDArray[np.float64]:
        return self._summed(path, lambda start: start < fault.start)

    def _summed(self, path: str, wanted: Any) -> NDArray[np.float64]:
        stable = {one.start for one in self.simulator.lumisections if one.stable}
        found = [v for start, v in self.contents[path].items() if wanted(start) and start in stable]
        summed = np.sum(found, axis=0, dtype=np.float64)
        return np.asarray(summed / summed.sum())


def story_of(**arguments: Any) -> Story:
    simulator = DqmSimulator(**arguments)
    wire = DqmWire()
    contents: dict[str, dict[int, tuple[int, NDArray[np.float32]]]] = {}
    listings: dict[str, dict[int, dict[str, Any]]] = {}
    for _, body in simulator.messages():
        found = wire.decode([Message(body)])
        assert not found.rejects
        columns = found.rows.payload
        assert isinstance(columns, Histograms)
        starts, keys = found.rows.time.tolist(), found.rows.key.tolist()
        for n, (start, key) in enumerate(zip(starts, keys, strict=True)):
            subsystem, _, path = HistogramKey.of(key)
            if columns.kind[n] == MANIFEST:
                listings.setdefault(subsystem, {})[start] = json.loads(columns.about.tolist()[n])
                continue
            assert columns.kind[n] == HISTOGRAM
            known = contents.setdefault(path, {}).get(start)
            if known is None or known[0] < columns.revision[n]:
                contents[path][start] = (int(columns.revision[n]), columns.values.at(n))
    plain = {path: {start: values for start, (_, values) in its.items()} for path, its in contents.items()}
    runs = {one.start: one.run for one in simulator.lumisections}
    for path in [path for path in plain if path.startswith("Muon/")]:
        plain[path] = increments(plain[path], runs)
    return Story(simulator, plain, listings)


def increments(cumulative: dict[int, NDArray[np.float32]], runs: dict[int, int]) -> dict[int, NDArray[np.float32]]:
    found: dict[int, NDArray[np.float32]] = {}
    last: tuple[int, NDArray[np.float32]] | None = None
    for start, values in sorted(cumulative.items()):
        found[start] = values - last[1] if last and last[0] == runs[start] else values
        last = (runs[start], values)
        assert (found[start] >= 0).all()
    return found


@pytest.fixture(scope="module")
def story() -> Story:
    faults = (*FAULT_KINDS, "slow-ageing")
    return story_of(seed=1, hours=9, quiet_hours=2.0, histograms=30, length=93.24, faults=faults)


def test_the_same_arguments_give_the_same_bytes_and_another_seed_others() -> None:
    stories = [list(DqmSimulator(seed=seed, hours=1, length=93.24).messages()) for seed in (3, 3, 4)]
    assert stories[0] == stories[1]
    assert stories[0] != stories[2]
    assert stories[0] == list(DqmSimulator(seed=3, hours=1, length=93.24).messages())


@pytest.mark.parametrize("seed", SEEDS)
def test_runs_follow_one_another_with_gaps_and_nothing_overlaps(seed: int) -> None:
    simulator = DqmSimulator(seed=seed, hours=10, faults=())
    found = simulator.lumisections
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert all(simulator.start <= one.start < one.end <= simulator.end for one in found)
    first = [n for n, one in enumerate(found) if one.number == 1]
    assert len(first) > 5
    for begin, end in pairwise(first):
        assert [one.number for one in found[begin:end]] == list(range(1, end - begin + 1))
        assert found[end].start - found[end - 1].end > 60 * NS
        assert found[end].run > found[begin].run
    assert {one.menu for one in found} == {0, 1}
    assert {one.stable for one in found} == {True, False}
    assert 0.5 < min(one.luminosity / (one.end - one.start) for one in found if one.stable) * 23.31e9 < 0.8


@pytest.mark.parametrize("seed", SEEDS)
def test_every_kind_of_fault_is_there_once_apart_from_the_others(seed: int) -> None:
    simulator = DqmSimulator(seed=seed, hours=8, quiet_hours=2)
    truth = simulator.truth
    assert sorted(fault.kind for fault in truth) == sorted(FAULT_KINDS)
    assert all(simulator.start + 2 * 3600 * NS <= fault.start < fault.end <= simulator.end for fault in truth)
    assert len({json.dumps(fault.subject) for fault in truth}) == len(truth)
    trip = next(fault for fault in truth if fault.kind == "hv-trip")
    assert trip.subject.keys() == {"scope"}
    assert [fault for fault in truth if fault.subject["scope"] == trip.subject["scope"]] == [trip]
    starts = {one.start: one for one in simulator.lumisections}
    assert all(starts[fault.start].stable for fault in truth)
    short = next(fault for fault in truth if fault.kind == "short-dead")
    assert short.end == starts[short.start].end


def test_messages_come_in_order_of_arrival_after_their_lumisection() -> None:
    simulator = DqmSimulator(seed=2, hours=2, faults=(), histograms=3)
    story = list(simulator.messages())
    wire = DqmWire()
    assert [arrival for arrival, _ in story] == sorted(arrival for arrival, _ in story)
    assert all(ends(wire.decode([Message(body)]).rows).max() < arrival for arrival, body in story)
    bodies = [body for _, body in story]
    assert len(set(bodies)) < len(bodies), "some come twice"


def test_contents_follow_luminosity(story: Story) -> None:
    stable = [one for one in story.simulator.lumisections if one.stable]
    phi = story.contents["Calo/Layer1/phi"]
    quiet = [one for one in stable if not any(fault.start <= one.start < fault.end for fault in story.simulator.truth)]
    rate = [phi[one.start].sum() / one.luminosity for one in quiet]
    assert np.std(rate) / np.mean(rate) < 0.05
    dark = [phi[one.start].sum() for one in story.simulator.lumisections if not one.stable]
    assert max(dark) < 0.02 * np.mean([phi[one.start].sum() for one in quiet])


def test_runs_are_not_quite_alike() -> None:
    """More than Poisson: Pearson's statistic a degree of freedom; by chance alone it is 1 +- .15."""
    story = story_of(seed=5, hours=4, faults=(), histograms=3, length=93.24)
    runs: dict[int, NDArray[np.float64]] = {}
    for one in story.simulator.lumisections:
        runs[one.run] = runs.get(one.run, 0.0) + story.contents["Pixel/Layer1/charge"][one.start].astype(float)
    counts = np.array(list(runs.values()))
    counts = counts[:, counts.sum(axis=0) > 100]
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
    assert ((counts - expected) ** 2 / expected).mean() > 3.5


def test_a_dead_region_is_empty(story: Story) -> None:
    fault = story.fault("dead-region")
    now, before = (share(fault, fault.subject["histogram"]) for share in (story.inside, story.before))
    gone = (now == 0) & (before > 0)
    assert gone.sum() in (9, 16)


def test_a_hot_channel_stands_out(story: Story) -> None:
    fault = story.fault("hot-channel")
    ratio = story.inside(fault, fault.subject["histogram"]) / story.before(fault, fault.subject["histogram"])
    assert np.sort(ratio)[-1] > 4
    assert np.sort(ratio)[-2] < 2


def test_a_noisy_module_is_above_what_it_was(story: Story) -> None:
    fault = story.fault("noisy-module")
    ratio = story.inside(fault, fault.subject["histogram"]) / story.before(fault, fault.subject["histogram"])
    assert (ratio > 1.5).sum() == 9


@pytest.mark.parametrize(("kind", "least"), [("timing-shift", 1.2), ("slow-ageing", 0.3)])
def test_what_moves_moves(story: Story, kind: str, least: float) -> None:
    fault = story.fault(kind)
    place = np.arange(len(story.before(fault, fault.subject["histogram"])))
    now, then = (place @ share(fault, fault.subject["histogram"]) for share in (story.inside, story.before))
    assert abs(now - then) > least


def test_a_missing_histogram_is_in_the_manifest_alone(story: Story) -> None:
    fault = story.fault("missing-histogram")
    path, subsystem = fault.subject["histogram"], fault.subject["scope"]
    inside = [one.start for one in story.simulator.lumisections if fault.start <= one.start < fault.end]
    assert len(inside) > 3
    assert not story.contents[path].keys() & set(inside)
    assert all(path in story.listings[subsystem][start]["paths"] for start in inside)
    other = [one.start for one in story.simulator.lumisections if not fault.start <= one.start < fault.end]
    assert set(other) == story.contents[path].keys()


def test_a_trip_empties_the_subsystem_and_its_manifest_says_so(story: Story) -> None:
    fault = story.fault("hv-trip")
    subsystem = fault.subject["scope"]
    inside = {one.start for one in story.simulator.lumisections if fault.start <= one.start < fault.end}
    off = {start for start, listing in story.listings[subsystem].items() if not listing["high_voltage"]}
    assert off == inside
    phi = story.contents[f"{subsystem}/Layer1/phi"]
    usual = np.median([phi[start].sum() for start in phi])
    assert max(phi[start].sum() for start in inside) < 0.05 * usual


def test_a_short_fault_lasts_one_lumisection(story: Story) -> None:
    fault = story.fault("short-dead")
    its = story.contents[fault.subject["histogram"]]
    order = sorted(its)
    here = order.index(fault.start)
    empty = [(its[order[n]] == 0).sum() for n in (here - 1, here, here + 1)]
    assert empty[1] >= 12
    assert empty[0] == empty[2] == 0


def test_other_histograms_are_the_same_with_and_without_a_fault() -> None:
    with_fault = story_of(seed=2, hours=2, faults=["dead-region"], histograms=6, length=93.24)
    without = story_of(seed=2, hours=2, faults=[], histograms=6, length=93.24)
    (fault,) = with_fault.simulator.truth
    for path, its in without.contents.items():
        same = all(np.array_equal(values, with_fault.contents[path][start]) for start, values in its.items())
        assert same == (path != fault.subject["histogram"])


def test_its_size_is_a_parameter_and_parts_stay_small() -> None:
    bodies = [body for _, body in DqmSimulator(seed=1, hours=0.025, faults=(), histograms=9000).messages()]
    assert len(bodies) > 3
    assert max(map(len, bodies)) <= 1 << 20
    found = DqmWire().decode([Message(body) for body in bodies])
    assert not found.rejects
    assert len(set(found.rows.key.values)) == 9000 + 3


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ({"hours": 0.0}, "hours are above 0"),
        ({"hours": 1.0, "quiet_hours": 1.0}, "quiet_hours below hours"),
        ({"hours": 1.0, "faults": ["flood"]}, "unknown fault kind 'flood'"),
        ({"hours": 0.05}, "expected 14 lumisections or more for 7 faults"),
        ({"hours": 8.0, "histograms": 3}, "no histogram is left"),
    ],
)
def test_what_cannot_be_played_is_said(arguments: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        DqmSimulator(seed=1, **arguments)


def test_the_stories_say_what_they_tell() -> None:
    assert STORIES.faults == FAULT_KINDS
    assert Head._field_defaults["dataset"] == "", "its findings are about a scope and a histogram, without a dataset"
