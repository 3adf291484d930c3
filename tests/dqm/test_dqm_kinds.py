"""What goes wrong with histograms in the field, as far as the wire sees it: each kind, and what is right."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from opintel.detector import Decoded, Message
from opintel.dqm.elements import BinAxis, MonitorElement
from opintel.dqm.histograms import MANIFEST, Histograms, Listing
from opintel.dqm.wire import DqmWire, ends
from opintel.dqm.wire.encoder import manifests_of, parts_of
from opintel.dqm.wire.heads import Head
from opintel.finding import NS

BEGIN = 1_700_000_000 * NS + 123_456_789
LENGTH = 23_310_000_000
AXIS = BinAxis.regular(4, 0.0, 80.0)


def head(lumisection: int, run: int = 381103, **fields: Any) -> Head:
    start = BEGIN + lumisection * LENGTH
    return Head(run, lumisection, start, start + LENGTH, "Pixel")._replace(**fields)


def histogram(path: str = "charge", values: Any = (1, 2, 3, 4), axis: BinAxis = AXIS, flow: bool = False) -> Any:
    return MonitorElement(path, (axis,), "count", np.array(values, dtype=float), None, flow)


def decoded(*bodies: bytes) -> Decoded[Any]:
    found = DqmWire().decode([Message(body, index=n) for n, body in enumerate(bodies)])
    assert not found.rejects
    return found


def sent(*heads: Head, **fields: Any) -> Histograms:
    return columns(decoded(*(body for one in heads for body in parts_of(one, [histogram(**fields)]))))


def columns(found: Decoded[Any]) -> Histograms:
    assert isinstance(found.rows.payload, Histograms)
    return found.rows.payload


def test_1_a_gap_has_no_window_and_a_manifest_makes_one_without_histograms() -> None:
    bodies = [body for n in (5, 6, 9) for body in parts_of(head(n), [histogram()])]
    found = decoded(*bodies, *manifests_of(head(7), Listing(paths=["charge"])))
    assert columns(found).lumisection.tolist() == [5, 6, 9, 7]
    assert columns(found).kind.tolist() == [0, 0, 0, MANIFEST]
    spans = list(zip(found.rows.time.tolist(), ends(found.rows).tolist(), strict=True))
    assert spans == [(head(n).start, head(n).end) for n in (5, 6, 9, 7)]


def test_2_a_revision_is_another_row_of_the_same_histogram_and_window() -> None:
    found = decoded(*(body for n in (1, 2) for body in parts_of(head(5, revision=n), [histogram()])))
    assert columns(found).revision.tolist() == [1, 2]
    assert len(found.rows.key.values) == len(set(found.rows.time.tolist())) == 1
    assert len(set(found.rows.id.tolist())) == 2


def test_2_a_column_may_say_the_revision_of_each_histogram() -> None:
    metadata = {"opintel.dqm": json.dumps(head(5, revision=3).plain())}
    axes = columns(decoded(*parts_of(head(5), [histogram()]))).axes.values[0]
    rows = {"path": ["a", "b"], "axes": [axes] * 2, "values": [[1, 2, 3, 4]] * 2, "revision": [2, None]}
    sink = pa.BufferOutputStream()
    table = pa.table(rows).replace_schema_metadata(metadata)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert columns(decoded(sink.getvalue().to_pybytes())).revision.tolist() == [2, 3]


def test_3_copies_have_the_ids_of_their_originals_however_they_are_cut() -> None:
    elements = [histogram(f"h{n}") for n in range(5)]
    once = decoded(*parts_of(head(5), elements))
    again = decoded(*parts_of(head(5), elements[3:]), *parts_of(head(5), elements[:3]))
    assert sorted(once.rows.id.tolist()) == sorted(again.rows.id.tolist())


def test_4_a_lumisection_is_a_number_in_whatever_order_it_comes() -> None:
    found = sent(*(head(n) for n in (1, 10, 11, 2, 20, 3)))
    assert np.sort(found.lumisection).tolist() == [1, 2, 3, 10, 11, 20]


def test_5_runs_that_mix_and_go_back_are_each_their_own() -> None:
    heads = [head(5), head(1, run=381105), head(6), head(1, run=7)]
    found = decoded(*(body for one in heads for body in parts_of(one, [histogram()])))
    assert columns(found).run.tolist() == [381103, 381105, 381103, 7]
    assert len(set(found.rows.id.tolist())) == 4


def test_6_what_is_cumulative_says_so() -> None:
    assert sent(head(5), head(6, cumulative=True)).cumulative.tolist() == [0, 1]


def test_7_labels_that_grow_are_other_axes_and_stand_by_name() -> None:
    first = histogram(values=(1, 2), axis=BinAxis(labels=("HLT_a_v7", "HLT_b_v7")))
    second = histogram(values=(1, 2, 3), axis=BinAxis(labels=("HLT_a_v7", "HLT_b_v8", "HLT_c_v1")))
    found = columns(decoded(*parts_of(head(5), [first]), *parts_of(head(6), [second])))
    labels = [json.loads(text)["axes"][0]["labels"] for text in found.axes.tolist()]
    assert labels == [["HLT_a_v7", "HLT_b_v7"], ["HLT_a_v7", "HLT_b_v8", "HLT_c_v1"]]


def test_8_another_axis_is_another_text_and_leaves_the_neighbours_as_they_are() -> None:
    changed = histogram("size", (1, 2), BinAxis.regular(2, 0.0, 80.0))
    before = decoded(*parts_of(head(5), [histogram(), histogram("size"), histogram("x")])).rows
    after = decoded(*parts_of(head(5), [histogram(), changed, histogram("x")])).rows
    neighbours = np.array([0, 2])
    assert before.take(neighbours).plain() == after.take(neighbours).plain()
    assert len(set(after.payload.axes.tolist())) == 2


def test_9_conditions_come_with_the_manifest() -> None:
    listing = Listing(1, ["charge"], "collisions", "v8", 0.0, 31.5, stable_beams=False, high_voltage=True)
    found = columns(decoded(*parts_of(head(5), [histogram()], listing)))
    assert json.loads(found.about.tolist()[1]) == {
        "histograms": 1,
        "paths": ["charge"],
        "run_type": "collisions",
        "menu": "v8",
        "luminosity": 0.0,
        "pileup": 31.5,
        "stable_beams": False,
        "high_voltage": True,
    }


def test_10_a_short_lumisection_has_its_own_end() -> None:
    short = head(5, end=head(5).start + 3 * NS)
    assert sent(head(4), short).end.tolist() == [head(4).end, short.end]


def test_11_the_same_path_from_two_datasets_is_two_histograms() -> None:
    heads = [head(5, dataset=name) for name in ("express", "physics")]
    found = decoded(*(body for one in heads for body in parts_of(one, [histogram()])))
    assert found.rows.key.tolist() == ["Pixel|express|charge", "Pixel|physics|charge"]
    assert len(set(found.rows.id.tolist())) == 2


def test_12_contents_above_255_and_2_53_are_not_cut() -> None:
    values = (300, 2.0**53, 2.0**60, 7)
    assert sent(head(5), values=values).values.at(0).tolist() == list(values)


def test_13_the_axis_says_whether_there_are_flow_bins() -> None:
    with_flow = histogram(values=(9, 1, 2, 3, 4, 9), flow=True)
    found = columns(decoded(*parts_of(head(5), [with_flow]), *parts_of(head(6), [histogram()])))
    assert found.x.tolist() == [6, 4]
    assert [json.loads(text)["flow"] for text in found.axes.tolist()] == [True, False]
