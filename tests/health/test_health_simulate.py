"""The simulated fleet: reproducible bytes, believable metrics, and faults that show where the truth says they are."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from opintel.detector import Message
from opintel.finding import NS, parse_rfc3339
from opintel.health.series_names import parts_of, series_parts
from opintel.health.simulate import DEFAULT_START, FAULT_KINDS, Fault, HealthSimulator
from opintel.health.wire import HealthWire

MINUTE, HOUR = 60 * NS, 3600 * NS
SEEDS = range(8)
KINDS = (*FAULT_KINDS, "disk-wear")
CONCERNED = {
    "disk-filling": {"node_filesystem_avail_bytes"},
    "memory-leak": {"node_memory_MemAvailable_bytes"},
    "fan-failure": {"node_hwmon_fan_rpm", "node_hwmon_temp_celsius"},
    "sensor-stuck": {"node_hwmon_temp_celsius"},
    "clock-drift": {"node_timex_offset_seconds"},
    "network-flaps": {"node_network_receive_bytes_total", "node_network_receive_errs_total"},
    "host-down": {"node_network_receive_bytes_total"},
    "disk-wear": {"smartctl_device_attribute", "probe_duration_seconds"},
}
"""Kind → the metrics of the host whose values it changes; `host-down` takes samples away, and counters begin at 0."""


class Line(NamedTuple):
    """A series: times (N,) in ns, values (N,)."""

    time: NDArray[np.int64]
    value: NDArray[np.float64]

    def of(self, fault: Fault, after: float = 0.0) -> Line:
        """What lies in a fault, from so many minutes after its beginning on."""
        inside = (self.time >= fault.start + after * MINUTE) & (self.time < fault.end)
        return Line(self.time[inside], self.value[inside])


class Told(NamedTuple):
    simulator: HealthSimulator
    messages: list[tuple[int, bytes]]
    series: dict[tuple[str, str], Line]
    """(metric, instance) → its samples."""

    def fault(self, kind: str) -> Fault:
        return next(fault for fault in self.simulator.truth if fault.kind == kind)


def tell(**arguments: Any) -> Told:
    simulator = HealthSimulator(**arguments)
    messages = list(simulator.messages())
    found = HealthWire().decode([Message(body) for _, body in messages])
    assert not found.rejects
    series = {}
    for n, key in enumerate(found.rows.key.values):
        rows = found.rows.take(np.flatnonzero(found.rows.key.code == n))
        assert not rows.payload.missing.any()
        name, labels = series_parts(parts_of(key)[1])
        series[name, labels["instance"]] = Line(rows.time, rows.payload.value)
    assert len(series) == len(found.rows.key.values)
    return Told(simulator, messages, series)


@pytest.fixture(scope="module", params=[11, 12, 13])
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def story(seed: int) -> Told:
    """Seven hours with all faults in the last six."""
    return tell(seed=seed, hours=7, quiet_hours=1, faults=KINDS)


@pytest.fixture(scope="module")
def healthy(seed: int) -> Told:
    """The same without faults."""
    return tell(seed=seed, hours=7, faults=())


def of_host(messages: Iterator[tuple[int, bytes]], instance: str) -> Iterator[dict[str, float]]:
    """Metric → value, of each scrape of a host."""
    sign = f'"instance":"{instance}"'.encode()
    for _, body in messages:
        if sign in body:
            yield {sample["name"]: float(sample["value"]) for sample in json.loads(body)}


def test_same_seed_same_bytes_however_they_are_read() -> None:
    one, same, other = (HealthSimulator(seed=seed, hours=1.5, faults=FAULT_KINDS[:2]) for seed in (5, 5, 6))
    messages = list(one.messages())
    assert messages == list(one.messages())
    begun = one.messages()
    head = list(islice(begun, 700))
    assert messages == list(same.messages())
    assert messages == [*head, *begun]
    assert one.truth == same.truth
    assert {body for _, body in messages}.isdisjoint(body for _, body in other.messages())
    assert one.truth != other.truth


def test_a_message_is_the_scrape_of_one_host_and_comes_soon_after(story: Told) -> None:
    arrivals = [arrival for arrival, _ in story.messages]
    assert arrivals == sorted(arrivals)
    for arrival, body in story.messages:
        samples = json.loads(body)
        (instance,) = {sample["labels"]["instance"] for sample in samples}
        (stamp,) = {sample["timestamp"] for sample in samples}
        assert len(stamp) == len("2026-03-02T06:00:00.123Z")
        assert len({sample["name"] for sample in samples}) == len(samples) == 11
        assert instance.endswith(".example.org:9100")
        time = parse_rfc3339(stamp)
        assert story.simulator.start <= time < story.simulator.end
        assert 0 < arrival - time <= 5 * NS


def test_series_are_sampled_once_a_minute(healthy: Told) -> None:
    assert len(healthy.series) == 24 * 11
    minutes = 7 * 60
    missed = 0
    for line in healthy.series.values():
        assert minutes - 6 <= len(line.time) <= minutes
        assert np.array_equal(np.unique(line.time // MINUTE), line.time // MINUTE), "at most one a minute"
        missed += minutes - len(line.time)
    assert 0 < missed < 0.003 * 24 * 11 * minutes
    scrapes = {instance: int(line.time[0] % MINUTE) for (_, instance), line in healthy.series.items()}
    assert len(set(scrapes.values())) == 24, "each host in its own moment"
    assert np.ptp(list(scrapes.values())) > 30 * NS
    keys = HealthWire().decode([Message(healthy.messages[0][1])]).rows.key.values
    assert {parts_of(key)[0] for key in keys} == {"node"}


def test_hosts_without_a_fault_are_the_same_with_and_without_it(story: Told, healthy: Told) -> None:
    touched = {fault.subject["instance"] for fault in story.simulator.truth}
    assert len(touched) == len(KINDS)

    def others(told: Told) -> list[tuple[int, bytes]]:
        signs = [instance.encode() for instance in touched]
        return [one for one in told.messages if not any(sign in one[1] for sign in signs)]

    assert others(story) == others(healthy)
    assert len(others(healthy)) > 0.99 * (24 - len(touched)) * 420


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_changes_its_metrics_while_it_lasts_and_nothing_else(story: Told, healthy: Told, kind: str) -> None:
    fault = story.fault(kind)
    instance = fault.subject["instance"]
    for (metric, host), usual in healthy.series.items():
        if host != instance:
            continue
        there = story.series[metric, host]
        kept = np.isin(usual.time, there.time)
        outside = (usual.time < fault.start) | (usual.time >= fault.end)
        assert np.array_equal(kept, outside | (kind != "host-down"))
        same = usual.value[kept] == there.value
        assert same[there.time < fault.start].all()
        if metric not in CONCERNED[kind]:
            assert same.all(), metric
            continue
        assert not same[there.time >= fault.start].all(), metric
        if not metric.endswith("_total"):  # a degree is left of the heat an hour later, at the very most
            late = there.time >= fault.end + 60 * MINUTE
            assert np.allclose(there.value[late], usual.value[kept][late], atol=0.5, rtol=0), metric


def compared(story: Told, healthy: Told, kind: str, metric: str) -> tuple[Fault, Line, Line]:
    """A fault, and the series of its host with and without it."""
    fault = story.fault(kind)
    assert fault.subject.get("metric", metric) == metric
    return fault, story.series[metric, fault.subject["instance"]], healthy.series[metric, fault.subject["instance"]]


def rates(line: Line) -> Line:
    """Of a counter, a second."""
    return Line(line.time[1:], np.diff(line.value) / (np.diff(line.time) / NS))


def test_a_filling_disk_would_be_full_within_a_day(story: Told, healthy: Told) -> None:
    fault, line, usual = compared(story, healthy, "disk-filling", "node_filesystem_avail_bytes")
    inside = line.of(fault)
    assert fault.subject["mountpoint"] == "/data"
    assert fault.subject["instance"].startswith("disk")
    slope, now = np.polyfit((inside.time - fault.start) / HOUR, inside.value, 1)
    assert 5 < -now / slope < 20, "hours"
    assert np.ptp(usual.of(fault).value) < 0.25 * np.ptp(inside.value)


def test_leaked_memory_comes_back_at_a_kill_and_leaks_again(story: Told, healthy: Told) -> None:
    fault, line, usual = compared(story, healthy, "memory-leak", "node_memory_MemAvailable_bytes")
    inside = line.of(fault).value / np.median(usual.value)
    assert 0 < inside.min() < 0.08
    assert 1 <= (np.diff(inside) > 0.5).sum() <= 2
    assert (np.diff(inside) < 0).mean() > 0.8
    assert usual.value.min() > 0.8 * np.median(usual.value)


def test_without_a_fan_it_gets_warm(story: Told, healthy: Told) -> None:
    fault, line, usual = compared(story, healthy, "fan-failure", "node_hwmon_fan_rpm")
    assert (line.of(fault, after=5).value == 0).all()
    assert usual.value.min() > 2000
    fault, line, usual = compared(story, healthy, "fan-failure", "node_hwmon_temp_celsius")
    warmer = line.of(fault).value - usual.of(fault).value
    assert warmer[0] < 4
    assert 14 <= warmer[30] <= 25.5
    assert 15 <= warmer[-1] <= 25.5


def test_a_stuck_sensor_shows_one_value(story: Told, healthy: Told) -> None:
    fault, line, usual = compared(story, healthy, "sensor-stuck", "node_hwmon_temp_celsius")
    assert len(set(line.of(fault).value.tolist())) == 1
    assert len(set(usual.of(fault).value.tolist())) > 2
    assert (usual.value % 1 == 0.5).any(), "a sensor of half degrees"


def test_a_drifting_clock_goes_astray_evenly(story: Told, healthy: Told) -> None:
    fault, line, usual = compared(story, healthy, "clock-drift", "node_timex_offset_seconds")
    inside = line.of(fault)
    assert abs(np.corrcoef(inside.time, inside.value)[0, 1]) > 0.99
    assert abs(inside.value[-1]) > 0.03
    assert np.abs(usual.value).max() < 0.005


def test_a_flapping_link_is_down_every_few_minutes_and_has_errors(story: Told, healthy: Told) -> None:
    fault, line, usual = compared(story, healthy, "network-flaps", "node_network_receive_bytes_total")
    down = rates(line).of(fault).value < 0.1 * np.median(rates(usual).value)
    assert 0.25 < down.mean() < 0.75
    assert len(down) / 12 < np.count_nonzero(np.diff(down.astype(int))) < len(down) / 2
    fault, line, usual = compared(story, healthy, "network-flaps", "node_network_receive_errs_total")
    errors = rates(line)
    assert np.array_equal(errors.of(fault).value > 0, down)
    assert np.count_nonzero(errors.value > 0) == down.sum()
    assert not usual.value.any()


def test_of_a_host_that_is_down_nothing_comes(story: Told) -> None:
    fault = story.fault("host-down")
    mine = {metric: line for (metric, host), line in story.series.items() if host == fault.subject["instance"]}
    for line in mine.values():
        assert not len(line.of(fault).time)
        assert line.time[0] < fault.start < fault.end < line.time[-1]
    line = mine["node_network_receive_bytes_total"]
    back = int(np.searchsorted(line.time, fault.end))
    assert line.value[back] < 0.01 * line.value[back - 1], "it was booted"


def test_a_worn_disk_loses_sectors_and_slows_down(story: Told, healthy: Told) -> None:
    fault, line, usual = compared(story, healthy, "disk-wear", "smartctl_device_attribute")
    inside = line.of(fault).value
    assert (np.diff(inside) >= 0).all()
    assert np.ptp(inside) >= 50 > 2 * np.ptp(usual.value)
    fault, line, usual = compared(story, healthy, "disk-wear", "probe_duration_seconds")
    slower = line.of(fault).value / usual.of(fault).value
    assert slower[0] < 1.1
    assert 1.9 < slower[-1] <= 3.0


def test_a_disk_that_fills_for_a_day_is_full_and_not_fuller() -> None:
    simulator = HealthSimulator(seed=3, hours=120, faults=("disk-filling",))
    (fault,) = simulator.truth
    avail = [one["node_filesystem_avail_bytes"] for one in of_host(simulator.messages(), fault.subject["instance"])]
    assert fault.end - fault.start >= 20 * HOUR
    assert min(avail) == 0
    assert avail[-1] > 0.9 * avail[0]


def test_counters_fall_at_restarts_only(healthy: Told) -> None:
    falls = 0
    for (metric, _), line in healthy.series.items():
        if not metric.endswith("_total"):
            continue
        steps = np.diff(line.value)
        at = np.flatnonzero(steps < 0)
        falls += len(at)
        assert (line.value[at + 1] <= np.max(steps)).all(), "counted from 0 since"
        assert len(at) <= 2
    assert 0 < falls < 10, "2.3 are expected"


@pytest.mark.parametrize("metric", ["node_memory_MemAvailable_bytes", "node_filesystem_avail_bytes", "node_load1"])
def test_an_hour_goes_on_where_the_last_one_ended(healthy: Told, metric: str) -> None:
    """It is made hour by hour: the step over the hour is none but a step of a minute. Of 144 hours, z beyond 4."""
    over, other = [], []
    for (name, _), line in healthy.series.items():
        if name == metric:
            steps = np.abs(np.diff(line.value)) / np.abs(np.diff(line.value)).mean()
            new = np.diff(line.time // HOUR) > 0
            over += steps[new].tolist()
            other += steps[~new].tolist()
    assert abs(np.mean(over) - np.mean(other)) < 4 * np.std(other) / math.sqrt(len(over))


def test_load_drives_the_other_metrics(healthy: Told) -> None:
    by_metric: dict[str, list[float]] = {}
    for (metric, instance), line in healthy.series.items():
        busy = healthy.series["instance:node_cpu_utilisation:rate1m", instance].value
        if metric.endswith("bytes_total"):
            found = np.corrcoef(busy[1:], np.maximum(rates(line).value, 0))[0, 1]
        elif metric in ("node_load1", "node_hwmon_temp_celsius", "node_hwmon_fan_rpm"):
            found = np.corrcoef(busy, line.value)[0, 1]
        else:
            continue
        by_metric.setdefault(metric, []).append(float(found))
    assert len(by_metric) == 4
    for metric, found in by_metric.items():
        assert 0.3 < np.median(found) < 0.97, metric


def test_a_week_in_the_life_of_a_gateway() -> None:
    scrapes = list(of_host(HealthSimulator(seed=2, hours=168, faults=()).messages(), "gate02.example.org:9100"))
    values = {metric: np.array([one[metric] for one in scrapes]) for metric in scrapes[0]}
    assert 0.998 < len(scrapes) / (168 * 60) < 1
    assert (
        0
        < values["instance:node_cpu_utilisation:rate1m"].min()
        < values["instance:node_cpu_utilisation:rate1m"].max()
        < 1
    )
    assert (values["node_hwmon_temp_celsius"] > 20).all()
    assert (values["node_hwmon_temp_celsius"] < 75).all()
    assert np.abs(values["node_timex_offset_seconds"]).max() < 0.01
    assert np.ptp(values["node_filesystem_avail_bytes"]) < 0.2 * values["node_filesystem_avail_bytes"].mean()
    assert values["node_memory_MemAvailable_bytes"].min() > 0.7 * values["node_memory_MemAvailable_bytes"].mean()
    load = values["node_load1"]
    hour = 6 + np.arange(len(load)) / 60  # since Monday; missed scrapes move it by minutes
    weekday, daytime = hour < 120, (hour % 24 > 11) & (hour % 24 < 17)
    night = (hour % 24 > 1) & (hour % 24 < 5)
    assert load[weekday & daytime].mean() > 1.4 * load[weekday & night].mean()
    assert load[weekday & daytime].mean() > 1.3 * load[~weekday & (hour < 168) & daytime].mean()


@pytest.mark.parametrize("hours", [1.5, 5.0, 24.0])
@pytest.mark.parametrize("number", SEEDS)
def test_faults_have_room_and_hosts_of_their_own(number: int, hours: float) -> None:
    quiet = 2.0
    simulator = HealthSimulator(seed=number, hours=hours + quiet, quiet_hours=quiet)
    truth, span = simulator.truth, hours * HOUR
    begin = simulator.start + quiet * HOUR
    assert sorted(fault.kind for fault in truth) == sorted(FAULT_KINDS)
    assert len({fault.subject["instance"] for fault in truth}) == len({fault.id for fault in truth}) == len(truth)
    assert [fault.start for fault in truth] == sorted(fault.start for fault in truth)
    assert begin < truth[0].start <= begin + 0.1 * span
    assert max(fault.end for fault in truth) <= simulator.end - 30 * MINUTE
    for fault in truth:
        share = 2 if fault.kind == "sensor-stuck" else 1
        lasts = fault.end - fault.start
        assert max(25 * MINUTE, share * span / 6) - 1 <= lasts <= max(25 * MINUTE, share * span / 4)
    if hours >= 5:
        starts = [fault.start for fault in truth]
        assert min(b - a for a, b in pairwise(starts)) > 0, "one after the other"


def test_a_short_story_has_short_faults() -> None:
    simulator = HealthSimulator(seed=1, hours=2.25, quiet_hours=2.0)
    begin, span = simulator.start + 2 * HOUR, HOUR // 4
    assert len(simulator.truth) == len(FAULT_KINDS)
    for fault in simulator.truth:
        assert begin <= fault.start < fault.end <= simulator.end
        assert fault.end - fault.start >= span / 6


def test_orders_and_times_differ_between_seeds() -> None:
    truths = [HealthSimulator(seed=seed, hours=6).truth for seed in SEEDS]
    assert len({tuple(fault.kind for fault in truth) for truth in truths}) > 4
    assert len({fault.start for truth in truths for fault in truth}) == len(SEEDS) * len(FAULT_KINDS)


def test_a_story_may_begin_within_a_minute_and_have_no_faults() -> None:
    start = parse_rfc3339("2025-12-31T23:50:17.5Z")
    simulator = HealthSimulator(seed=1, hours=0.2, start=start, faults=())
    assert simulator.truth == ()
    assert HealthSimulator(seed=1, hours=0.2, faults=()).start == DEFAULT_START
    times = [parse_rfc3339(json.loads(body)[0]["timestamp"]) for _, body in simulator.messages()]
    assert start <= min(times) < start + MINUTE
    assert simulator.end - MINUTE < max(times) < simulator.end
    assert len(times) == pytest.approx(12 * 24, abs=3)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"faults": ("flood",)}, "unknown fault kind 'flood'; known are disk-filling"),
        ({"hours": 0}, "hours are above 0"),
        ({"hours": math.nan}, "hours are above 0"),
        ({"quiet_hours": 6.0}, "quiet_hours below hours"),
        ({"faults": ("disk-filling",) * 9}, "no host is left for 'disk-filling'"),
    ],
)
def test_impossible_stories_are_refused(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        HealthSimulator(**{"seed": 1, "hours": 6.0, **wrong})
