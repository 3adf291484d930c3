"""hveto's rounds: against the definitions, counted slowly; ties, ends, livetime, what is unsafe, what is no number."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from opintel.gw import vetoes
from opintel.gw.vetoes import THRESHOLDS, WINDOWS, VetoRound, log10_chance, rank

START, SPAN = 1_264_316_000.0, (1_264_316_000.0, 1_264_319_600.0)
FIELDS = [name for name in VetoRound.__dataclass_fields__ if name != "segments"]


def strain_of(times: Sequence[float]) -> pa.Table:
    return pa.table({"t_peak": pa.array(times, pa.float64()), "snr": pa.array([9.0] * len(times), pa.float64())})


def auxiliary_of(channels: Mapping[str, Sequence[tuple[float, float]]]) -> pa.Table:
    rows = [(name, t, snr) for name, triggers in channels.items() for t, snr in triggers]
    types = {"channel": pa.string(), "t_peak": pa.float64(), "snr": pa.float64()}
    return pa.table({n: pa.array([row[i] for row in rows], kind) for i, (n, kind) in enumerate(types.items())})


def same(one: Sequence[VetoRound], other: Sequence[VetoRound]) -> bool:
    return len(one) == len(other) and all(
        all(getattr(a, f) == getattr(b, f) for f in FIELDS) and np.array_equal(a.segments, b.segments)
        for a, b in zip(one, other, strict=True)
    )


def loud(times: Sequence[float], snr: float = 22.0) -> list[tuple[float, float]]:
    return [(t, snr) for t in times]


def glitches(seed: int, number: int) -> list[float]:
    """Times on a grid of 100 µs, five windows apart from each other and from the span's ends."""
    rng = np.random.default_rng(seed)
    places = rng.choice(np.arange(2, 700), number, replace=False)
    return [round(START + 5.0 * int(p) + int(rng.integers(0, 10_000)) / 1e4, 4) for p in places]


def slow_round(
    strain: list[int], aux: dict[str, list[tuple[int, float]]], live: np.ndarray
) -> tuple[float, str, float, float] | None:
    """The winner of a round by the definitions, in whole milliseconds; None below significance 5."""
    found: dict[tuple[str, float, float], float] = {}
    for name, triggers in aux.items():
        for threshold in THRESHOLDS:
            above = [t for t, snr in triggers if snr >= threshold]
            for window in WINDOWS:
                n = sum(any(abs(s - t) <= window * 500 for t in above) for s in strain)
                mu = len(strain) * len(above) * window / (live.sum() / 1000)
                found[name, threshold, window] = -poisson.logsf(n - 1, mu) / np.log(10) if n else 0.0
    best = max(found.values(), default=0.0)
    return None if best < 5 else (best, *min(key for key, value in found.items() if value >= best - 1e-9))


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_round_is_what_the_definitions_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    length = 120_000
    strain = sorted(int(t) for t in rng.integers(0, length, 25))
    aux: dict[str, list[tuple[int, float]]] = {
        name: [(int(t), float(s)) for t, s in zip(rng.integers(0, length, 12), 7 + rng.pareto(1, 12), strict=True)]
        for name in "ABC"
    }
    for name, jitter in (("A", 60), ("B", 480)):
        chosen = rng.choice(strain, 12)
        aux[name] += [(int(t) + int(rng.integers(-jitter, jitter + 1)), float(8 + rng.pareto(1))) for t in chosen]
    off = int(rng.integers(10_000, 100_000))
    rounds = rank(
        strain_of([START + t / 1e3 for t in strain]),
        auxiliary_of({n: [(START + t / 1e3, s) for t, s in rows] for n, rows in aux.items()}),
        (START, START + length / 1e3),
        live=[(START, START + off / 1e3), (START + off / 1e3 + 7, START + length / 1e3)],
    )
    live = np.ones(length, dtype=bool)
    live[off : off + 7_000] = False
    strain = [t for t in strain if live[t]]
    aux = {n: [(t, s) for t, s in rows if 0 <= t < length and live[t]] for n, rows in aux.items()}
    all_strain, all_live = len(strain), live.sum()
    for found in rounds:
        winner = slow_round(strain, aux, live)
        assert winner is not None
        assert (found.channel, found.snr_threshold, found.window) == winner[1:]
        assert found.significance == pytest.approx(winner[0], rel=1e-9)
        half = round(found.window * 500)
        above = [t for t, snr in aux[found.channel] if snr >= found.snr_threshold]
        met = [s for s in strain if any(abs(s - t) <= half for t in above)]
        vetoed = np.zeros(length, dtype=bool)
        for t in above:
            vetoed[max(t - half, 0) : t + half] = True
        vetoed &= live
        assert found.coincident == len(met)
        assert found.expected == pytest.approx(len(strain) * len(above) * found.window / (live.sum() / 1e3))
        assert found.efficiency == pytest.approx(len(met) / len(strain))
        assert found.use_percentage == pytest.approx(
            100 * sum(any(abs(s - t) <= half for s in strain) for t in above) / len(above)
        )
        assert found.deadtime == pytest.approx(vetoed.sum() / live.sum())
        assert np.diff(found.segments).sum() == pytest.approx(vetoed.sum() / 1e3, abs=1e-5)
        strain = [s for s in strain if s not in met]
        aux = {n: [(t, s) for t, s in r if not any(abs(t - v) <= half for v in above)] for n, r in aux.items()}
        live &= ~vetoed
        assert found.cumulative_efficiency == pytest.approx(1 - len(strain) / all_strain)
        assert found.cumulative_deadtime == pytest.approx(1 - live.sum() / all_live)
    assert slow_round(strain, aux, live) is None


