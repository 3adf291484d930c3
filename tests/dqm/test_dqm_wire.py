"""What the wire of histograms makes of messages: the same rows of every form, and of what is wrong a reason."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opintel.detector import Decoded, Message
from opintel.dqm.elements import BinAxis, MonitorElement, axes_of, axes_text
from opintel.dqm.histograms import HISTOGRAM, MANIFEST, REFERENCE, HistogramKey, Histograms, Listing
from opintel.dqm.wire import DqmWire, ends
from opintel.dqm.wire.assembly import MAX_LISTED
from opintel.dqm.wire.encoder import PART, manifests_of, parts_of
from opintel.dqm.wire.heads import Head
from opintel.finding import NS

START = 1_700_000_000 * NS
HEAD = Head(381101, 5, START, START + 23_310_000_000, "Calo", "express")
CHARGE = BinAxis.regular(4, 0.0, 2.0, "charge", "fC")
SECTOR = BinAxis(labels=("a", "b", "c"))
NO_ARROW = "not an Arrow message of histograms: "
ASCENDING = "axes: expected two or more edges, finite and ascending"
FLAT = axes_text((BinAxis.regular(3, 0.0, 3.0),), flow=False)
WITH_FLOW = axes_text((BinAxis.regular(3, 0.0, 3.0),), flow=True)


def element(path: str, values: Any, axes: Sequence[BinAxis], **fields: Any) -> MonitorElement:
    chosen: dict[str, Any] = {"storage": "count", "variances": None, "flow": False, **fields}
    return MonitorElement(path, tuple(axes), values=np.array(values, dtype=float), **chosen)


def decoded(*bodies: bytes) -> Decoded[Any]:
    return DqmWire().decode([Message(body, index=n) for n, body in enumerate(bodies)])


def payload(found: Decoded[Any]) -> Histograms:
    assert isinstance(found.rows.payload, Histograms)
    return found.rows.payload


def reasons(found: Decoded[Any]) -> list[tuple[list[int], str]]:
    return [(list(reject.records), reject.reason) for reject in found.rejects]


def arrow(columns: Mapping[str, Any], head: Any = None, batches: int = 1) -> bytes:
    said = HEAD.plain() if head is None else head
    metadata = {b"opintel.dqm": said if isinstance(said, bytes) else json.dumps(said).encode()}
    table = pa.table(dict(columns)).replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, -(-table.num_rows // batches)))
    body: bytes = sink.getvalue().to_pybytes()
    return body


def one(values: Any, axes: str = FLAT, **columns: Any) -> bytes:
    """A message of one histogram."""
    return arrow({"path": ["h"], "axes": [axes], "values": values, **columns})


def uhi(histograms: Any, **head: Any) -> bytes:
    return json.dumps({**HEAD.plain(), "histograms": histograms, **head}).encode()


def regular(bins: int, flow: bool = False) -> dict[str, Any]:
    return {
        "type": "regular",
        "lower": 0.0,
        "upper": float(bins),
        "bins": bins,
        "underflow": flow,
        "overflow": flow,
        "circular": False,
    }


def counted(values: Any, axes: Sequence[Any], storage: str = "int", **more: Any) -> dict[str, Any]:
    return {"uhi_schema": 1, "axes": list(axes), "storage": {"type": storage, "values": values, **more}}


def test_elements_come_back_as_they_were_sent() -> None:
    sent = [
        element("Calo/charge", [0, 1, 2, 3, 4, 5], [CHARGE], flow=True, entries=15.0),
        element("Calo/map", [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]], [CHARGE, SECTOR]),
        element("Calo/mean", [1.5, math.nan, -2.5, 0], [CHARGE], storage="mean", variances=np.array([0.1, 0, 0.2, 1])),
    ]
    found = decoded(*parts_of(HEAD, sent))
    assert not found.rejects
    assert found.rows.key.tolist() == [f"Calo|express|{one.path}" for one in sent]
    assert (found.rows.time == HEAD.start).all()
    assert (ends(found.rows) == HEAD.end).all()
    columns = payload(found)
    for n, was in enumerate(sent):
        axes, flow = axes_of(columns.axes.tolist()[n])
        assert (axes, flow) == (was.axes, was.flow)
        rows = columns.values.at(n).reshape(-1, columns.x[n])
        np.testing.assert_allclose(rows.reshape(was.values.shape), was.values, rtol=1e-6)
    assert columns.variances.sizes.tolist() == [0, 0, 4]
    assert columns.storage.tolist() == [0, 0, 2]
    assert columns.kind.tolist() == [HISTOGRAM] * 3
    assert columns.entries[0] == 15
    assert math.isnan(columns.entries[1])


def test_a_lumisection_is_sent_in_parts_below_a_mebibyte_but_for_a_larger_histogram() -> None:
    axes = [BinAxis.regular(600, 0.0, 1.0)] * 2
    small = [element(f"h{n}", np.zeros(600), axes[:1]) for n in range(600)]
    bodies = list(parts_of(HEAD, [*small, element("large", np.zeros((600, 600)), axes)], Listing(histograms=601)))
    assert [len(body) <= PART for body in bodies] == [True] * (len(bodies) - 1) + [False]
    assert len(bodies) > 2
    found = decoded(*bodies)
    assert not found.rejects
    assert len(found.rows) == 602
    assert sorted(set(payload(found).kind.tolist())) == [HISTOGRAM, MANIFEST]


def test_copies_have_one_id_however_they_were_sent_and_cut() -> None:
    sent = [element(f"h{n}", [n, 1, 2], [BinAxis.regular(3, 0.0, 3.0)]) for n in range(7)]
    whole = decoded(*parts_of(HEAD, sent)).rows
    pieces = [decoded(*parts_of(HEAD, sent[n : n + 2])).rows for n in range(0, 7, 2)]
    as_json = decoded(uhi({one.path: counted(one.values.tolist(), [regular(3)]) for one in sent})).rows
    assert [n for piece in pieces for n in piece.id.tolist()] == whole.id.tolist() == as_json.id.tolist()
    assert len(set(whole.id.tolist())) == 7
    assert as_json.plain() == whole.plain()


@pytest.mark.parametrize(
    "other",
    [
        HEAD._replace(run=381102),
        HEAD._replace(lumisection=6),
        HEAD._replace(dataset="physics"),
        HEAD._replace(subsystem="Pixel"),
        HEAD._replace(revision=2),
        HEAD._replace(lumisection=0, reference="r1"),
    ],
)
def test_what_is_another_histogram_has_another_id(other: Head) -> None:
    sent = [element("h", [1, 1, 2], [BinAxis.regular(3, 0.0, 3.0)])]
    first, second = decoded(*parts_of(HEAD, sent)).rows, decoded(*parts_of(other, sent)).rows
    assert first.id[0] != second.id[0]
    assert HistogramKey.of(second.key.values[0]) == (other.subsystem, other.dataset, "h")


def test_references_are_rows_of_their_set() -> None:
    head = HEAD._replace(lumisection=0, reference="2026-03")
    sent = element("h", [1, 1, 2], [BinAxis.regular(3, 0.0, 3.0)])
    text = json.dumps({**head.plain(), "histograms": {"h": counted([1, 1, 2], [regular(3)])}}).encode()
    for body in (*parts_of(head, [sent]), text):
        row = decoded(body).rows.row(0).payload
        assert (row.kind, row.about, row.lumisection, row.values) == (REFERENCE, "2026-03", 0, [1, 1, 2])


@pytest.mark.parametrize("apart", [False, True])
def test_a_manifest_comes_with_a_part_or_by_itself(apart: bool) -> None:
    listing = Listing(histograms=1, paths=["h"], menu="v7", luminosity=1.5, stable_beams=True)
    sent = [] if apart else [element("h", [1, 1, 2], [BinAxis.regular(3, 0.0, 3.0)])]
    found = decoded(*parts_of(HEAD, sent, listing))
    assert not found.rejects
    row = found.rows.row(len(found.rows) - 1)
    assert row.key == "Calo|express|*"
    assert row.payload.kind == MANIFEST
    assert json.loads(row.payload.about) == {
        "histograms": 1,
        "paths": ["h"],
        "menu": "v7",
        "luminosity": 1.5,
        "stable_beams": True,
    }


def test_a_long_manifest_is_several_rows_that_list_all_paths_together() -> None:
    paths = [f"Calo/folder/histogram{n:06d}" for n in range(60_000)]
    bodies = list(manifests_of(HEAD, Listing(paths=paths, pileup=50.0)))
    assert len(bodies) > 1
    assert all(len(body) <= PART for body in bodies)
    found = decoded(*bodies)
    assert not found.rejects
    abouts = [json.loads(text) for text in payload(found).about.tolist()]
    assert [path for about in abouts for path in about["paths"]] == paths
    assert {about["pileup"] for about in abouts} == {50.0}
    assert len(set(found.rows.id.tolist())) == len(abouts)


@pytest.mark.parametrize(
    ("values", "right"),
    [
        (pa.array([[200, 100, 255]], pa.list_(pa.uint8())), [200, 100, 255]),
        (pa.array([[1, 2, 2**53 + 2]], pa.list_(pa.int64())), [1, 2, 2**53]),
        (pa.array([[1, 2, 2**63]], pa.large_list(pa.uint64())), [1, 2, 2**63]),
        (pa.array([[1.5, math.nan, math.inf]], pa.list_(pa.float64())), [1.5, math.nan, math.inf]),
        (pa.array([np.array([1.5, -2, 0], dtype=np.float16)], pa.list_(pa.float16())), [1.5, -2, 0]),
        (pa.array([[1, -2, 3]], pa.list_(pa.int16(), 3)), [1, -2, 3]),
        (pa.array([[1e300, 1, 1]], pa.list_(pa.float64())), [math.inf, 1, 1]),
    ],
)
def test_contents_of_every_type_are_read_alike(values: Any, right: list[float]) -> None:
    found = decoded(one(values))
    assert not found.rejects
    np.testing.assert_array_equal(payload(found).values.at(0), np.array(right, dtype="<f4"))


def test_texts_may_be_dictionary_coded_in_large_strings_and_in_several_batches() -> None:
    paths = pa.array(["a", "b", "c", "d"], pa.large_string())
    values = pa.array([[n, 1, 2] for n in range(4)], pa.list_(pa.float32()))
    plain = {"path": paths, "axes": [FLAT] * 4, "values": values}
    coded = {**plain, "path": paths.dictionary_encode(), "axes": pa.array([FLAT] * 4).dictionary_encode()}
    first, second = decoded(arrow(plain)), decoded(arrow(coded, batches=2))
    assert first.rows.plain() == second.rows.plain()
    assert len(first.rows) == 4
    assert second.n.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"values": [1, None, 2]}, "values: expected numbers, got a null"),
        ({"values": None}, "values: expected a list of numbers, got None"),
        ({"values": [1, 2]}, "values: expected 3, as the axes say, got 2"),
        ({"values": [0, 1, 2, 3, 0]}, "values: expected 3, as the axes say, got 5"),
        ({"axes": WITH_FLOW}, "values: expected 5, as the axes say, got 3"),
        ({"path": ""}, "path: expected folders and a name, got none"),
        ({"path": None}, "path: expected folders and a name, got none"),
        ({"path": "*"}, "path: expected folders and a name, got '*', which stands for a manifest"),
        ({"path": "a\nb"}, "path: expected printable characters, got 'a\\nb'"),
        ({"path": "é" * 257}, f"path: expected at most 512 bytes, got {'é' * 50!r} and more"),
        ({"path": "first"}, "expected each histogram once, got Calo|express|first twice"),
        ({"axes": None}, "axes: expected a text, got None"),
        ({"axes": "{"}, "axes: Input data was truncated"),
        ({"axes": '{"axes":[],"flow":false}'}, "axes: Expected `array` of length >= 1 - at `$.axes`"),
        ({"axes": '{"axes":[{}],"flow":false}'}, "axes: expected one of regular, edges and labels"),
        (
            {"axes": '{"axes":[{"regular":[10000000,0,1]}],"flow":false}'},
            "axes: expected 1 to 1000000 bins, got 10000000",
        ),
        (
            {"axes": '{"axes":[{"regular":[1001,0,1]},{"regular":[1000,0,1]}],"flow":false}'},
            "axes: expected at most 1000000 values, got 1001000",
        ),
        (
            {"axes": '{"axes":[{"regular":[3,1,1]}],"flow":false}'},
            "axes: expected two or more edges, finite and ascending",
        ),
        (
            {"axes": '{"axes":[{"edges":[0,1,1,2]}],"flow":false}'},
            "axes: expected two or more edges, finite and ascending",
        ),
        ({"axes": '{"axes":[{"labels":["a","b","a"]}],"flow":false}'}, "axes: expected each label once, got 'a' twice"),
        ({"storage": "mean"}, "variances: expected 3, as the axes say, got 0"),
        ({"variances": [1, 1, 1]}, "variances: expected 0, as the axes say, got 3"),
        ({"storage": "efficiency"}, "storage: expected one of count, weighted, mean, got 'efficiency'"),
        ({"revision": 0}, "revision: expected 1 to 2147483647, got another"),
    ],
)
def test_a_bad_row_is_refused_and_its_neighbours_stay_as_they_are(row: dict[str, Any], reason: str) -> None:
    types = {"values": pa.list_(pa.float32()), "variances": pa.list_(pa.float32()), "revision": pa.int64()}
    good = {"path": "first", "axes": FLAT, "values": [1, 2, 3], "storage": "count", "variances": None, "revision": 1}
    rows = [good, {**good, "path": "bad", **row}, {**good, "path": "last"}]

    def body(rows: list[dict[str, Any]]) -> bytes:
        return arrow({name: pa.array([one[name] for one in rows], types.get(name, pa.string())) for name in good})

    found = decoded(body(rows))
    assert reasons(found) == [([1], reason)]
    assert found.rows.plain() == decoded(body([rows[0], rows[2]])).rows.plain()
    assert found.n.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"", "opintel.dqm: Input data was truncated"),
        (b"[]", "opintel.dqm: Expected `object`, got `array`"),
        ({"run": -1}, "run: expected 0 to 10000000, got -1"),
        ({"run": "x"}, "opintel.dqm: Expected `int`, got `str` - at `$.run`"),
        ({"lumisection": 10**7}, "lumisection: expected 0 to 1000000, got 10000000"),
        ({"lumisection": None}, "expected a lumisection or a reference, got neither"),
        ({"reference": "r"}, "expected a lumisection or a reference, got both"),
        ({"end": START}, "expected an end after start, by at most 604800 s, got 0.0 s"),
        ({"start": "yesterday"}, "start: expected RFC 3339 or ns since 1970, got 'yesterday'"),
        ({"start": 12}, "start: expected a time in 2000 to 2100, RFC 3339 or ns, got 12"),
        ({"end": True}, "opintel.dqm: Expected `int | str`, got `bool` - at `$.end`"),
        ({"subsystem": ""}, "subsystem: expected a name, got none"),
        ({"subsystem": "a|b"}, "subsystem: expected no '|' in a name, got 'a|b'"),
        ({"dataset": "a\tb"}, "dataset: expected printable characters, got 'a\\tb'"),
        ({"dataset": "x" * 201}, f"dataset: expected at most 200 bytes, got {'x' * 50!r} and more"),
        ({"revision": 0}, "revision: expected 1 to 2147483647, got 0"),
        ({"part": [3, 2]}, "part: expected 1 to 2, got 3"),
        ({"manifest": {"luminosity": -1}}, "luminosity: expected a number of 0 or more, got -1.0"),
        ({"manifest": {"paths": ["a\0"]}}, "paths: path: expected printable characters, got 'a\\x00'"),
    ],
)
def test_a_bad_head_is_a_reason_for_the_message(head: Any, reason: str) -> None:
    said = head if isinstance(head, bytes) else {**HEAD.plain(), **head}
    body = arrow({"path": ["h"], "axes": [FLAT], "values": [[1.0, 2.0, 3.0]]}, said)
    assert reasons(decoded(body)) == [([0], NO_ARROW + reason)]
    assert len(decoded(body, one([[1.0, 2.0, 3.0]])).rows) == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"x", "not a message of histograms: "),
        (b"[" * 100_000, "not a message of histograms: "),
        (b'{"run":1}', "not a message of histograms: Object missing required field `subsystem`"),
        (json.dumps(HEAD.plain()).encode(), "not a message of histograms: expected histograms or a manifest"),
        (uhi({}), "no histogram in it"),
        (uhi({}, manifest={}), "not a message of histograms: expected histograms or a manifest"),
        (b'{"a":"' + b" " * (8 << 20) + b'"}', "not a message of histograms: expected at most 8388608 bytes of JSON"),
        (arrow({"path": ["h"], "axes": [FLAT]}), NO_ARROW + "no column values"),
        (
            arrow({"path": ["h"], "axes": [FLAT], "values": [["a"]]}),
            NO_ARROW + "column values",
        ),
        (arrow({"path": [1], "axes": [FLAT], "values": [[1]]}), NO_ARROW + "column path"),
        (one([[1, 2, 3]])[:700], NO_ARROW),
    ],
)
def test_a_message_that_is_none_is_a_reason(body: bytes, reason: str) -> None:
    found = decoded(body)
    assert len(found.rows) == 0
    assert len(found.rejects) == 1
    assert found.rejects[0].reason.startswith(reason)


def test_text_and_tables_hold_no_histograms() -> None:
    found = DqmWire().decode([Message(b"x", form="text"), Message(b"a\n1", index=1, form="table")])
    assert [reject.message for reject in found.rejects] == [0, 1]


def test_more_names_than_a_message_may_have_are_not_read() -> None:
    names = pa.array([f"h{n}" for n in range(100_001)])
    axes = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_001, np.int8)), [FLAT])
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(300_003, np.uint8)), 3)
    found = decoded(arrow({"path": names, "axes": axes, "values": values}))
    assert len(found.rows) == 100_000
    assert reasons(found) == [([100_000], "more than 100000 histograms in a message: the rest was not read")]
    listing = json.dumps({**HEAD.plain(), "manifest": {"paths": ["a"] * (MAX_LISTED + 1)}}).encode()
    assert reasons(decoded(listing))[0][1] == "not a message of histograms: paths: expected at most 100000, got 100001"


def test_many_bad_histograms_are_few_reasons() -> None:
    rows = 30_000
    axes = [f'{{"axes":[{{"regular":[{n},0,0]}}],"flow":false}}' for n in range(rows)]
    values = pa.array([[]] * rows, pa.list_(pa.int8()))
    found = decoded(arrow({"path": [f"h{n}" for n in range(rows)], "axes": axes, "values": values}))
    assert len(found.rows) == 0
    assert len(found.rejects) <= 21
    assert sum(len(reject.records) for reject in found.rejects) == rows
    twice = decoded(arrow({"path": ["h"] * rows, "axes": [FLAT] * rows, "values": [[1, 2, 3]] * rows}))
    assert len(twice.rows) == 1
    assert reasons(twice) == [(list(range(1, rows)), "expected each histogram once, got Calo|express|h twice")]


def test_axes_have_one_form_however_they_are_written() -> None:
    texts = [
        '{"flow":false,"axes":[{"unit":"","regular":[3,0,3]}]}',
        '{"axes":[{"edges":[0,1,2,3]}],"flow":false}',
        '{"axes":[{"regular":[3,-0.0,3.0]}],"flow":false}',
    ]
    found = decoded(arrow({"path": ["a", "b", "c"], "axes": texts, "values": [[1, 2, 3]] * 3}))
    assert set(payload(found).axes.tolist()) == {FLAT}


@given(
    st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=9, unique=True),
    st.text(st.characters(categories=["L", "Nd", "P"]), max_size=9),
    st.booleans(),
)
def test_what_elements_write_of_axes_is_their_one_form(edges: list[float], title: str, flow: bool) -> None:
    axis = BinAxis(tuple(value + 0.0 for value in sorted(edges)), (), title)
    text = axes_text((axis, SECTOR), flow)
    size = (axis.bins + 2 * flow) * (3 + 2 * flow)
    found = decoded(one([[1.0] * size], text))
    assert payload(found).axes.tolist() == [text]
    assert not found.rejects


@given(st.binary(max_size=60), st.integers(0, 2000), st.integers(0, 255))
def test_changed_bytes_never_break_the_wire(garbage: bytes, place: int, byte: int) -> None:
    good = bytearray(one([[1.0, 2.0, 3.0]]))
    good[place % len(good)] = byte
    text = bytearray(uhi({"h": counted([1, 2, 3], [regular(3)])}))
    text[place % len(text)] = byte
    for body in (garbage, bytes(good), bytes(text), bytes(good[: place % len(good)])):
        found = decoded(body, one([[4.0, 5.0, 6.0]]))
        assert payload(found).values.at(len(found.rows) - 1).tolist() == [4, 5, 6]
        assert len(found.rows) == 2 or found.rejects
