"""Bins that change on a live wire of histograms: labels that grow and are renamed, other axes, flow bins, and the types
in which contents come.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from opintel.dqm.elements import BinAxis, MonitorElement, axes_text
from opintel.dqm.wire.arrow_parts import KEY
from opintel.finding import NS

from .live import PATHS, Live, detector, emptied, healthy, live, sent
from .lumisections import element, head, listing, shape

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
OLD = tuple(f"HLT_Path{n}_v7" for n in range(10))
NEW = ("HLT_First_v1", *OLD[5:0:-1], "HLT_Path0_v8", *OLD[6:], "HLT_Last_v1")
"""Two are added, one is renamed, and the others stand in another order."""
RATES = dict(zip(OLD, 40.0 * (1 + np.arange(10)), strict=True)) | {NEW[0]: 300.0, NEW[6]: 900.0, NEW[-1]: 500.0}


def paths(number: int, labels: tuple[str, ...], change: Mapping[str, float] = {}, flow: bool = False) -> MonitorElement:
    """Trigger rates; those in `change` are other ones."""
    rng = np.random.default_rng([9, number])
    rates = RATES | dict(change)
    values = rng.poisson([rates[label] for label in labels])
    values = np.concatenate([[3], values, [5]]) if flow else values
    return element("T/paths", values, BinAxis(labels=labels, title="path"), flow=flow)


def menus(
    folder: Path, changes: Mapping[int, Mapping[str, float]] = {}, flow: bool = False, decay: float | None = None
) -> Live:
    """The menu changes after lumisection 12."""
    story = []
    for n in range(1, 25):
        one = paths(n, OLD if n <= 12 else NEW, changes.get(n, {}), flow)
        said = None if decay is None else listing(pileup=55.0 - decay * n)
        story += sent(head(5, n), [*detector(n), one], said)
    return live(folder, story)


@pytest.mark.parametrize(("flow", "decay"), [(False, None), (True, None), (False, 0.2)])
def test_labels_that_stay_are_compared_across_a_change_of_menu(flow: bool, decay: float | None, tmp_path: Path) -> None:
    found = menus(tmp_path / "healthy", {}, flow, decay)
    assert found.alarms() == {}
    assert [text for text in found.words("insufficient") if " 13: " in text] == []
    assert found.states()[5, 13] == "good"
    found = menus(tmp_path / "dead", {13: {OLD[8]: 0.0}, 20: {NEW[0]: 0.0}, 22: {NEW[6]: 0.0}}, flow, decay)
    assert found.alarms() == {(5, n): [("dead", "T/paths")] for n in (13, 20, 22)}
    assert [text.partition(" at ")[2] for text in found.words("dead") if " at " in text] == [
        f"path {OLD[8]}",
        f"path {NEW[0]}",
        f"path {NEW[6]}",
    ]


def test_a_label_that_references_do_not_know_yet_is_not_compared(tmp_path: Path) -> None:
    wild = {13: {NEW[0]: 9000.0}, 14: {NEW[0]: 0.0}, 15: {NEW[-1]: 7000.0}}
    found = menus(tmp_path, wild)
    assert [place for place in found.alarms() if place[1] < 18] == []
    assert {found.states()[5, n] for n in range(13, 18)} == {"good"}


def test_labels_with_none_in_common_are_other_bins(tmp_path: Path) -> None:
    other = tuple(f"{label}_again" for label in OLD)
    rates = dict(zip(other, RATES.values(), strict=False))
    story = healthy(5, range(1, 13))
    for n in range(1, 15):
        story += sent(head(5, n), [paths(n, OLD if n <= 12 else other, rates)])
    found = live(tmp_path, story)
    assert found.alarms() == {}
    assert any("with new bins" in text for text in found.words("insufficient"))


def test_two_bins_of_one_label_are_refused(tmp_path: Path) -> None:
    story = healthy(5, range(1, 9))
    twice = sent(head(5, 8), [element("T/paths", [1, 2], BinAxis(labels=("a", "a")))])
    found = live(tmp_path, [*story, *twice])
    assert found.outcome.findings == live(tmp_path / "plain", story).outcome.findings
    assert found.outcome.asides["dead", "axes: expected each label once, got 'a' twice"] == 1


@pytest.mark.parametrize(
    "axis", [BinAxis.regular(20, 0.0, 80.0, "charge", "ke"), BinAxis.regular(40, 0.0, 100.0, "charge", "ke")]
)
def test_a_changed_axis_waits_for_references_and_its_neighbours_do_not_see_it(axis: BinAxis, tmp_path: Path) -> None:
    def story(changed: bool) -> list[tuple[int, bytes]]:
        parts = []
        for n in range(1, 24):
            elements = emptied(detector(n), "T/h0", 3, 8) if n == 14 else detector(n)
            if changed and n > 12:
                rng = np.random.default_rng([3, n])
                values = rng.poisson(shape(axis.bins, peak=6.0))
                values[9:13] *= n != 22
                elements[1] = element("T/h1", values, axis)
            parts += sent(head(5, n), elements)
        return parts

    found, plain = live(tmp_path / "changed", story(True)), live(tmp_path / "plain", story(False))
    assert found.alarms() == {(5, 14): [("dead", "T/h0")], (5, 22): [("dead", "T/h1")]}
    assert found.about(*(p for p in PATHS if p != "T/h1")) == plain.about(*(p for p in PATHS if p != "T/h1"))
    assert [text for text in found.words("insufficient") if " 13: " in text] == [
        "run 5 lumisection 13: 1 of 4 histograms cannot be judged: 1 with new bins"
    ]


def test_flow_bins_are_told_by_the_axis(tmp_path: Path) -> None:
    """42 values with flow bins beside 40 without; a histogram that gets them has other bins."""

    def with_flow(one: MonitorElement, outside: float = 30.0) -> MonitorElement:
        rng = np.random.default_rng(int(one.values.sum()))
        values = np.concatenate([rng.poisson([outside]), one.values, rng.poisson([2 * outside])])
        return one._replace(values=values, flow=True)

    story = []
    for n in range(1, 16):
        one, two, three, four = detector(n)
        more = with_flow(one, 400.0 if n == 15 else 30.0)
        story += sent(head(5, n), [more, two, with_flow(three) if n > 12 else three, four])
    found = live(tmp_path, story)
    assert found.alarms() == {(5, 15): [("noisy", "T/h0")]}
    assert "1 with new bins" in found.words("insufficient")[-2]
    values = {"path": ["T/h0"], "axes": [axes_text(detector(1)[0].axes, False)], "values": [[1.0] * 42]}
    wrong = live(tmp_path / "wrong", [*story, (head(5, 15).end + NS, message(15, values))])
    assert wrong.outcome.findings == found.outcome.findings
    assert wrong.outcome.asides["dead", "values: expected 40, as the axes say, got 42"] == 1


def message(number: int, columns: Mapping[str, Any]) -> bytes:
    """Histograms of a lumisection in columns of any type."""
    table = pa.table(dict(columns)).replace_schema_metadata({KEY: json.dumps(head(5, number).plain()).encode()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    body: bytes = sink.getvalue().to_pybytes()
    return body


TYPES = {
    "uint8": lambda rows: pa.array([np.minimum(row, 255).astype(np.uint8) for row in rows], pa.list_(pa.uint8())),
    "int64": lambda rows: pa.array([row.astype(np.int64) for row in rows], pa.list_(pa.int64())),
    "float32": lambda rows: pa.array([row.astype(np.float32) for row in rows], pa.list_(pa.float32())),
    "large": lambda rows: pa.array([row.astype(np.int32) for row in rows], pa.large_list(pa.int32())),
    "fixed": lambda rows: pa.array([row.astype(np.int32) for row in rows], pa.list_(pa.int32(), 40)),
}


def typed(name: str, bad: bool = False) -> list[tuple[int, bytes]]:
    """Lumisections whose contents come in a type, with names that are dictionary-coded in every second one."""
    story = []
    for n in range(1, 14):
        elements = emptied(detector(n), "T/h3", 30, 36) if n == 12 else detector(n)
        rows = [np.minimum(one.values, 255.0) for one in elements]
        names = pa.array([one.path for one in elements])
        columns = {
            "path": names.dictionary_encode() if n % 2 else names,
            "axes": pa.array([axes_text(one.axes, one.flow) for one in elements]).dictionary_encode(),
            "values": TYPES[name](rows),
        }
        story.append((head(5, n).end + 3 * NS, message(n, columns)))
        if bad:
            lists = pa.array([[1.0, None] * 20, [1.0] * 39], pa.list_(pa.float64()))
            columns = {"path": ["T/null", "T/short"], "axes": columns["axes"].take(pa.array([0, 1])), "values": lists}
            story.append((head(5, n).end + 4 * NS, message(n, columns)))
    return story


@pytest.fixture(scope="module")
def plain_types(tmp_path_factory: pytest.TempPathFactory) -> Live:
    found = live(tmp_path_factory.mktemp("plain"), typed("float32"))
    assert found.alarms() == {(5, 12): [("dead", "T/h3")]}
    return found


@pytest.mark.parametrize("name", [name for name in TYPES if name != "float32"])
def test_contents_of_every_type_say_the_same(name: str, plain_types: Live, tmp_path: Path) -> None:
    assert live(tmp_path, typed(name)) == plain_types


def test_a_null_and_a_short_list_are_refused_alone(plain_types: Live, tmp_path: Path) -> None:
    found = live(tmp_path, typed("float32", bad=True))
    assert found.outcome.findings == plain_types.outcome.findings
    refused = {reason: n for (kind, reason), n in found.outcome.asides.items() if kind == "dead"}
    assert refused["values: expected numbers, got a null"] == 13
    assert refused["values: expected 40, as the axes say, got 39"] == 13


def test_sums_beyond_a_type_are_sums(tmp_path: Path) -> None:
    """Contents of uint8 whose total passes 255, and of int64 beyond 2^53."""
    story = []
    for n in range(1, 10):
        rng = np.random.default_rng([4, n])
        small = rng.poisson(80.0, 40).astype(np.uint8)
        large = (2**54 + rng.integers(-(2**46), 2**46, 40)).astype(np.int64)
        axes = axes_text(detector(1)[0].axes, False)
        for path, row, kind in (("T/small", small, pa.uint8()), ("T/large", large, pa.int64())):
            columns = {"path": [path], "axes": [axes], "values": pa.array([row], pa.list_(kind))}
            story.append((head(5, n).end + 3 * NS, message(n, columns)))
    found = live(tmp_path, story)
    assert found.alarms() == {}
    assert found.states()[5, 9] == "good"
