"""Simulated interferometers: reproducible bytes, messages of the documented form, and faults that show where the truth
says they are."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy import signal

from gw.played import HOURS, QUIET, joined, played
from opintel.finding import NS
from opintel.gw.gps import gps_from_utc
from opintel.gw.simulated.model import BITS, LARGE, SMALL, STATE, STRAIN
from opintel.gw.simulated.simulate import FAULT_KINDS, STORIES, Fault, GwSimulator
from opintel.gw.simulated.story import OTHER_KINDS

SCHEMA = pa.schema([("time", pa.int64()), ("id", pa.uint32()), ("data", pa.list_(pa.float32()))])
RATE = SMALL.rate


def opened(body: bytes) -> tuple[list[dict[str, Any]], pa.Table]:
    """(channel table, rows) of a message."""
    table = pa.ipc.open_stream(body).read_all()
    assert table.schema.equals(SCHEMA)
    return json.loads(table.schema.metadata[b"opintel.gw"]), table


def about(fault: Fault) -> tuple[str, int, int]:
    """(channel or witness, begin, end) in GPS s."""
    name = fault.subject.get("witness", fault.subject.get("channel", ""))
    return name.partition(":")[2], gps_from_utc(fault.start) // NS, gps_from_utc(fault.end) // NS


def one_fault(kind: str, **arguments: Any) -> tuple[GwSimulator, tuple[str, int, int]]:
    simulation = GwSimulator(**{"seed": 11, "hours": HOURS, "faults": [kind], "model": QUIET} | arguments)
    (fault,) = simulation.truth
    assert fault.kind == kind
    return simulation, about(fault)


def test_the_same_arguments_give_the_same_bytes_however_they_are_read() -> None:
    simulation = GwSimulator(seed=3, hours=0.03, faults=())
    story = list(simulation.messages())
    assert story == list(GwSimulator(seed=3, hours=0.03, faults=()).messages())
    assert story != list(GwSimulator(seed=4, hours=0.03, faults=()).messages())
    one, other = simulation.messages(), simulation.messages()
    assert list(islice(one, 3)) == story[:3]
    assert list(other) == story
    assert list(one) == story[3:]


def test_a_message_is_a_second_of_an_interferometer() -> None:
    simulation = GwSimulator(seed=5, hours=0.05, faults=(), interferometers=("H1", "L1"))
    (stretch,) = simulation.stretches
    seen: dict[str, list[int]] = {"H1": [], "L1": []}
    arrivals = []
    for arrival, body in simulation.messages():
        table, rows = opened(body)
        assert all(entry.keys() - {"bits"} == {"id", "name", "rate", "unit", "dtype"} for entry in table)
        its = {entry["id"]: entry for entry in table}
        name = table[0]["name"][:2]
        assert {entry["name"][:3] for entry in table} == {f"{name}:"}
        (time,) = set(rows["time"].to_pylist())
        assert time % NS == 0
        numbers = rows["id"].to_pylist()
        assert len(set(numbers)) == len(numbers)
        gps = time // NS
        lengths = {
            its[number]["name"][3:]: len(samples)
            for number, samples in zip(numbers, rows["data"].to_pylist(), strict=True)
        }
        if stretch.begin - 2 <= gps < stretch.end + 2:
            assert lengths == {entry["name"][3:]: entry["rate"] for entry in table}
            seen[name].append(gps)
        else:
            assert lengths == {STATE: 16}
        assert gps_from_utc(arrival) >= time + NS
        arrivals.append(arrival)
    assert arrivals == sorted(arrivals)
    assert seen["H1"] == seen["L1"] == list(range(stretch.begin - 2, stretch.end + 2))


def test_the_state_vector_says_when_there_are_science_data() -> None:
    simulation = GwSimulator(seed=5, hours=1.5, faults=())
    state = played(simulation)[STATE]
    table, _ = opened(next(simulation.messages())[1])
    (entry,) = (entry for entry in table if entry["name"] == f"L1:{STATE}")
    assert entry["bits"] == list(BITS) == ["DATA", "HW_INJECTION", "LOCKED"]
    assert (entry["rate"], entry["dtype"]) == (16, "uint32")
    observing = {gps for gps, samples in state.items() if (samples.astype(int) & 1).all()}
    assert observing == {gps for one in simulation.stretches for gps in range(*one)}
    assert len(simulation.stretches) == 2
    idle = sorted(set(state) - {gps for one in simulation.stretches for gps in range(one.begin - 2, one.end + 2)})
    assert all(not state[gps].any() for gps in idle)
    assert len(idle) >= 5


@pytest.mark.parametrize("seed", range(6))
def test_every_kind_of_fault_is_there_once_in_science_data(seed: int) -> None:
    simulation = GwSimulator(seed=seed, hours=8, quiet_hours=2)
    truth = simulation.truth
    assert sorted(fault.kind for fault in truth) == sorted(FAULT_KINDS)
    assert [fault.start for fault in truth] == sorted(fault.start for fault in truth)
    assert len({json.dumps(fault.subject) for fault in truth}) == len(truth)
    assert all(fault.subject["scope"] == "L1" for fault in truth)
    for fault in truth:
        assert simulation.start + 2 * 3600 * NS <= fault.start < fault.end <= simulation.end
        _, begin, end = about(fault)
        assert any(one.begin <= begin < end <= one.end for one in simulation.stretches)


def test_all_other_kinds_fit_into_the_large_size() -> None:
    kinds = FAULT_KINDS + OTHER_KINDS
    simulation = GwSimulator(seed=1, hours=1.0, faults=kinds, model=LARGE, interferometers=("H1", "L1"))
    assert sorted(fault.kind for fault in simulation.truth) == sorted(kinds)


def test_the_large_size_is_large() -> None:
    simulation = GwSimulator(seed=1, hours=0.03, faults=(), model=LARGE)
    body = max((body for _, body in simulation.messages()), key=len)
    assert len(body) <= 1 << 20
    table, rows = opened(body)
    rates = {entry["name"]: entry["rate"] for entry in table}
    assert len(rates) - 5 >= 100, "without strain, its copies and the state"
    assert len(rates) == len(table) == rows.num_rows
    assert {16, 256, 512, 1024, 2048, 4096} == set(rates.values())
    assert rates[f"L1:{STRAIN}"] == 4096


def test_what_has_no_fault_is_the_same_with_and_without_one() -> None:
    simulation, (channel, begin, end) = one_fault("stuck-channel")
    with_fault, without = played(simulation), played(GwSimulator(seed=11, hours=HOURS, faults=(), model=QUIET))
    for name, its in without.items():
        same = {gps for gps, samples in its.items() if np.array_equal(samples, with_fault[name][gps])}
        changed = set(range(begin, end)) if name == channel else set()
        assert set(its) - same == changed, name


def test_a_stuck_channel_holds_its_last_value() -> None:
    simulation, (channel, begin, end) = one_fault("stuck-channel")
    its = played(simulation)[channel]
    held = {float(value) for gps in range(begin, end) for value in np.unique(its[gps])}
    assert held == {float(its[begin - 1][-1])}


def test_a_missing_channel_is_in_the_table_alone() -> None:
    simulation, (channel, begin, end) = one_fault("missing-channel")
    its = played(simulation)
    assert set(its[STRAIN]) - set(its[channel]) == set(range(begin, end))
    assert all(
        f"L1:{channel}" in {entry.name for entry in second.table}
        for second in simulation.seconds("L1")
        if begin <= second.gps < end
    )


def test_a_channel_whose_rate_changes_says_so() -> None:
    simulation, (channel, begin, end) = one_fault("rate-change")
    usual = SMALL.channel(channel).rate
    for second in simulation.seconds("L1"):
        if len(second.rows) > 1:
            (entry,) = (entry for entry in second.table if entry.name == f"L1:{channel}")
            assert len(dict(second.rows)[entry.id]) == entry.rate
            assert entry.rate == (usual // 2 if begin <= second.gps < end else usual)


def test_a_saturated_channel_stands_at_its_ends() -> None:
    simulation, (channel, begin, end) = one_fault("saturation")
    its = played(simulation)[channel]
    assert all((samples == np.rint(samples)).all() and np.abs(samples).max() <= 32768 for samples in its.values())
    inside = joined(its, begin, end)
    assert np.isin(inside, (-32768.0, 32767.0)).mean() > 0.2
    assert max(np.abs(samples).max() for gps, samples in its.items() if not begin <= gps < end) < 32767


def test_a_constant_channel_is_constant() -> None:
    (name,) = (channel.name for channel in SMALL.channels if channel.constant)
    its = played(GwSimulator(seed=2, hours=0.03, faults=()))[name]
    assert len({float(value) for samples in its.values() for value in samples}) == 1


def test_gaps_are_missing_messages_and_nan() -> None:
    simulation, (_, begin, end) = one_fault("gap")
    strain = played(simulation)[STRAIN]
    (stretch,) = simulation.stretches
    missing = set(range(*stretch)) - set(strain)
    assert missing == {gps for gps in range(begin, end) if (gps - begin) % 8 < 3}
    partly = {gps for gps, samples in strain.items() if np.isnan(samples).any()}
    assert partly == {gps for gps in range(begin, end) if (gps - begin) % 8 == 3}
    assert all(0 < np.isnan(strain[gps]).mean() < 0.5 for gps in partly)


def test_a_lock_loss_rings_and_ends_the_data() -> None:
    simulation, (channel, begin, end) = one_fault("lock-loss")
    assert channel == STATE
    (planned,) = simulation.stretches
    (stretch,) = simulation.science["L1"]
    assert (begin, end) == (stretch.end, planned.end)
    data = played(simulation)
    state = joined(data[STATE], stretch.begin, begin + 6).astype(int)
    lost = int(np.argmin(state & 1))
    assert (state[:lost] == 5).all()
    assert (state[lost:] == 0).all()
    assert begin - stretch.begin <= lost / 16 < begin - stretch.begin + 1
    strain = joined(data[STRAIN], stretch.begin, begin + 6)
    at = lost * RATE // 16
    assert np.abs(strain[:at]).max() < 2e-21
    assert 5e-19 < np.abs(strain[at : at + RATE // 4]).max() < 2e-18
    ring = strain[at + RATE // 16 : at + RATE // 4]
    frequency = np.fft.rfftfreq(RATE, 1 / RATE)[np.argmax(np.abs(np.fft.rfft(ring, RATE)))]
    assert abs(frequency - 35.0) < 4
    assert not strain[at + 2 * RATE :].any()
    assert max(data[STRAIN]) == begin + 5
    assert data["HPI-ETMY_BLND_L4C_Y_IN1_DQ"][begin + 3].std() > 0, "other channels go on"


def power_in(samples: NDArray[np.float64], low: float, high: float) -> float:
    frequency, power = signal.welch(samples, RATE, nperseg=RATE, average="median")
    return float(np.median(power[(low <= frequency) & (frequency <= high)]))


@pytest.mark.parametrize(
    ("kind", "least", "most"), [("range-drop", 2.0, 4.0), ("coupling-step", 1.1, 1.6), ("slow-drift", 1.1, 2.0)]
)
def test_a_coupling_that_rises_costs_sensitivity(kind: str, least: float, most: float) -> None:
    """Its noise in strain: 1 + level^2 of the power in the middle of the band; the witness itself is as before."""
    simulation, (witness, begin, end) = one_fault(
        kind, model=SMALL._replace(populations=SMALL.populations[:2], lines=())
    )
    (stretch,) = simulation.stretches
    data = played(simulation)
    low, high = SMALL.coupling(witness).band
    middle = (low * high) ** 0.5
    usual, now = (
        power_in(joined(data[STRAIN], *span), middle / 1.3, middle * 1.3)
        for span in ((stretch.begin, begin), (begin, end))
    )
    assert least < now / usual < most
    quiet = played(GwSimulator(seed=11, hours=HOURS, faults=(), model=simulation.model))
    assert all(np.array_equal(samples, data[witness][gps]) for gps, samples in quiet[witness].items())


def test_mains_get_sidebands() -> None:
    """Lines at 60 +- 1.1 Hz, where the alignment moves at 1.1 Hz; in 20 s at most 2e-4 of what is there by chance has
    twenty times its mean."""
    simulation, (channel, begin, _) = one_fault("mains-sidebands", model=SMALL._replace(populations=()))
    (stretch,) = simulation.stretches
    strain = played(simulation)[STRAIN]
    heights = []
    for start in (stretch.begin, begin):
        frequency, power = signal.periodogram(joined(strain, start, start + 20), RATE, window="hann")
        side = np.abs(np.abs(frequency - 60.0) - 1.1) < 0.06
        heights.append(power[side].max())
        assert power[side].max() < power[np.abs(frequency - 60.0) < 0.06].max(), "the line itself is higher"
    assert heights[1] > 20 * heights[0]
    assert channel == "PEM-CS_MAINSMON_EBAY_1_DQ"


def test_channels_couple_by_butterworth_filters() -> None:
    flat = np.ones_like
    for coupling in SMALL.couplings:
        channel = SMALL.channel(coupling.witness)
        found = coupling.response(channel, flat, RATE)
        sections = signal.butter(4, coupling.band, "bandpass", fs=RATE, output="sos")
        passed = signal.sosfreqz(sections, np.arange(channel.rate + 1) / 2.0, fs=RATE)[1]
        scale = np.abs(found).max() / np.abs(passed).max()
        np.testing.assert_allclose(found, scale * passed, atol=1e-12 * scale)


@pytest.mark.parametrize(
    ("kind", "glitch", "least"),
    [("glitchy-channel", "witnessed", 8), ("glitch-rate", "blip", 10), ("whistles", "whistle", 6)],
)
def test_a_burst_of_glitches_is_where_the_fault_is(kind: str, glitch: str, least: int) -> None:
    simulation, (channel, begin, end) = one_fault(kind, model=SMALL)
    arises = "" if channel == STRAIN else channel
    its = [one.time / NS for one in simulation.glitches["L1"] if (one.kind, one.channel) == (glitch, arises)]
    inside = sum(begin <= time < end for time in its)
    assert inside >= least
    assert len(its) - inside < inside / 2


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ({"hours": 0.0}, "hours are above 0"),
        ({"hours": 1.0, "quiet_hours": 1.0}, "quiet_hours below hours"),
        ({"hours": 1.0, "faults": ["flood"]}, "unknown fault kind 'flood'"),
        ({"hours": 0.04}, "expected 1 times 155 s of science data or more for 7 faults, got 0"),
        ({"hours": 1.0, "faults": ["saturation", "saturation"]}, "no channel is left for 'saturation'"),
    ],
)
def test_what_cannot_be_played_is_said(arguments: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        GwSimulator(seed=1, **arguments)


def test_the_stories_say_what_they_tell() -> None:
    assert STORIES.faults == FAULT_KINDS
    assert not set(FAULT_KINDS) & set(OTHER_KINDS)
    simulation = STORIES.simulator(seed=0, hours=STORIES.hours + STORIES.quiet_hours, quiet_hours=STORIES.quiet_hours)
    assert len(simulation.truth) == len(FAULT_KINDS)