def test_a_witness_by_hand() -> None:
    times = glitches(1, 100)
    others = [t + 2.5 for t in times[:20]]
    (found,) = rank(strain_of(times), auxiliary_of({"A": loud(times[:40] + others), "B": loud(others)}), SPAN)
    assert (found.channel, found.window, found.coincident) == ("A", 0.1, 40)
    assert found.expected == pytest.approx(100 * 60 * 0.1 / 3600)
    assert found.significance == pytest.approx(79.1, abs=0.05)
    assert found.use_percentage == pytest.approx(100 * 40 / 60)
    assert found.efficiency == found.cumulative_efficiency == 0.4
    assert found.deadtime == pytest.approx(60 * 0.1 / 3600)
    inside = (found.segments[:, :1] <= np.sort(times)) & (np.sort(times) <= found.segments[:, 1:])
    assert inside.any(axis=0).sum() == 40


def test_a_burst_of_the_witness_counts_once() -> None:
    times = glitches(2, 100)
    bursts = [t + k / 100 for t in times[:40] for k in range(-2, 3)]
    (found,) = rank(strain_of(times), auxiliary_of({"A": loud(bursts)}), SPAN)
    assert (found.coincident, found.use_percentage) == (40, 100.0)
    assert found.significance == pytest.approx(58.4, abs=0.05)


def test_the_ends_of_a_window_belong_to_it() -> None:
    times = glitches(3, 60)
    (at_the_end,) = rank(strain_of(times), auxiliary_of({"A": loud([t + 0.05 for t in times])}), SPAN)
    (behind,) = rank(strain_of(times), auxiliary_of({"A": loud([t + 0.0501 for t in times])}), SPAN)
    assert (at_the_end.window, behind.window) == (0.1, 0.2)


@given(order=st.randoms(use_true_random=False))
def test_a_tie_goes_to_the_name_that_sorts_first_in_any_order_of_rows(order: object) -> None:
    times = glitches(4, 50)
    strain, aux = strain_of(times), auxiliary_of({name: loud(times[:30]) for name in ("H1:B", "H1:A", "H1:C")})
    expected = rank(strain, aux, SPAN)
    rows = list(range(aux.num_rows))
    order.shuffle(rows)  # type: ignore[attr-defined]
    assert same(rank(strain.slice(0).take(list(reversed(range(50)))), aux.take(rows), SPAN), expected)
    assert [found.channel for found in expected] == ["H1:A"]


def test_unsafe_channels_are_left_out_before_ranking() -> None:
    times = glitches(5, 80)
    copies = [
        "H1:GDS-CALIB_STRAIN",
        "H1:OMC-DCPD_SUM_OUT_DQ",
        "L1:LSC-DARM_ERR_DQ",
        "V1:Hrec_hoft_16384Hz",
        "H1:CAL-DELTAL_Q",
    ]
    channels = {name: loud(times) for name in [*copies, "H1:LSC-OWN"]} | {"H1:PEM-EY_ACC": loud(times[:30])}
    strain, aux = strain_of(times), auxiliary_of(channels)
    assert [found.channel for found in rank(strain, aux, SPAN)] == ["H1:LSC-OWN"]
    assert [found.channel for found in rank(strain, aux, SPAN, unsafe=["H1:LSC-OWN"])] == ["H1:PEM-EY_ACC"]


