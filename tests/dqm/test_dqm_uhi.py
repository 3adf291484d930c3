"""Histograms of UHI's schema: what each axis and storage becomes, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from opintel.detector import Message
from opintel.dqm.elements import BinAxis
from opintel.dqm.histograms import Histograms
from opintel.dqm.wire import DqmWire, uhi

HEAD = {
    "run": 1,
    "lumisection": 2,
    "start": "2026-03-02T06:00:00Z",
    "end": "2026-03-02T06:00:23.31Z",
    "subsystem": "Calo",
}


def regular(bins: int, under: bool = False, over: bool = False) -> dict[str, Any]:
    ends = {"underflow": under, "overflow": over, "circular": False}
    return {"type": "regular", "lower": 0.0, "upper": max(bins, 1.0), "bins": bins, **ends}


def histogram(axes: Sequence[Any], kind: str = "int", **arrays: Any) -> dict[str, Any]:
    return {"uhi_schema": 1, "axes": list(axes), "storage": {"type": kind, **arrays}}


def read(content: dict[str, Any]) -> Any:
    """From JSON; with arrays it is the same."""
    found = uhi.from_json("h", json.dumps(content).encode())
    storage = {n: np.array(one) if isinstance(one, list) else one for n, one in content["storage"].items()}
    beside = uhi.from_arrays("h", {**content, "storage": storage})
    for one, other in zip(found, beside, strict=True):
        np.testing.assert_equal(one, other)
    return found


def wire(histograms: str) -> Any:
    body = json.dumps(HEAD)[:-1] + f', "histograms": {histograms}}}'
    return DqmWire().decode([Message(body.encode())])


@pytest.mark.parametrize(
    ("axis", "right", "flow"),
    [
        (regular(2), BinAxis.regular(2, 0.0, 2.0), False),
        ({"type": "variable", "edges": [0, 1, 4], "underflow": True, "overflow": True}, BinAxis((0.0, 1.0, 4.0)), True),
        ({"type": "category_str", "categories": ["b", "a"], "flow": False}, BinAxis(labels=("b", "a")), False),
        ({"type": "category_int", "categories": [7, -1], "flow": True}, BinAxis(labels=("7", "-1")), True),
        ({"type": "boolean"}, BinAxis(labels=("False", "True")), False),
    ],
)
def test_axes(axis: dict[str, Any], right: BinAxis, flow: bool) -> None:
    over = flow and axis["type"] == "category_int"  # one bin, behind the others
    found = read(histogram([axis], values=[1, 2, 3] if over else [0, 1, 2, 0] if flow else [1, 2]))
    assert (found.axes, found.flow) == ((right,), flow)
    assert found.values.tolist() == ([0, 1, 2, 3] if over else [0, 1, 2, 0] if flow else [1, 2])


def test_titles_and_units_are_taken_over() -> None:
    axis = {**regular(2), "metadata": {"label": "charge", "unit": "fC"}}
    found = read({**histogram([axis], values=[1, 2]), "metadata": {"title": "Charge"}})
    assert (found.title, found.axes[0].title, found.axes[0].unit) == ("Charge", "charge", "fC")


def test_the_first_axis_runs_along_rows() -> None:
    found = read(histogram([regular(2), regular(3)], "double", values=[[1, 2, 3], [4, 5, 6]]))
    assert found.values.tolist() == [[1, 4], [2, 5], [3, 6]]


def test_what_is_sparse_counts_from_the_underflow() -> None:
    found = read(histogram([regular(2, True, True), regular(2)], index=[[1, 3], [0, 1]], values=[5, 6]))
    assert found.values[1:-1].tolist() == [[0, 5, 0, 0], [0, 0, 0, 6]]
    assert read(histogram([regular(2)])).values.tolist() == [0, 0]


def test_weights_and_means_keep_their_errors() -> None:
    weighted = read(histogram([regular(2)], "weighted", values=[1.5, 2], variances=[0.5, 1]))
    assert (weighted.storage, weighted.variances.tolist()) == ("weighted", [0.5, 1])
    counts = {"counts": [400, 1, 0], "values": [2.0, 3.0, 0.0], "variances": [4.0, 0.0, 0.0]}
    profile = read(histogram([regular(3)], "mean", **counts))
    np.testing.assert_array_equal(profile.variances, [4 / 400, math.nan, math.nan])  # of the mean, not of the samples
    np.testing.assert_array_equal(profile.values, [2, 3, math.nan])
    assert profile.entries == 401
    sums = {"sum_of_weights": [10.0], "sum_of_weights_squared": [4.0], "values": [2.0], "variances": [5.0]}
    assert read(histogram([regular(1)], "weighted_mean", **sums)).variances.tolist() == [5 / (100 / 4)]


def test_nan_is_taken_as_python_writes_it_or_as_null() -> None:
    right = [1.0, math.nan, math.nan]
    content = histogram([regular(3)], "double", values=[1.0, math.nan, -math.inf])
    found = wire(json.dumps({"h": content}))
    assert not found.rejects
    np.testing.assert_array_equal(found.rows.payload.values.at(0), right)
    content["storage"]["values"] = [1.0, None, None]
    np.testing.assert_array_equal(wire(json.dumps({"h": content})).rows.payload.values.at(0), right)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (histogram([regular(7)], values=[1, 2, 3]), "values: expected 7 values, got 3"),
        (histogram([regular(2), regular(2)], values=[[1, 2], [3]]), "values: expected rows of one length, got several"),
        (histogram([], values=1), "axes: expected one or two, got 0"),
        (histogram([regular(1)] * 3, values=[[[1]]]), "axes: expected one or two, got 3"),
        (histogram([regular(0)], values=[]), "axes: expected at least one bin, got none"),
        (histogram([regular(10**7)], values=[]), "expected at most 1000000 values, got 10000000"),
        (histogram([regular(10**6, True, True)]), "expected at most 1000000 values, got 1000002"),
        (histogram([regular(1)], "weighted", values=[1]), "storage: expected values, variances, got values"),
        (histogram([regular(2)], index=[[5]], values=[1]), "index: expected places among 2, got others"),
        (histogram([regular(2)], index=[[1, 1]], values=[1, 2]), "index: expected each place once, got one twice"),
        (histogram([regular(2)], index=[[1]], values=[1, 2]), "values: expected 1 values, got 2"),
        (histogram([regular(2)], index=[[1], [1]], values=[1]), "index: expected 1 lists of one length, got others"),
        (
            histogram([{**regular(2), "upper": 0.0}], values=[1, 2]),
            "axes: expected lower below upper, both finite, got 0.0, 0.0",
        ),
        (
            histogram([{"type": "variable", "edges": [0, 2, 1]}], values=[1, 2]),
            "axes: expected edges finite and ascending",
        ),
        (histogram([regular(2)], values="data/values"), "values: Expected `array`, got `str`"),
        (
            {**histogram([regular(2)], values=[1, 2]), "uhi_schema": 2},
            "uhi_schema: expected 1, got 2",
        ),
        (
            histogram([{"type": "category_str", "categories": ["a", "a"]}], values=[1, 2]),
            "axes: expected each label once, got 'a' twice",
        ),
        (histogram([{"type": "spline"}], values=[1]), "Invalid enum value 'spline' - at `$.axes[0].type`"),
        ([], "Expected `object`, got `array`"),
    ],
)
def test_a_bad_histogram_is_refused_and_its_neighbour_stays(content: Any, reason: str) -> None:
    good = histogram([regular(2)], values=[1, 2])
    found = wire(json.dumps({"first": good, "bad": content, "last": good}))
    assert [(list(reject.records), reject.reason) for reject in found.rejects] == [([1], reason)]
    assert found.rows.key.tolist() == ["Calo||first", "Calo||last"]
    assert found.n.tolist() == [0, 2]


def test_small_messages_that_mean_much_are_bounded() -> None:
    large = json.dumps(histogram([regular(900_000)], index=[[1]], values=[5]))
    found = wire("{" + ",".join(f'"h{n}": {large}' for n in range(50)) + "}")
    assert isinstance(found.rows.payload, Histograms)
    assert len(found.rows) == 4
    assert sum(len(reject.records) for reject in found.rejects) == 46
