"""Triggers of arrays: bursts of known SNR, each once, and none from what goes wrong in the field.

An SNR is measured with an error of 1. All noise has a fixed seed; a burst is accepted within 3 sigma and 8 %, so that
a wrong norm fails and another build's rounding does not.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from opintel.gw.triggers import find_triggers
from tests.gw.strain import Burst, matches, noise, strain

START = 1_264_000_000.25


def rows_of(data: np.ndarray, rate: float, start: float = START, **more: object) -> list[dict]:
    return find_triggers(data, rate, start, **more).to_pylist()  # type: ignore[arg-type]


def assert_found(rows: list[dict], *bursts: Burst, start: float = START) -> None:
    """Each burst has one trigger, and nothing else is above 6."""
    hits = [matches(rows, start, of) for of in bursts]
    assert [len(hit) for hit in hits] == [1] * len(bursts), (rows, bursts)
    own = [hit[0] for hit in hits]
    assert [row for row in rows if row not in own and row["snr"] >= 6.0] == []


@pytest.mark.parametrize("rate", [4096, 3000, 1024])
def test_bursts_are_found_where_they_are(rate: float) -> None:
    bursts = (Burst(4.1, 60, 9, 15), Burst(9.13, 350, 20, 20), Burst(13.4, 35, 40, 18))
    rows = rows_of(strain(1, rate, 16.0, *bursts)[None], rate)
    assert_found(rows, *bursts)
    for row in rows:
        assert row["t_start"] <= row["t_peak"] <= row["t_end"]
        assert row["f_low"] <= row["f_peak"] <= row["f_high"]
        assert row["channel"] == "0"


def test_the_table_has_its_columns_also_when_it_is_empty() -> None:
    names = ["channel", "t_peak", "t_start", "t_end", "f_peak", "f_low", "f_high", "q", "snr"]
    for data in (np.zeros((0, 4096)), np.zeros((2, 0)), np.full((1, 4096), np.nan), np.zeros((2, 40_000))):
        table = find_triggers(data, 4096.0, START)
        assert table.column_names == names
        assert (table.num_rows, table.schema.types) == (0, [pa.string()] + 8 * [pa.float64()])


def test_lines_make_no_triggers() -> None:
    bursts = (Burst(5.3, 330, 20, 20), Burst(12.6, 90, 8, 22))
    data = strain(2, 4096, 16.0, *bursts)
    t = np.arange(len(data)) / 4096
    for k in range(1, 6):
        data += 300 * np.sqrt(1e-47 * 4) * np.cos(2 * np.pi * 60.03 * k * t + k) / k
    assert_found(rows_of(data[None], 4096), *bursts)


def test_bad_channels_are_silent_and_do_not_touch_a_good_one() -> None:
    rate, bursts = 2048, (Burst(4.4, 120, 10, 20), Burst(12.6, 300, 14, 20))
    good = strain(3, rate, 16.0, *bursts)
    gap = strain(4, rate, 16.0, Burst(4.0, 200, 10, 20), Burst(13.1, 90, 9, 20))
    gap[round(7.3 * rate) : round(9.1 * rate)] = np.nan
    filled = np.where(np.isnan(gap), 0.0, gap)
    stuck = np.where(np.arange(len(gap)) > 10 * rate, 3e-21, noise(5, rate, 16.0))
    data = np.stack(
        [
            np.full(len(good), 7.0),
            good,
            np.zeros(len(good)),
            np.full(len(good), np.nan),
            gap,
            filled,
            1e30 * good,
            stuck,
        ]
    )
    names = ["const", "good", "zeros", "nan", "gap", "filled", "loud", "stuck"]
    rows = rows_of(data, rate, channels=names)
    assert {row["channel"] for row in rows} <= {"good", "gap", "filled", "loud", "stuck"}
    of = {name: [{**row, "channel": ""} for row in rows if row["channel"] == name] for name in names}
    assert of["good"] == [{**row, "channel": ""} for row in rows_of(good[None], rate)]
    for name in ("gap", "filled"):
        assert_found(of[name], Burst(4.0, 200, 10, 20), Burst(13.1, 90, 9, 20))
        assert not [row for row in of[name] if 7.3 - 0.75 < row["t_peak"] - START < 9.1 + 0.75]
    assert [row for row in of["stuck"] if row["snr"] >= 6 and row["t_peak"] - START > 10.0] == []


@pytest.mark.parametrize("factor", [2.0**-70, 1.0, 2.0**80])
def test_a_power_of_two_changes_no_bit(factor: float) -> None:
    data = (strain(6, 1024, 12.0, Burst(6.2, 100, 10, 12)) * 1e21).astype(np.float32)
    plain, scaled = rows_of(data[None], 1024), rows_of(data[None] * np.float32(factor), 1024)
    assert [row["t_peak"] for row in plain] == pytest.approx([row["t_peak"] for row in scaled], abs=1e-6)
    assert [row["snr"] for row in plain] == pytest.approx([row["snr"] for row in scaled], rel=1e-4)


def test_single_precision_of_the_size_of_strain() -> None:
    data = strain(7, 4096, 12.0, Burst(6.2, 200, 10, 20))
    double, single = rows_of(data[None], 4096), rows_of(data.astype(np.float32)[None], 4096)
    assert_found(single, Burst(6.2, 200, 10, 20))
    assert [row["snr"] for row in single] == pytest.approx([row["snr"] for row in double], rel=1e-3)


def test_integers_with_an_offset() -> None:
    data = strain(8, 1024, 12.0, Burst(6.2, 100, 10, 20))
    counts = np.rint(data / data.std() * 3000 + 12_000)
    assert_found(rows_of(counts.astype(np.int32)[None], 1024), Burst(6.2, 100, 10, 20))


def test_each_event_of_a_rhythm_is_found_once() -> None:
    """They are 2.31 s apart, so that some fall on any chunk's edge."""
    bursts = tuple(Burst(2.4 + 2.31 * k, (110, 190, 310)[k % 3], (9, 14, 25)[k % 3], 16.0) for k in range(14))
    assert_found(rows_of(strain(9, 2048, 36.0, *bursts)[None], 2048), *bursts)


