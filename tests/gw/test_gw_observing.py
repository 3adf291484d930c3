"""What a shifter is told of the last minutes, and that a signal cannot reach what flags data."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from opintel.evidence import Series, Table
from opintel.finding import NS, Finding, Window
from opintel.gw.judging import observing
from opintel.gw.judging.activity import FEATURES, Activity
from opintel.gw.judging.flags import GlitchFlags
from opintel.gw.judging.observing import ObservingJudge
from opintel.gw.judging.witnesses import WitnessJudge
from opintel.gw.simulated import windows
from opintel.gw.simulated.model import SMALL
from opintel.gw.simulated.simulate import GwSimulator

from .judged import DATA, STRAIN, Said, channel, flag, judged, trigger

COPY = "L1:PEM-CS_ADC_5_31_2K_OUT_DQ"
MICROPHONE, SEISMOMETER, UNSAFE = "L1:PEM-EY_MIC_VEA_DQ", "L1:PEM-EX_SEIS_VEA_FLOOR_Z_DQ", "L1:OMC-DCPD_SUM_OUT_DQ"
Seen = dict[int, dict[str, list[float]]]


def block_of(rng: np.random.Generator, first: int, seconds: int = 300) -> tuple[list[int], Seen, dict[int, bool]]:
    """Seconds of which a tenth has a trigger of the microphone, that shows in the strain four times of five, and a
    tenth one of the seismometer, that never does; one second in a hundred has another glitch."""
    every = list(range(first, first + seconds))
    active: Seen = {}
    glitch = {}
    for second in every:
        witnessed = rng.random() < 0.1
        if witnessed:
            active.setdefault(second, {})[MICROPHONE] = [1.0, 0.5, 0.0, 0.0]
        if rng.random() < 0.1:
            active.setdefault(second, {})[SEISMOMETER] = [1.0, 0.2, 0.0, 0.0]
        glitch[second] = bool(rng.random() < (0.8 if witnessed else 0.01))
    return every, active, glitch


def table(finding: Finding, title: str) -> list[list[Any]]:
    return next(block.rows for block in finding.evidence if isinstance(block, Table) and block.title == title)


def series(finding: Finding, title: str) -> Series:
    return next(block for block in finding.evidence if isinstance(block, Series) and block.title == title)


def test_a_coupling_is_learnt_and_said_with_its_channel() -> None:
    """Of the last four of 12 blocks, 1200 s: where the probabilities are right, the ECE is .015, sigma .004."""
    flags, rng = GlitchFlags(), np.random.default_rng(1)
    for n in range(8):
        flags.block(*block_of(rng, 300 * n))
    flags.calibration = type(flags.calibration)()
    for n in range(8, 12):
        seconds, active, glitch = block_of(rng, 300 * n)
        probability, said = flags.block(seconds, active, glitch)
        by_second = dict(zip(seconds, probability.tolist(), strict=True))
        assert {one.second for one in said} == set(active)
        for one in said:
            assert one.probability == by_second[one.second]
            if [*active[one.second]] == [MICROPHONE]:
                assert one.probability > 0.6
                assert one.channel == MICROPHONE
            elif MICROPHONE not in active[one.second]:
                assert one.probability < 0.1
    assert flags.calibration.seconds == 1200
    assert flags.calibration.error < 0.05
    assert flags.calibration.skill is not None
    assert flags.calibration.skill > 0.4


def test_the_strain_of_a_block_changes_neither_it_nor_the_next_one_bit_for_bit() -> None:
    rng = np.random.default_rng(2)
    blocks = [block_of(rng, 300 * n) for n in range(5)]
    plain, loud = GlitchFlags(), GlitchFlags()
    for n, (seconds, active, glitch) in enumerate(blocks):
        with_signal = {second: n == 2 or outcome for second, outcome in glitch.items()}
        (one, said), (other, said_too) = plain.block(seconds, active, glitch), loud.block(seconds, active, with_signal)
        assert (np.array_equal(one, other) and said == said_too) == (n < 4)


def test_a_strain_trigger_beside_which_nothing_happens_teaches_nothing_ever() -> None:
    rng = np.random.default_rng(3)
    plain, loud = GlitchFlags(), GlitchFlags()
    for n in range(6):
        seconds, active, glitch = block_of(rng, 300 * n)
        lonely = {second: outcome or second not in active for second, outcome in glitch.items()}
        one, other = plain.block(seconds, active, glitch), loud.block(seconds, active, lonely)
        assert np.array_equal(one[0], other[0])
        assert one[1] == other[1]
    assert plain.calibration.glitches < loud.calibration.glitches


def test_what_was_learnt_goes_on_from_its_state() -> None:
    rng = np.random.default_rng(4)
    blocks = [block_of(rng, 300 * n) for n in range(4)]
    whole, restored = GlitchFlags(), GlitchFlags()
    for block in blocks[:3]:
        whole.block(*block)
        state = msgspec.msgpack.encode(restored.state())
        restored = GlitchFlags()
        restored.restore(msgspec.msgpack.decode(state))
        restored.block(*block)
    assert np.array_equal(whole.block(*blocks[3])[0], restored.block(*blocks[3])[0])


def test_activity_is_triggers_noise_and_fringes_second_by_second() -> None:
    activity = Activity()
    said = {
        "A": channel(1, [trigger(2.9, 15.5), trigger(3.0, 7.0)], bands=[9.0, 9.0, 1.0]),
        "B": channel(1, bands=[1.0, 1.0, 6.0, float("nan")], fringes=[(3 * NS, 40.0), (3 * NS + 1, 5.0)]),
        "C": channel(1, [trigger(2.5, 99.0)]),
    }
    activity.take(Window(2 * NS, 4 * NS), said, {"A", "B"}.__contains__)
    seen = activity.until(10)
    ln2 = np.log(2.0)
    assert sorted(seen) == [2, 3]
    assert seen[2]["A"] == seen[3]["A"] == pytest.approx([1.0, ln2, 0.0, 0.0])  # it is .1 s from the next second
    assert seen[2]["B"] == pytest.approx([0.0, 0.0, ln2, 0.0])
    assert seen[3]["B"] == pytest.approx([0.0, 0.0, ln2, np.log(4.0)])
    assert all("C" not in channels and all(len(f) == FEATURES for f in channels.values()) for channels in seen.values())
    assert activity.until(10) == {}


def test_a_finding_comes_every_five_minutes_of_event_time_and_at_the_end_of_science_time() -> None:
    said = list[Said]()
    for n in range(310):
        strain = [trigger(2 * n + 0.5, 9.0)] if n % 30 == 10 else [trigger(2 * n + 0.5, 5.6)] if n % 30 == 20 else []
        said.append(
            {
                STRAIN: channel(n, strain, strain=True, range=100.0 + n // 150),
                MICROPHONE: channel(n, state="constant" if 100 <= n < 250 else "absent" if n >= 250 else "good"),
                DATA: flag(n, 20 <= n < 250),
            }
        )
    found = judged(ObservingJudge, said)
    assert [f.window.end // NS for f in found] == [300, 502]
    assert all(
        (f.kind, f.severity, f.basis, f.subject)
        == ("observing", "info", "none", {"scope": "L1", "quantity": "last minutes"})
        for f in found
    )
    first, last = found
    # science begins at 40 s; its first second is not judged, as nothing is whole there
    assert table(first, observing.TIME)[0][1] == pytest.approx(259.0)
    assert [row[:2] for row in table(first, observing.CHANNELS)] == [
        ["constant", 1],
        ["good", 1],
        ["looked at", 1],
        ["safe by name, but not known to be no copy of the strain", 0],
    ]
    assert table(first, observing.CHANNELS)[0][2] == MICROPHONE
    assert table(last, observing.CHANNELS) == table(first, observing.CHANNELS)  # of science mode
    assert {row[0]: row[1] for row in table(first, observing.SNRS)}["8 to 10"] == 4
    ranges = series(last, observing.RANGE)
    assert (ranges.values[0], ranges.values[-1]) == (100.0, 101.0)
    assert len(ranges.values) == len(ranges.times) == 9
    assert series(first, observing.PROBABILITY).values == [0.005] * 259
    assert table(first, observing.FLAGGED) == []


def test_seconds_beside_a_known_witness_are_flagged() -> None:
    rng = np.random.default_rng(5)
    said = list[Said]()
    for n in range(600):
        time, seen = 2 * n + 0.5, rng.random() < 0.2
        said.append(
            {
                STRAIN: channel(n, [trigger(time, 12.0)] if seen else [], strain=True),
                MICROPHONE: channel(n, [trigger(time, 20.0)] if seen else []),
                UNSAFE: channel(n, [trigger(time + 0.9, 20.0)]),
            }
        )
    last = judged(ObservingJudge, said)[-1]
    flagged = table(last, observing.FLAGGED)
    assert {row[3] for row in flagged} == {MICROPHONE}
    seconds = sum(int(end) - int(begin) for begin, end, *_ in flagged)
    assert 15 <= seconds <= 50  # 60 of 300 s are expected by chance in 150 windows, 30 of them; a table has 30 rows
    (known,) = table(last, f"{observing.FLAGGED}: known")
    assert int(known[1]) - int(known[0]) == 300
    assert table(last, observing.LOUD)[0][3] > 0.5


def test_a_signal_changes_no_flag_probability_or_witness_bit_for_bit() -> None:
    """One story with and without four chirps in the strain and its copy. What safe channels say is the same; the strain
    and its copy differ, and have more triggers. The chirps of this seed come while no safe channel is active."""
    named = ("PEM-EY_MIC_VEA_MINUSX_DQ", "PEM-CS_ACC_PSL_PERISCOPE_X_DQ")
    model = SMALL._replace(
        science=140,
        channels=tuple(one for one in SMALL.channels if one.name in named),
        copies=SMALL.copies[2:],
        couplings=tuple(one for one in SMALL.couplings if one.witness in named),
        populations=tuple(p._replace(an_hour=250.0, least=9.0) for p in SMALL.populations if p.channel in named),
    )
    plain, signals = (GwSimulator(seed=3, hours=0.06, faults=(), model=model, injections=number) for number in (0, 4))
    without = list(windows.closings(plain))
    injected = windows.with_strain(without, list(windows.closings(signals, {STRAIN, COPY})))
    found = [windows.judged(ObservingJudge(), played, every=20.0, flag=0.3) for played in (without, injected)]
    assert len(found[0]) == len(found[1]) == 7
    triggers = [sum(row[1] for f in findings for row in table(f, observing.SNRS)) for findings in found]
    assert triggers[1] >= triggers[0] + 3
    for one, other in zip(*found, strict=True):
        for title in (observing.FLAGGED, f"{observing.FLAGGED}: known", observing.CHANNELS):
            assert table(one, title) == table(other, title)
        assert series(one, observing.PROBABILITY) == series(other, observing.PROBABILITY)
    assert any(table(f, observing.FLAGGED) for f in found[0])
    assert table(found[0][-1], observing.CHANNELS)[-1][1:] == [1, COPY]
    # but for the Q-scan of the strain's glitch: a signal moves the spectrum that it is drawn with a little
    witnesses = [
        [msgspec.structs.replace(f, evidence=f.evidence[:1] + f.evidence[2:]) for f in those]
        for those in (windows.judged(WitnessJudge(), played, every=30.0) for played in (without, injected))
    ]
    assert witnesses[0] == witnesses[1]
    assert witnesses[0]
