"""Hosts that are down: what says so, how soon, that nothing is said twice, and what only ends as planned."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import pytest

from opintel.detector import Closing, Controls, Record
from opintel.finding import NS, Finding, Window
from opintel.health.series_names import series_text
from opintel.health.silent import SilentInstanceJudge, SilentInstanceSettings
from opintel.health.windows import SERIES, Point, SeriesWindow

MINUTE = 60 * NS
BEGIN = 1_700_000_040 * NS
HOSTS = [f"n{n}" for n in range(6)]
Hosts = Mapping[str, Mapping[str, float | None]]
"""Host → metric → its last value."""


def closing(n: int, hosts: Hosts, labels: Mapping[str, Mapping[str, str]]) -> Closing:
    window = Window(BEGIN + n * MINUTE, BEGIN + (n + 1) * MINUTE)
    records = [
        Record(
            window,
            SERIES,
            series_text(metric, {"instance": host, **labels.get(host, {})}),
            "node",
            SeriesWindow(1, 0, Point(window.start, value, None, None), None, False, "", 0, window.start),
        )
        for host, metrics in sorted(hosts.items())
        for metric, value in metrics.items()
    ]
    return Closing(window, "node", records, Controls(), SilentInstanceSettings(), "model", True)


def play(
    at: Callable[[int], Hosts], windows: int, labels: Mapping[str, Mapping[str, str]] | None = None
) -> list[list[Finding]]:
    judge = SilentInstanceJudge()
    told = []
    for n in range(windows):
        told.append(judge.judge(closing(n, at(n), labels or {})))
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(judge.state()), strict=False)
        judge = SilentInstanceJudge()
        judge.restore(state)
    return told


def said(told: list[list[Finding]]) -> list[tuple[int, str, str, str]]:
    """(window, instance, kind, severity) of each finding."""
    return [(n, f.subject.get("instance", ""), f.kind, f.severity) for n, found in enumerate(told) for f in found]


WELL = {"up": 1.0, "load": 2.0}
DEAD: dict[str, dict[str, float | None]] = {
    "up is 0": {"up": 0.0},
    "up is 0, and other series go on": {"up": 0.0, "load": 2.0},
    "nothing": {},
}


@pytest.mark.parametrize("how", DEAD)
def test_a_host_that_dies_is_down_in_its_second_window_and_back_when_it_is(how: str) -> None:
    def at(n: int) -> Hosts:
        return {h: DEAD[how] if h == "n2" and 100 <= n < 140 else WELL for h in HOSTS}

    told = play(at, 150)
    down = [(n, "n2", "down", "critical") for n in range(101, 140)]
    assert said(told) == [*down, (140, "n2", "down", "info")]
    assert told[101][0].basis == "none"
    assert told[101][0].effect.value == 2.0


def test_a_fleet_without_up_and_one_that_loses_it_with_its_last_sample() -> None:
    only_load = play(lambda n: {h: {"load": 2.0} for h in HOSTS if h != "n2" or n < 100}, 105)
    removed = play(
        lambda n: {h: {"up": 0.0} if h == "n2" and n >= 100 else WELL for h in HOSTS if h != "n2" or n < 102}, 105
    )
    assert said(only_load) == said(removed) == [(n, "n2", "down", "critical") for n in range(101, 105)]


def test_one_failed_scrape_an_unknown_value_and_a_second_target_that_answers_are_no_death() -> None:
    def at(n: int) -> Hosts:
        odd = {0: {"up": 0.0}, 1: {"up": None, "load": 2.0}, 2: {"up": None}}.get(n % 50)
        return {h: odd or WELL if h == "n2" and n >= 60 else WELL for h in HOSTS}

    assert said(play(at, 200)) == []


def test_who_never_was_up_or_only_just_is_not_down() -> None:
    def at(n: int) -> Hosts:
        never = {"old": {"up": 0.0}}
        young = {"new": WELL if n < 70 else {"up": 0.0}} if n >= 50 else {}
        return {**dict.fromkeys(HOSTS, WELL), **never, **young}

    assert said(play(at, 200)) == []


def test_most_of_the_hosts_are_one_finding_about_the_scope() -> None:
    def at(n: int) -> Hosts:
        return {h: WELL if n < 200 or h == "n0" else {"up": 0.0} for h in HOSTS}

    told = said(play(at, 260))
    assert told
    assert {(host, kind) for _, host, kind, _ in told} == {("", "silent")}


def test_a_pod_that_ends_is_not_down_but_one_that_does_not_answer_is() -> None:
    pods = {h: {"pod": f"pod-{h}", "namespace": "web"} for h in HOSTS}
    ends = said(play(lambda n: {h: WELL for h in HOSTS if h != "n2" or n < 100}, 130, pods))
    refuses = said(play(lambda n: {h: {"up": 0.0} if h == "n2" and n >= 100 else WELL for h in HOSTS}, 104, pods))
    assert not [one for one in ends if one[3] == "critical"]
    assert refuses == [(n, "n2", "down", "critical") for n in (101, 102, 103)]


def test_jobs_that_end_among_hosts_that_stay_are_not_down() -> None:
    """Six hosts for a day, beside them a job of an hour after the other without a label that says so."""

    def at(n: int) -> Hosts:
        jobs = {f"job{n // 60}": {"load": 5.0}} if n > 600 else {}
        return {**{h: WELL for h in HOSTS if h != "n4" or n < 1400}, **jobs}

    told = said(play(at, 1440))
    assert {host for _, host, _, severity in told if severity == "critical"} == {"n4"}


def test_where_lives_end_all_the_time_no_end_is_a_death() -> None:
    """A scope of jobs of 90 minutes, four at a time, one begins every 22."""

    def at(n: int) -> Hosts:
        return {f"job{k}": {"load": 5.0} for k in range(n // 22 + 1) if 0 <= n - 22 * k < 90}

    told = [one for one in said(play(at, 900)) if one[0] > 300]
    assert not [one for one in told if one[3] == "critical"]


def test_silences_that_are_usual_are_not_deaths() -> None:
    def at(n: int) -> Hosts:
        gone = {f"n{n // 250 % 6}"} if n % 250 >= 245 else set()
        return {h: WELL for h in HOSTS if h not in gone and (h != "n3" or n < 3000)}

    told = said(play(at, 3010))
    assert [one for one in told if 600 < one[0] < 3000 and one[3] == "critical"] == []
    assert (3009, "n3", "down", "critical") in told
