"""From samples to findings through the real stages: what is found, what is not, and how it is explained."""

from __future__ import annotations

import pytest
from contract.cases import CASES, START
from contract.harness import Outcome, play

from opintel.detector import Closing, Controls, Record
from opintel.finding import NS, Window, parse_rfc3339
from opintel.health.unusual import UnusualJudge, UnusualSettings, departure
from opintel.health.windows import Point, SeriesWindow

HEALTH = next(case for case in CASES if case.name == "health")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return play(HEALTH, tmp_path_factory.mktemp("health"))


def test_what_jumps_is_stuck_or_silent_is_found_and_nothing_else(told: Outcome) -> None:
    found = sorted(told.findings.values(), key=lambda f: f["window"]["start"])
    assert {(f["kind"], f["subject"]["instance"], f["subject"].get("metric")) for f in found} == {
        ("unusual", "h2", "load1"),
        ("unusual", "h4", "load0"),
        ("down", "h5", None),
    }
    first = next(f for f in found if f["subject"].get("metric") == "load1")
    jumped = START + 201 * 30 * NS
    assert parse_rfc3339(first["window"]["start"]) <= jumped < parse_rfc3339(first["window"]["end"])
    assert first["kind"] == "unusual"
    assert first["log10_p"] <= -4
    assert first["summary"].startswith("h2: load1 ")
    assert ", usually " in first["summary"]
    assert first["effect"]["value"] > 5


def test_a_finding_is_drawn_with_the_band_before_it(told: Outcome) -> None:
    ours = (f for f in told.findings.values() if f["subject"].get("metric") == "load1")
    first = min(ours, key=lambda f: f["window"]["start"])
    series = first["evidence"][0]
    assert series["type"] == "series"
    assert len(series["times"]) == len(series["values"]) == len(series["expected"]["low"])
    assert len(series["times"]) > 30
    assert series["times"] == sorted(series["times"])
    assert series["values"][-1] > series["expected"]["high"][-2]


def test_bad_samples_are_dead_letters(told: Outcome) -> None:
    dead = [aside for aside in told.asides if aside[0] == "dead"]
    assert dead
    assert all("RFC 3339" in str(aside) for aside in dead)


def window(values: list[float | None], last: float | None, statistic: str = "residual") -> SeriesWindow:
    trail = [Point(n, value, 9.0, 11.0) for n, value in enumerate(values)]
    return SeriesWindow(1, 0, Point(9, last, 9.0, 11.0), -6.0, True, statistic, 1, 9, trail)


def found(given: SeriesWindow) -> tuple[str, str]:
    record = Record(Window(0, 60), "series", 'm{instance="h"}', "s", given)
    closing = Closing(Window(0, 60), "s", [record], Controls(), UnusualSettings(), "", True)
    (finding,) = UnusualJudge().judge(closing)
    return finding.severity, finding.summary


def test_a_series_that_is_back_is_said_to_be_and_names_no_incident() -> None:
    assert found(window([10.0, 2.0, 1.0], 10.5)) == ("info", "h: m is back at 10.5, inside its usual 9 to 11")
    assert found(window([10.0, 2.0, 1.0], 1.5)) == ("warning", "h: m dropped to 1.5, usually 9 to 11")
    assert found(window([10.0, 2.0, 1.0], 8.8)) == ("info", "h: m is back at 8.8, usually 9 to 11")
    assert found(window([10.0, 8.9, None], 10.5))[0] == "warning"  # it was never far away
    assert found(window([10.0, 2.0], None))[0] == "warning"


def test_words_say_where_a_series_is() -> None:
    assert found(window([10.0, 10.1], 99.0, "spread")) == ("warning", "h: m is at 99, usually 9 to 11")
    assert found(window([10.0, 7.5], 12.0, "spread"))[1] == "h: m scatters as it never did, now at 12, usually 9 to 11"
    assert found(window([9.1], 10.9))[1] == "h: m moves as it never did, now at 10.9, inside its usual 9 to 11"


def test_the_departure_is_in_standard_deviations_of_the_band() -> None:
    assert departure(3.92, -1.96, 1.96) == pytest.approx(3.92)
    assert departure(None, 0.0, 1.0) == departure(1.0, None, None) == departure(1.0, 2.0, 2.0) == 0.0


def test_no_rate_is_said_to_be_usually_below_zero() -> None:
    trail = [Point(n, 0.1, -0.4, 0.4) for n in range(9)]
    given = SeriesWindow(1, 0, Point(9, 7.0, -0.4, 0.4), -6.0, True, "residual", 1, 9, trail)
    record = Record(Window(0, 60), "series", 'errors_total{instance="h"}', "s", given)
    (finding,) = UnusualJudge().judge(Closing(Window(0, 60), "s", [record], Controls(), UnusualSettings(), "", True))
    assert finding.summary == "h: errors_total jumped to 7 /s, usually 0 /s to 0.4 /s"


@pytest.mark.parametrize(
    ("name", "value", "low", "high", "words"),
    [
        ("cert_expiry", 1_799_300_000.0, 1_799_000_000.0, 1_799_000_004.0, "jumped to 1.7993e+09, usually 1.799e+09"),
        ("x_bytes", 1.00002e12, 999_999_999_990.0, 1_000_000_000_010.0, "jumped to 1.00002 TB, usually 1 TB"),
        (
            "node_boot_time_seconds",
            1_790_000_600.0,
            1_790_000_000.0,
            1_790_000_000.0,
            "jumped to 2026-09-21 14:23:20 UTC, usually 2026-09-21 14:13:20 UTC",
        ),
    ],
)
def test_a_value_is_told_from_what_is_usual(name: str, value: float, low: float, high: float, words: str) -> None:
    given = SeriesWindow(1, 0, Point(9, value, low, high), -6.0, True, "residual", 1, 9, [Point(8, low, low, high)])
    record = Record(Window(0, 60), "series", f'{name}{{instance="h"}}', "s", given)
    (finding,) = UnusualJudge().judge(Closing(Window(0, 60), "s", [record], Controls(), UnusualSettings(), "", True))
    assert finding.summary == f"h: {name} {words}"
