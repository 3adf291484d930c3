"""Series on their way to a limit: what is forecast, how surely, and what is not."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from opintel.detector import Closing, Controls, Record
from opintel.finding import NS, Finding, Window
from opintel.health import limits
from opintel.health.limits import Limit, LimitJudge, LimitSettings
from opintel.health.series_names import series_text
from opintel.health.windows import SERIES, Point, SeriesWindow

MINUTE = 60 * NS
BEGIN = 1_700_000_040 * NS
FULL = LimitSettings((Limit(metric="avail", below=0.0, hours=24.0, labels={"mountpoint": "/data"}),))
DISK = {"instance": "disk01", "mountpoint": "/data"}


def closing(n: int, values: dict[str, float | None], settings: LimitSettings = FULL) -> Closing:
    window = Window(BEGIN + n * MINUTE, BEGIN + (n + 1) * MINUTE)
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
    return Closing(window, "node", records, Controls(), settings, "model", True)


def play(at: Callable[[int], float | None], windows: int, labels: dict[str, str] = DISK) -> list[list[Finding]]:
    judge, series = LimitJudge(), series_text("avail", labels)
    return [judge.judge(closing(n, {series: at(n)})) for n in range(windows)]


def falling(n: int) -> float:
    """Full 600 windows after the first 300, with noise."""
    return 1000.0 * min(1.0, 1.0 - (n - 300) / 600.0) + float(np.random.default_rng(n).normal(0, 3))


def test_a_disk_that_fills_is_told_hours_before_with_an_interval_that_holds() -> None:
    told = play(falling, 800)
    assert not any(told[:300])
    first = next(n for n, found in enumerate(told) if found)
    assert first < 420
    assert all(told[first:])
    (finding,) = told[600]
    assert (finding.kind, finding.basis, finding.log10_p, finding.severity) == ("forecast", "none", None, "warning")
    assert finding.effect.value == pytest.approx(5.0, rel=0.1)
    assert finding.summary == "disk01: avail (/data) reaches its limit 0 about 15 Nov 13:13 UTC, in 5.0 h, now 498.8"
    series = finding.evidence[0]
    assert series.expected is not None  # type: ignore[union-attr]
    ahead = [n for n, v in enumerate(series.values) if v is None]  # type: ignore[union-attr]
    assert len(ahead) == 60
    assert series.expected.low[-1] == pytest.approx(0.0, abs=1e-9)  # type: ignore[union-attr]


def test_series_without_room_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CAP", 2)
    judge = LimitJudge()
    values: dict[str, float | None] = {series_text("avail", DISK | {"instance": f"d{n}"}): 0.0 for n in range(4)}
    told = judge.judge(closing(0, {**values, series_text("other", DISK): 0.0}))
    assert [(f.kind, f.subject.get("instance")) for f in told] == [("limit", "d0"), ("limit", "d1"), ("refused", None)]
    assert told[-1].summary.startswith("2 series whose limit is not watched, as avail{")
    assert len({f.id for f in told}) == 3


def test_what_is_reached_is_critical_and_another_kind() -> None:
    told = play(lambda n: 5.0 - n / 100, 520)
    (finding,) = told[-1]
    assert (finding.kind, finding.severity) == ("limit", "critical")
    assert "below its limit 0" in finding.summary


def test_steady_series_and_others_are_not_told() -> None:
    rng = np.random.default_rng(5)
    walk = np.cumsum(rng.normal(0, 1, 1500)) + 2000
    assert not any(play(lambda n: float(walk[n]), 1500))
    noise = rng.normal(100, 20, 1500)
    assert not any(play(lambda n: float(noise[n]), 1500))
    assert not any(play(lambda n: 1000.0 + n, 800)), "it goes away from its limit"
    assert not any(play(falling, 800, labels={"instance": "disk01", "mountpoint": "/"})), "not the one of the limit"


def daily(n: int) -> float:
    """A smooth daily course: hours of it point at the limit as if they would reach it in half a day."""
    return 1000.0 + 300.0 * math.sin(math.tau * n / 1440) + float(np.random.default_rng(n).normal(0, 1))


def test_what_comes_every_day_is_no_drift() -> None:
    told = play(daily, 3 * 1440)
    assert any(told[: 28 * 60]), "yesterday is not known on the first day"
    assert not any(told[29 * 60 :])


def test_what_goes_on_every_day_is_told_and_what_comes_on_top_of_the_day() -> None:
    # full after 100 hours, quickest in the morning: in the last day each afternoon is like yesterday's
    filling = play(lambda n: 1000.0 - n / 6.0 + 15.0 * math.sin(math.tau * n / 1440), 5 * 1440)
    first = next(n for n, found in enumerate(filling) if found and n > 1440)
    assert 6000 - 24 * 60 - 6 * 60 < first < 6000 - 12 * 60
    leak = 2 * 1440 + 400
    leaking = play(lambda n: daily(n) - 4.0 * max(0, n - leak), leak + 120)
    assert not any(leaking[29 * 60 : leak])
    assert any(leaking[leak : leak + 60])


def test_gaps_are_waited_for_and_values_missing_say_nothing() -> None:
    told = play(lambda n: None if n % 3 else falling(n), 800)
    assert any(told)
    assert not any(found for n, found in enumerate(told) if n % 3)


def test_it_goes_on_from_its_state() -> None:
    series = series_text("avail", DISK)
    whole, judge = LimitJudge(), LimitJudge()
    for n in range(560):
        expected = whole.judge(closing(n, {series: falling(n)}))
        assert judge.judge(closing(n, {series: falling(n)})) == expected
        if n % 7 == 0:
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(judge.state()))
            judge = LimitJudge()
            judge.restore(state)
    assert expected


@pytest.mark.parametrize(
    ("sides", "said"),
    [({}, "either `above` or `below`"), ({"above": 1.0, "below": 0.0}, "either"), ({"above": math.nan}, "finite")],
)
def test_a_limit_is_one_number(sides: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Limit(metric="avail", **sides)  # type: ignore[arg-type]


def test_labels_named_as_ours_do_not_hide_a_series() -> None:
    judge = LimitJudge()
    two = {series_text("avail", {**DISK, "kind": kind, "scope": "other"}): -1.0 for kind in ("a", "b")}
    found = judge.judge(closing(0, dict(two)))
    assert len({f.id for f in found}) == 2
    assert [(f.subject["scope"], f.subject["exported_scope"]) for f in found] == [("node", "other")] * 2
    one, other = (series_text("avail", {**DISK, label: "a"}) for label in ("scope", "exported_scope"))
    assert len({f.id for f in judge.judge(closing(1, {one: -1.0, other: -1.0}))}) == 2


def test_a_forecast_that_does_not_come_true_is_given_up() -> None:
    told = play(lambda n: max(2.0, falling(n)), 1300)
    assert told[700]
    last = max(n for n, found in enumerate(told) if found)
    assert 890 <= last < 930


def test_a_forecast_ends_when_somebody_makes_room() -> None:
    told = play(lambda n: falling(n) if n < 700 else falling(0) - 100.0, 1000)
    assert all(told[450:700])
    assert not any(told[700:])


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.0, "disk01: avail (/data) is 0, at its limit 0"),
        (-3.0, "disk01: avail (/data) is -3, below its limit 0"),
    ],
)
def test_what_is_said_of_a_limit_that_is_reached_is_true(value: float, told: str) -> None:
    [[finding]] = play(lambda n: value, 1)
    assert finding.summary == told