def test_rows_that_are_not_live_or_no_numbers_change_nothing() -> None:
    times = glitches(6, 60)
    first = rank(strain_of(times), auxiliary_of({"A": loud(times[:40])}), SPAN)
    odd = [float("nan"), float("inf"), -float("inf"), START - 1.0, SPAN[1], 1e300]
    strain = strain_of(times + odd)
    aux = pa.concat_tables(
        [
            auxiliary_of({"A": loud(times[:40] + odd), "0": loud(odd)}),
            pa.table({"channel": ["A", None], "t_peak": [START + 3, START + 4], "snr": [float("nan"), 50.0]}),
        ]
    )
    assert same(rank(strain, aux, SPAN), first)
    twice = [SPAN, (START, START + 1800), SPAN, (START - 50, START + 9)]
    assert same(rank(strain, aux, SPAN, live=twice), first)
    (half,) = rank(strain, aux, SPAN, live=[(START, START + 1800)])
    assert half.expected == pytest.approx(
        sum(t < START + 1800 for t in times) * sum(t < START + 1800 for t in times[:40]) * half.window / 1800
    )


def test_segments_end_with_the_span() -> None:
    times = [START + 0.01, SPAN[1] - 0.01, *glitches(7, 30)]
    (found,) = rank(strain_of(times), auxiliary_of({"A": loud(times)}), SPAN)
    assert found.segments[0].tolist() == [START, START + 0.06]
    assert found.segments[-1].tolist() == [SPAN[1] - 0.06, SPAN[1]]


def test_bursts_in_one_second_are_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    burst = [START + 100 + float(t) for t in rng.uniform(0, 1, 40)]
    strain = strain_of(glitches(8, 60) + burst)
    aux = auxiliary_of({"A": loud(glitches(8, 40)), "B": [(t, 8 + 20 * float(rng.random())) for t in burst]})
    whole = rank(strain, aux, SPAN)
    monkeypatch.setattr(vetoes, "_PAIRS", 100)
    assert same(rank(strain, aux, SPAN), whole)


@pytest.mark.parametrize("live", [None, [], [(START + 1, START + 1)]])
def test_empty_tables_give_no_rounds(live: list[tuple[float, float]] | None) -> None:
    times = glitches(9, 40)
    strain, aux = strain_of(times), auxiliary_of({"A": loud(times)})
    assert rank(strain.slice(0, 0), aux, SPAN, live=live) == []
    assert rank(strain, aux.slice(0, 0), SPAN, live=live) == []
    assert rank(pa.table({"t_peak": [], "snr": []}), pa.table({"channel": [], "t_peak": [], "snr": []}), SPAN) == []
    assert (rank(strain, aux, SPAN, live=live) == []) == (live is not None)


def test_what_is_missing_is_said() -> None:
    strain, aux = strain_of([START]), auxiliary_of({"A": loud([START])})
    with pytest.raises(ValueError, match="auxiliary: expected a column channel, got t_peak, snr"):
        rank(strain, aux.drop_columns("channel"), SPAN)
    with pytest.raises(ValueError, match="strain: expected a column t_peak, got snr"):
        rank(strain.drop_columns("t_peak"), aux, SPAN)
    with pytest.raises(ValueError, match="span: expected a start before an end"):
        rank(strain, aux, (SPAN[1], START))
    with pytest.raises(ValueError, match="expected pairs"):
        rank(strain, aux, SPAN, live=[(START, START + 1, START + 2)])  # type: ignore[list-item]


@given(n=st.integers(1, 3000), share=st.floats(1e-6, 3.0))
def test_the_chance_of_a_count_also_where_it_underflows(n: int, share: float) -> None:
    ours = log10_chance(np.array([n]), np.array([n * share]))[0]
    k = np.arange(n, n + 20_000)
    slow = np.logaddexp.reduce(poisson.logpmf(k, n * share)) / np.log(10)
    assert ours == pytest.approx(slow, rel=1e-9, abs=1e-9)


def test_the_cases_of_the_field(shared_data: Path) -> None:
    cases = json.loads((shared_data / "gw" / "cases" / "tables.json").read_text())
    assert cases
    for name, case in cases.items():
        aux = auxiliary_of({c: list(zip(v["t"], v["snr"], strict=True)) for c, v in case["auxiliary"].items()})
        rounds = rank(strain_of(case["strain"]["t"]), aux, tuple(case["span"]))
        if "copy" in case:
            assert [found.channel for found in rounds] == case["copy"][1:], name
        elif "either" in case:
            assert [found.channel for found in rounds] == sorted(case["either"])[:1], name
        else:
            assert [found.channel for found in rounds] == case["rounds"], name
        for key in ("efficiency", "use_percentage", "coincident"):
            if key in case:
                assert [getattr(found, key) for found in rounds] == pytest.approx(case[key]), name
