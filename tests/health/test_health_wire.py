"""Samples on the wire: what each form gives, and that any bytes give a row or a reason."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opintel.detector import Message
from opintel.health.series_names import key_of, parts_of, series_parts
from opintel.health.wire import MAX_KEY, HealthWire
from opintel.rows import Row

NS = 1_700_000_000 * 10**9
GOOD: dict[str, Any] = {
    "timestamp": 1_700_000_000,
    "value": "1.5",
    "name": "up",
    "labels": {"job": "n", "b": "x", "a": "y"},
}


def taken(content: Any, **settings: str) -> list[Row[Any] | str]:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    found = HealthWire(**settings).decode([Message(body)])
    rows = [(n, row) for n, row in zip(found.n.tolist(), found.rows.rows(), strict=True)]
    told = dict([*rows, *((n, r.reason) for r in found.rejects for n in r.records)])
    return [told[n] for n in sorted(told)]


def row(content: Any, **settings: str) -> Row[Any]:
    (found,) = taken(content, **settings)
    assert isinstance(found, Row), found
    return found


def test_a_sample_names_its_series_as_prometheus_does() -> None:
    found = row(GOOD)
    assert found.key == 'n|up{a="y",b="x",job="n"}'
    assert (found.time, found.payload.value, found.payload.missing) == (NS, 1.5, False)
    assert row({**GOOD, "labels": {}}).key == "default|up"
    assert row(GOOD, scope_label="a").key.startswith("y|")


@pytest.mark.parametrize(
    "timestamp",
    [
        1_700_000_000,
        1_700_000_000.0,
        1_700_000_000_000,
        1_700_000_000_000_000,
        NS,
        "2023-11-14T22:13:20Z",
        "1700000000",
    ],
)
def test_seconds_ms_us_ns_and_text_are_one_time(timestamp: Any) -> None:
    assert row({**GOOD, "timestamp": timestamp}).time == NS


def test_a_fraction_counts_to_the_thousandth() -> None:
    assert row({**GOOD, "timestamp": 1_700_000_000.25}).time == NS + 250_000_000


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "1e300"])
def test_what_is_no_number_to_reckon_with_is_a_sample_without_a_value(value: str) -> None:
    found = row({**GOOD, "value": value})
    assert (found.payload.value, found.payload.missing) == (0.0, True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"timestamp": 5}, "2000 to 2100"),
        ({"timestamp": 1e300}, "2000 to 2100"),
        ({"timestamp": 10**400}, "2000 to 2100"),
        ({"timestamp": "yesterday"}, "RFC 3339"),
        ({"timestamp": None}, "RFC 3339"),
        ({"timestamp": True}, "RFC 3339"),
        ({"value": "lots"}, "value: expected a number"),
        ({"value": None}, "value: expected a number"),
        ({"value": "1_000"}, "value: expected a number"),
        ({"value": "١٢"}, "value: expected a number"),
        ({"value": "1" * 65}, "value: expected a number"),
        ({"value": 10**400}, "not a sample|a number"),
        ({"name": "1up"}, "a metric's name"),
        ({"name": None}, "a metric's name"),
        ({"labels": [1]}, "labels: expected a mapping"),
        ({"labels": {"a b": "x"}}, "a label's name"),
        ({"labels": {"a": 1}}, "a printable text"),
        ({"labels": {"a": "\n"}}, "a printable text"),
        ({"labels": {"a": ["x"]}}, "a text"),
        ({"labels": {"a": "x" * MAX_KEY}}, "at most 1024"),
        ({"labels": {f"l{n}": "x" for n in range(65)}}, "at most 64"),
        ({"labels": {"l" * 5000: ""}}, "labels: expected at most 4096 characters"),
        ({"labels": {"__name__": "x" * 5000}}, "labels: expected at most 4096 characters"),
    ],
)
def test_a_bad_sample_is_a_reason_and_its_neighbours_are_rows(change: dict[str, Any], said: str) -> None:
    import re

    before, bad, after = taken([GOOD, {**GOOD, **change}, GOOD])
    assert isinstance(before, Row)
    assert isinstance(after, Row)
    assert isinstance(bad, str)
    assert re.search(said, bad)


def test_an_answer_of_prometheus_gives_its_samples() -> None:
    metric = {"__name__": "up", "job": "n"}
    vector = {
        "status": "success",
        "data": {"resultType": "vector", "result": [{"metric": metric, "value": [1.7e9, "2"]}]},
    }
    assert row(vector).key == 'n|up{job="n"}'
    pairs = [[1_700_000_000, "1"], [1_700_000_030.5, "NaN"], "bad"]
    matrix = {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": metric, "values": pairs}]}}
    first, second, bad = taken(matrix)
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert second.time - first.time == 30_500_000_000
    assert second.payload.missing
    assert isinstance(bad, str)


FIELDS = st.sampled_from(["timestamp", "value", "name", "labels", "data", "result", "metric", "values"])
PLAIN = st.recursive(st.none() | st.floats() | st.text(max_size=9), lambda x: st.lists(x) | st.dictionaries(FIELDS, x))


@given(st.binary(max_size=200) | PLAIN.map(lambda x: json.dumps(x).encode()))
def test_any_message_gives_rows_or_reasons(body: bytes) -> None:
    found = taken(body)
    assert found
    for one in found:
        if isinstance(one, Row):
            assert math.isfinite(one.payload.value)
            assert len(one.key) <= MAX_KEY
        else:
            assert one


LABELS = st.dictionaries(
    st.from_regex(r"[a-z_][a-z0-9_]*", fullmatch=True), st.text(min_size=1, max_size=20), max_size=5
)


@given(st.text(max_size=10), st.from_regex(r"[a-z_:][a-z0-9_:]*", fullmatch=True), LABELS)
def test_a_key_says_scope_name_and_labels(scope: str, name: str, labels: dict[str, str]) -> None:
    found, series = parts_of(key_of(scope, name, labels))
    assert found == scope.replace("|", "_")
    assert series_parts(series) == (name, dict(sorted(labels.items())))
