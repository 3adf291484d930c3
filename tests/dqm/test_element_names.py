"""A finding names the detector elements that a site's YAML says lie where a histogram stands out."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from opintel.dqm.elements import BinAxis, MonitorElement, axes_text
from opintel.dqm.rolling.pictures import placed
from opintel.dqm.rolling.reducer import DqmReducerSettings

from .lumisections import Stages, element, shape

X, Y = BinAxis.regular(10, -5.0, 5.0, "phi"), BinAxis.regular(6, 0.0, 6.0, "ladder")
ELEMENTS = {
    "T/map": {"ladder 3": [-5.0, 5.0, 2.0, 3.0], "half A": [-5.0, 0.0], "ladder 6": [-5.0, 5.0, 5.0, 6.0]},
    "T/*": {"low charge": [0.0, 20.0], "high charge": [60.0, 80.0]},
}


def test_a_finding_says_which_elements_are_odd() -> None:
    stages, rng = Stages(elements=ELEMENTS), np.random.default_rng(1)

    def elements(number: int) -> list[MonitorElement]:
        line, cells = rng.poisson(shape()).astype(float), rng.poisson(40.0, (6, 10)).astype(float)
        if number > 8:
            line[4:10], cells[2, 1:4] = 0.0, 0.0
        about = {"storage": "count", "variances": None, "flow": False}
        return [element("T/charge", line), MonitorElement("T/map", (X, Y), values=cells, **about)]

    found = stages.play(5, range(1, 11), elements)[10]
    said = [f.summary.partition(" is ")[2] for f in found if f.severity != "info"]
    assert sorted(said) == [
        "dead in ladder 3, half A, at phi -4 to -1 and ladder 2 to 3",
        "dead in low charge, at charge 8 to 20 ke",
    ]


def test_labels_count_from_0_and_what_lies_outside_touches_nothing() -> None:
    axes = axes_text((BinAxis((), ("a", "b", "c")),), False)
    assert placed(axes, [(0, 1, 0, 1, "hot")], {"last": [1, 3], "first": [0, 1]}).startswith("in last, at ")
    assert placed(axes_text((X,), True), [(0, 0, 0, 0, "hot")], {"all": [-9, 9]}) == "at the underflow of phi"
    many = {f"module {n}": [-5.0, 5.0] for n in range(5)}
    assert placed(axes_text((X,), False), [(0, 1, 0, 1, "hot")], many).startswith(
        "in module 0, module 1, module 2 and 2 more, at phi"
    )


def test_a_place_of_three_numbers_is_refused_by_name() -> None:
    with pytest.raises(msgspec.ValidationError, match="expected 2 numbers, or 4 of a map, for 'a' of 'T', got 3"):
        msgspec.convert({"elements": {"T": {"a": [1, 2, 3]}}}, DqmReducerSettings)
