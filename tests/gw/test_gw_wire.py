"""Messages of samples: rows cut at whole GPS seconds, flags of a state vector, gaps, and everything that is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gw.messages import GPS, NS, UTC, decoded, entry, message, pieces, reasons
from opintel.detector import Message
from opintel.gw.files.series import nanoseconds
from opintel.gw.samples import FLAG, SAMPLES, Pieces
from opintel.gw.wire import GwWire
from opintel.rows import Batch

CHANNEL = "L1:PEM-EY_MIC_DQ"
ONE = [entry(7, CHANNEL, 16, unit="ct", dtype="float32")]
STATE = entry(1, "L1:DMT-DQ_VECTOR", 4, bits=["DATA", "", "CAT2"])
STRAIN = entry(2, "L1:GDS-CALIB_STRAIN", 8, unit="strain")


def test_a_row_becomes_a_piece() -> None:
    samples = np.arange(1, 17, dtype=np.float32)
    found = decoded(message(ONE, [(GPS * NS, 7, samples)]))
    assert not found.rejects
    row = found.rows.row(0)
    assert (row.key, row.time) == (CHANNEL, UTC * NS)
    assert (row.payload.kind, row.payload.rate, row.payload.unit) == (SAMPLES, 16.0, "ct")
    assert row.payload.values == samples.tolist()
    again = Batch.unpacked(found.rows.packed(), Pieces)
    assert again.row(0) == row


def test_rows_are_cut_at_whole_seconds_and_keep_their_grid() -> None:
    found = decoded(message(ONE, [(GPS * NS + NS // 4, 7, np.arange(1.0, 41.0))]))
    assert [(t - UTC * NS, len(v), v[0]) for t, v in pieces(found, CHANNEL)] == [
        (NS // 4, 12, 1),
        (NS, 16, 13),
        (2 * NS, 12, 29),
    ]


@pytest.mark.parametrize("rate", [3000, 4096, 16384, 131072, 62.5, 1.0, 0.25, 12.3])
@pytest.mark.parametrize("offset", [0, 250_000_000, 333_333_333, 999_999_990])
def test_no_sample_is_lost_or_moved_by_cutting(rate: float, offset: int) -> None:
    sizes = max(1, round(2.6 * rate))
    samples = np.arange(1, sizes + 1)
    found = decoded(message([entry(7, CHANNEL, rate)], [(GPS * NS + offset, 7, samples)]))
    cut = pieces(found, CHANNEL)
    assert np.concatenate([v for _, v in cut]).tolist() == samples.tolist()
    number = 0
    for begin, values in cut:
        assert abs(begin - UTC * NS - offset - number * NS / rate) <= 251
        last = begin + round((len(values) - 1) * NS / rate)
        assert begin // NS == last // NS or len(values) == 1
        number += len(values)


def test_the_same_samples_have_the_same_id_however_they_were_cut() -> None:
    rate = 3000
    every = np.arange(1, 4 * rate + 1)
    long = decoded(message([entry(7, CHANNEL, rate)], [(GPS * NS, 7, every)]))
    # of other ids, another table, a start that went through a float of GPS seconds, a spacing in single precision
    start = nanoseconds(float(GPS) + 2 - 1 / 3)
    assert start % NS != 666_666_667
    other = [entry(3, "L1:OTHER", 16), entry(9, CHANNEL, float(np.float32(rate) * (1 + 5e-8)))]
    late = decoded(message(other, [(start, 9, every[5000:])]))
    shared = set(long.rows.id.tolist()) & set(late.rows.id.tolist())
    assert len(late.rows) == 3
    assert len(shared) == 2
    assert set(long.rows.time[np.isin(long.rows.id, list(shared))].tolist()) == {(UTC + 2) * NS, (UTC + 3) * NS}


def test_another_rate_or_a_part_of_a_second_is_another_row() -> None:
    table = [entry(7, CHANNEL, 16), entry(8, CHANNEL, 32), entry(9, "L1:OTHER", 16)]
    rows = [(GPS * NS, 7, np.ones(16)), (GPS * NS, 8, np.ones(16)), (GPS * NS, 9, np.ones(16))]
    rows += [(GPS * NS, 7, np.ones(8)), (GPS * NS + NS, 7, np.ones(16))]
    found = decoded(message(table, rows))
    assert len(set(found.rows.id.tolist())) == 5


@pytest.mark.parametrize(
    "kind", [pa.float64(), pa.float16(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint32()]
)
@pytest.mark.parametrize("lists", [pa.list_, pa.large_list, lambda kind: pa.list_(kind, 16)])
def test_all_numbers_become_single_precision(kind: Any, lists: Any) -> None:
    samples = np.arange(1, 17).astype(kind.to_pandas_dtype())
    data = pa.array([samples.tolist()] if kind != pa.float16() else [list(samples)], lists(kind))
    found = decoded(message(ONE, [(GPS * NS, 7, [])], data=data))
    assert not found.rejects
    assert pieces(found, CHANNEL)[0][1].tolist() == list(range(1, 17))


def test_strain_survives_single_precision() -> None:
    found = decoded(message([STRAIN], [(GPS * NS, 2, np.full(8, -1.2345e-23))], pa.float64()))
    assert pieces(found, STRAIN["name"])[0][1] == pytest.approx(np.full(8, -1.2345e-23), rel=1e-6)


def test_nulls_nans_and_infinities_are_gaps() -> None:
    samples = [1.0, None, float("nan"), float("inf"), 1e300, *([2.0] * 11)]
    found = decoded(message(ONE, [(GPS * NS, 7, samples)], pa.float64()))
    assert np.isnan(pieces(found, CHANNEL)[0][1]).tolist() == [False, *([True] * 4), *([False] * 11)]
    found = decoded(message(ONE, [(GPS * NS, 7, [3, None, *([4] * 14)])], pa.int32()))
    assert np.isnan(pieces(found, CHANNEL)[0][1]).tolist() == [False, True, *([False] * 14)]


def test_exact_zeros_that_last_are_a_gap_but_not_in_integers() -> None:
    table = [entry(7, CHANNEL, 64), entry(8, "L1:COUNTS", 64, dtype="int16")]
    samples = np.ones(64, dtype=np.float32)
    samples[[5, 6, 7, 40]] = 0
    samples[20:36] = samples[62:] = 0
    found = decoded(message(table, [(GPS * NS, 7, samples), (GPS * NS, 8, samples)]))
    gap = np.flatnonzero(np.isnan(pieces(found, CHANNEL)[0][1])).tolist()
    assert gap == [*range(20, 36), 62, 63]
    assert not np.isnan(pieces(found, "L1:COUNTS")[0][1]).any()


@pytest.mark.parametrize("kind", [pa.float32(), pa.uint32()])
def test_a_state_vector_becomes_its_flags(kind: Any) -> None:
    found = decoded(message([STATE], [(GPS * NS, 1, [7, 4, 2, 0, 5, 5, 1, None])], kind))
    assert found.rows.key.values == ["L1:~DATA", "L1:~CAT2"]
    (first, data), (second, rest) = pieces(found, "L1:~DATA")
    assert (first, second) == (UTC * NS, UTC * NS + NS)
    assert data.tolist() == [1, 0, 0, 0]
    assert rest[:3].tolist() == [1, 1, 1]
    assert np.isnan(rest[3])
    assert pieces(found, "L1:~CAT2")[0][1].tolist() == [1, 1, 0, 0]
    row = found.rows.row(0)
    assert (row.payload.kind, row.payload.rate, row.payload.unit) == (FLAG, 4.0, "")


def test_settings_say_what_the_bits_of_a_state_vector_mean() -> None:
    wire = GwWire(state={"L1:DMT-DQ_VECTOR": {"DATA": [0, 1]}})
    plain = entry(1, "L1:DMT-DQ_VECTOR", 4)
    found = decoded(message([plain], [(GPS * NS, 1, [3, 1, 2, 7])]), wire=wire)
    assert pieces(found, "L1:~DATA")[0][1].tolist() == [1, 0, 0, 1]
    assert decoded(message([plain], [(GPS * NS, 1, [3, 1, 2, 7])])).rows.key.values == ["L1:DMT-DQ_VECTOR"]


@pytest.mark.parametrize(
    "state",
    [{"VECTOR": {"DATA": [0]}}, {"L1:VECTOR": {"DATA": []}}, {"L1:V": {"DATA": [32]}}, {"L1:V": {"~DATA": [0]}}],
)
def test_settings_that_say_nothing_sensible_are_refused(state: Any) -> None:
    with pytest.raises(ValueError, match=r"state: .*expected"):
        GwWire(state=state)


def test_strain_is_not_there_while_its_detector_gives_no_data() -> None:
    other = entry(3, "L1:PEM-MIC", 8, unit="ct")
    elsewhere = entry(4, "H1:GDS-CALIB_STRAIN", 8, unit="strain")
    rows = [(GPS * NS, number, np.arange(1, 17)) for number in (2, 3, 4)]
    rows.append((GPS * NS + NS // 2, 1, [5, 0, 4, 5]))  # from .75 to 1.25 s none, from 1.5 s on unknown
    found = decoded(message([STATE, STRAIN, other, elsewhere], rows))
    strain = np.concatenate([v for _, v in pieces(found, STRAIN["name"])])
    assert np.flatnonzero(np.isnan(strain)).tolist() == [6, 7, 8, 9]
    for name in (other["name"], elsewhere["name"]):
        assert not np.isnan(np.concatenate([v for _, v in pieces(found, name)])).any()


def test_the_leap_second_is_a_gap() -> None:
    leap = 1_167_264_017
    found = decoded(message([entry(7, CHANNEL, 2)], [((leap - 1) * NS, 7, np.arange(1, 7))]))
    assert [(t, v.tolist()) for t, v in pieces(found, CHANNEL)] == [
        (1_483_228_799 * NS, [1, 2]),
        (1_483_228_800 * NS, [5, 6]),
    ]


def test_what_becomes_of_a_message_does_not_depend_on_others() -> None:
    bodies = [
        message(ONE, [(GPS * NS, 7, np.ones(16)), (GPS * NS, 8, np.ones(16))]),
        b"{}",
        message([STATE, STRAIN], [(GPS * NS, 1, [0, 0, 0, 0]), (GPS * NS, 2, np.ones(8))]),
        message([STRAIN], [(GPS * NS, 2, np.ones(8))]),
    ]
    together = decoded(*bodies)
    alone = [decoded(body) for body in bodies]
    assert together.message.tolist() == [n for n, one in enumerate(alone) for _ in range(len(one.rows))]
    rows = [one.rows.row(n) for one in alone for n in range(len(one.rows))]
    assert repr([together.rows.row(n) for n in range(len(together.rows))]) == repr(rows)
    assert [(r.message, r.reason) for r in together.rejects] == [
        (n, reject.reason) for n, one in enumerate(alone) for reject in one.rejects
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((GPS, 7, [1.0]), "time: expected ns GPS"),
        ((-1, 7, [1.0]), "time: expected ns GPS"),
        (((1 << 63) - 1, 7, [1.0]), "time: expected ns GPS"),
        ((None, 7, [1.0]), "time: expected an integer, got None"),
        ((GPS * NS, None, [1.0]), "id: expected an integer, got None"),
        ((GPS * NS, 99, [1.0]), "id: expected one of the channel table, got 99"),
        ((GPS * NS, 7, []), "data: expected samples, got none"),
        ((GPS * NS, 7, None), "data: expected a list of numbers, got None"),
        ((GPS * NS, 7, [1.0] * 16 * 65), "data: expected at most 64 s"),
    ],
)
def test_a_bad_row_is_refused_and_its_neighbour_taken(row: Any, reason: str) -> None:
    found = decoded(message(ONE, [row, (GPS * NS, 7, np.ones(16))]))
    assert len(found.rows) == 1
    assert found.n.tolist() == [1]
    (reject,) = found.rejects
    assert (reject.records, reject.reason[: len(reason)]) == ([0], reason)


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        ({"rate": 0}, "expected a rate"),
        ({"rate": -16}, "expected a rate"),
        ({"rate": 1e9}, "expected a rate"),
        ({"name": "PEM-EY"}, "expected INTERFEROMETER:NAME"),
        ({"name": "L1:"}, "expected INTERFEROMETER:NAME"),
        ({"name": "L1:~DATA"}, "expected a name of printable characters"),
        ({"name": "L1:\x00"}, "expected a name of printable characters"),
        ({"name": "L1:" + "x" * 300}, "expected a name of at most 200 bytes"),
        ({"unit": "m" * 100}, "expected a unit"),
        ({"bits": ["DATA"] * 33}, "expected at most 32 bits"),
        ({"bits": ["~"]}, "expected a name of printable characters"),
    ],
)
def test_a_bad_channel_of_the_table_spoils_only_its_rows(about: dict[str, Any], reason: str) -> None:
    table = [*ONE, entry(8, "L1:BAD", 16) | about]
    found = decoded(message(table, [(GPS * NS, 8, np.ones(16)), (GPS * NS, 7, np.ones(16))]))
    assert found.n.tolist() == [1]
    (text,) = reasons(found)
    assert reason in text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xff\xff\xff",
        b"\xff\xff\xff\xff" + b"\x00" * 100,
        message(ONE, [(GPS * NS, 7, [1.0])])[:-60],
        message(b"not JSON", [(GPS * NS, 7, [1.0])]),
        message(b"[" * 100_000, [(GPS * NS, 7, [1.0])]),
        message({"id": 7}, [(GPS * NS, 7, [1.0])]),
        message([{"id": 7, "name": CHANNEL}], [(GPS * NS, 7, [1.0])]),
        message([{"id": 7, "name": CHANNEL, "rate": "fast"}], [(GPS * NS, 7, [1.0])]),
        message([*ONE, *ONE], [(GPS * NS, 7, [1.0])]),
        message(ONE, [(GPS * NS, 7, [1.0])], key="other"),
        message(ONE, []),
        message(ONE, [(GPS * NS, 7, [])], data=pa.array(["1.0"])),
        message(ONE, [(GPS * NS, 7, [])], data=pa.array([["1.0"]])),
        message(ONE, [(GPS * NS, 7, [])], data=pa.array([[True]])),
        message(ONE, [(GPS * NS, 7, [])], data=pa.array([[[1.0]]])),
        message(ONE, [(GPS * NS, 7, [1.0])], time=pa.array([1.0])),
        message(ONE, [(GPS * NS, 7, [1.0])], id=pa.array([CHANNEL])),
    ],
)
def test_a_message_that_is_none_is_one_dead_letter(body: bytes) -> None:
    found = decoded(body)
    assert len(found.rows) == 0
    assert len(found.rejects) == 1


@pytest.mark.parametrize("form", ["text", "table"])
def test_lines_and_tables_hold_no_samples(form: str) -> None:
    found = GwWire().decode([Message(message(ONE, [(GPS * NS, 7, [1.0])]), form=form)])
    assert (len(found.rows), len(found.rejects)) == (0, 1)


def test_a_list_of_a_hundred_thousand_channels_is_taken() -> None:
    table = [entry(n, f"L1:C{n}", 16, unit="ct", dtype="float32") for n in range(100_000)]
    body = message(table, [(GPS * NS, 99_999, np.ones(16)), (GPS * NS, 5, np.ones(16))])
    wire = GwWire()
    for _ in range(2):
        assert decoded(body, wire=wire).rows.key.tolist() == ["L1:C99999", "L1:C5"]
    (text,) = reasons(decoded(message([*table, entry(100_000, "L1:ONE_MORE", 16)], [(GPS * NS, 5, [1.0])])))
    assert "expected at most 100000 channels" in text


def test_more_rows_or_pieces_than_a_message_may_have_are_refused() -> None:
    body = message(ONE, [(GPS * NS + n, 7, [1.0]) for n in range(100_005)])
    found = decoded(body)
    assert len(found.rows) == 100_000
    assert len(found.rejects) == 1
    slow = [entry(7, CHANNEL, 1)]
    found = decoded(message(slow, [(GPS * NS, 7, np.ones(50))] * 2_005))
    assert len(found.rows) == 100_000
    (reject,) = found.rejects
    assert reject.records == [2000, 2001, 2002, 2003, 2004]


def test_a_state_vector_of_many_flags_does_not_multiply_without_end() -> None:
    table = [entry(1, "L1:V", 1, bits=[f"F{n}" for n in range(32)])]
    found = decoded(message(table, [(GPS * NS, 1, np.ones(60))] * 1000))
    assert len(found.rows) <= 100_000
    assert found.rejects


def test_doubled_frames_have_one_id() -> None:
    body = message([STATE, STRAIN], [(GPS * NS, 1, [1] * 4), (GPS * NS, 2, np.ones(8))])
    found = decoded(body, body)
    assert len(found.rows) == 6
    assert len(set(found.rows.id.tolist())) == 3