@pytest.mark.parametrize("offset", np.round(np.arange(-0.06, 0.07, 0.015), 3))
def test_an_event_at_the_edge_of_a_chunk_is_found_once(offset: float) -> None:
    of = Burst(8.0 + offset, 80, 30, 12)
    assert_found(rows_of(strain(10, 512, 16.0, of)[None], 512), of)


def test_a_loud_glitch_is_one_trigger_and_hides_no_neighbour() -> None:
    quiet, loud = Burst(5.0, 150, 10, 12), Burst(11.0, 90, 12, 2000)
    rows = [row for row in rows_of(strain(11, 2048, 24.0, quiet, loud)[None], 2048) if row["snr"] >= 6]
    assert len(rows) == 2
    assert len(matches(rows, START, quiet)) == 1
    assert rows[1]["snr"] == pytest.approx(2000, rel=0.06)


def test_noise_makes_few_triggers() -> None:
    """256 s of noise: at 1e-3 /s above 6 a second trigger has p = .03, a third .002."""
    rows = rows_of(noise(12, 2048, 256.0)[None], 2048)
    assert len([row for row in rows if row["snr"] > 6]) <= 2
    assert len(rows) < 30


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected data"):
        find_triggers(np.zeros(100), 4096.0, START)
    with pytest.raises(ValueError, match="a name a channel"):
        find_triggers(np.zeros((2, 100)), 4096.0, START, channels=["a"])


def test_the_arrays_of_the_field(shared_data: Path) -> None:
    folder = shared_data / "gw" / "cases"
    for name, case in json.loads((folder / "arrays.json").read_text()).items():
        data = np.load(folder / case["file"])["data"]
        rows = rows_of(data, case["sample_rate"], case["start"], channels=case.get("channels"))
        truth = case.get("per_channel", {"0": case["injections"]})
        assert {row["channel"] for row in rows if row["snr"] >= 6} == set(truth), name
        for channel, injections in truth.items():
            own = [row for row in rows if row["channel"] == channel]
            bursts = [Burst(i["gps"] - case["start"], i["frequency"], i["q"], i["snr"]) for i in injections]
            assert_found(own, *bursts, start=case["start"])
        for channel, spans in case.get("closed", {}).items():
            times = [row["t_peak"] for row in rows if row["channel"] == channel]
            assert [t for t in times for a, b in spans if a <= t <= b] == []
