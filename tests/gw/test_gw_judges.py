"""What the judges of GW say of windows whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from opintel.finding import NS, rfc3339
from opintel.gw.judging.channels import ChannelJudge
from opintel.gw.judging.glitch_rate import GlitchRateJudge, RateBlock, log10_mid_p
from opintel.gw.judging.inspiral_range import RangeJudge
from opintel.gw.judging.lock import LockJudge
from opintel.gw.judging.strain_triggers import StrainTriggerJudge
from opintel.gw.judging.witnesses import WitnessJudge

from .judged import SIZE, STRAIN, Said, channel, flag, judged, trigger

DATA, LOCKED = "L1:~DATA", "L1:~LOCKED"
MICROPHONE, COPY, UNKNOWN = "L1:PEM-EY_MIC_VEA_DQ", "L1:OMC-DCPD_SUM_OUT_DQ", "L1:SOMETHING_DQ"
SENSOR = "L1:ISI-ETMX_ST2_CPS_X_DISP_DQ"


def strain(n: int, *seconds: float, snr: float = 9.0) -> Said:
    """The strain in window `n` with triggers at these times."""
    return {STRAIN: channel(n, [trigger(s, snr) for s in seconds], strain=True, range=100.0)}


def test_triggers_are_of_science_mode_and_not_at_its_edges() -> None:
    windows = [{**strain(n, 2 * n + 0.5, 2 * n + 1.5), DATA: flag(n, 2 <= n < 6)} for n in range(8)]
    windows[5][DATA].active[:] = [(5 * SIZE, 6 * SIZE)]  # the second behind the window is known not to be
    times = [f.onset / NS for f in judged(StrainTriggerJudge, windows)]
    assert times == [5.5, 6.5, 7.5, 8.5, 9.5, 10.5]
    assert all(f.severity == "info" and f.effect.unit == "SNR" for f in judged(StrainTriggerJudge, windows))


def test_without_a_science_flag_all_time_counts_and_other_flags_mask_nothing() -> None:
    windows = [{**strain(n, 2 * n + 0.1), "L1:~CBC_CAT2": flag(n, active=False)} for n in range(3)]
    assert [f.onset / NS for f in judged(StrainTriggerJudge, windows)] == [0.1, 2.1, 4.1]


def test_a_trigger_that_was_held_back_has_the_window_of_its_own_time() -> None:
    late = {STRAIN: channel(4, [trigger(1.25, 20.0), trigger(9.0)], strain=True, live=[(0, 5 * SIZE)])}
    (own,) = judged(StrainTriggerJudge, [{**late, DATA: flag(4)}], first=4)
    assert own.onset == 9 * NS  # nobody said that it was in science mode before
    learning = [{STRAIN: channel(n, strain=True, state="learning", live=[])} for n in range(4)]
    found = judged(StrainTriggerJudge, [*learning, late])
    assert [(f.window.start, f.onset) for f in found] == [(0, 1.25 * NS), (4 * SIZE, 9 * NS)]
    assert len({f.id for f in found}) == 2


def test_a_louder_trigger_is_less_probable_and_a_busy_background_makes_each_more_so() -> None:
    quiet = judged(StrainTriggerJudge, [strain(0, 0.5), strain(1, 2.5, snr=6.0), strain(2, 4.5, snr=9.0)])
    faint, loud = quiet[1].log10_p, quiet[2].log10_p
    assert loud < -10 < faint < 0
    # of the same rate, the tail falls as exp(-snr^2 / 2), up to what the rate changes in between
    assert loud - faint == pytest.approx(-(81 - 36) / 2 / np.log(10), abs=0.5)
    busy = [strain(n, *(2 * n + 0.2 * k for k in range(9)), snr=5.6) for n in range(60)]
    assert judged(StrainTriggerJudge, [*busy, strain(60, 120.5)])[-1].log10_p > quiet[0].log10_p + 1


def test_lock_is_lost_in_science_mode_only_and_said_once() -> None:
    def state(n: int) -> Said:
        science, locked = n < 20 or 40 <= n < 60 or n >= 90, n < 20 or 35 <= n < 70 or n >= 80
        return {**strain(n), DATA: flag(n, science), LOCKED: flag(n, locked)}

    found = judged(LockJudge, [state(n) for n in range(100)])
    assert [(f.kind, f.severity, f.onset / NS) for f in found] == [
        ("lock-loss", "warning", 40.0),
        ("lock-loss", "info", 80.0),
    ]
    assert "lost lock after 40 s" in found[0].summary
    steps, facts = found[0].evidence
    assert [time / NS for time in steps.times] == [0.0, 40 - 1 / NS, 40.0, 42.0]
    assert facts.rows[1][:2] == ["state ended", rfc3339(40 * NS)]
    assert "again after 40 s" in found[1].summary


def test_a_gap_in_the_flags_is_no_loss_and_without_a_flag_of_lock_the_end_is_a_notice() -> None:
    gap = [{} if 10 <= n < 20 else {DATA: flag(n), LOCKED: flag(n)} for n in range(30)]
    assert judged(LockJudge, gap) == []
    ended = judged(LockJudge, [{DATA: flag(n, n < 20)} for n in range(30)])
    assert [(f.severity, f.summary) for f in ended] == [("info", "science mode of L1 ended after 40 s")]


def glitching(seconds: int, times: Sequence[float], snr: float = 9.0) -> list[Said]:
    return [strain(n, *(t for t in times if 2 * n <= t < 2 * n + 2), snr=snr) for n in range(seconds // 2)]


def test_more_glitches_than_usual_are_found_and_the_usual_ones_are_not() -> None:
    usual = np.sort(np.random.default_rng(4).uniform(0, 1800, 45)).tolist()
    assert judged(GlitchRateJudge, glitching(1800, usual)) == []
    burst = (1500 + 4.1 * np.arange(24)).tolist()
    found = judged(GlitchRateJudge, glitching(1800, [*usual, *burst]))
    assert [f.kind for f in found] == ["glitch-rate"] * len(found)
    assert 1 <= len(found) <= 2
    assert found[0].window.end == 1560 * NS
    assert found[0].log10_p < -5
    assert found[0].effect.value > 5
    assert found[0].subject == {"scope": "L1", "channel": STRAIN}


def test_glitches_that_a_safe_channel_witnesses_are_named_with_it() -> None:
    usual = np.sort(np.random.default_rng(4).uniform(0, 600, 15)).tolist()
    burst = (540.5 + 3.9 * np.arange(15)).tolist()
    windows = [
        {
            **said,
            MICROPHONE: channel(n, [trigger(t, 12.0) for t in burst if 2 * n <= t < 2 * n + 2]),
            COPY: channel(n, said[STRAIN].triggers),
        }
        for n, said in enumerate(glitching(600, sorted([*usual, *burst])))
    ]
    (found,) = judged(GlitchRateJudge, windows)
    assert found.subject == {"scope": "L1", "channel": STRAIN, "witness": MICROPHONE}


def test_a_burst_in_a_short_past_does_not_hide_the_next_one() -> None:
    """Two triggers a minute for six minutes and one with seven more; then ten in a minute."""
    usual = [20.0 + 30 * k for k in range(14)] + [190.5 + 6 * k for k in range(7)]
    assert judged(GlitchRateJudge, glitching(420, sorted(usual))) == []
    (found,) = judged(GlitchRateJudge, glitching(480, sorted([*usual, *(421.5 + 5 * k for k in range(10))])))
    assert found.window.end == 480 * NS


def test_the_rate_of_a_minute_is_calibrated_on_over_dispersed_glitches() -> None:
    """Rates vary from minute to minute as a gamma variable of variance .1. Of 2000 tests about 20 are below .01, and up
    to 30 as the busiest minutes of the past count less: more than 58 are, and less than 2, in one of a million
    repetitions."""
    rng = np.random.default_rng(8)
    below = 0
    for _ in range(2000):
        counts = rng.poisson(4.0 * rng.gamma(10.0, 0.1, 41))
        past = [RateBlock(n, 60.0, (int(k),) * 3) for n, k in enumerate(counts[:40])]
        log10_p, _ = log10_mid_p(RateBlock(40, 60.0, (int(counts[40]),) * 3), past, 0)
        below += log10_p <= -2
    assert 2 <= below <= 58


def test_a_drop_of_range_names_a_safe_channel_that_is_louder_and_never_a_copy() -> None:
    def window(n: int) -> Said:
        low = 450 <= n < 510
        bands = [1.0, 1.0, 3.0 if low else 1.0]
        own = {STRAIN: channel(n, strain=True, range=60.0 if low else 100.0 + n % 3, bands=bands)}
        return {
            **own,
            MICROPHONE: channel(n, bands=[1.0, 1.0, 4.0 if low else 1.0]),
            COPY: channel(n, bands=[1.0, 1.0, 30.0 if low else 1.0]),
            UNKNOWN: channel(n, bands=[20.0 if low else 1.0]),
        }

    found = judged(RangeJudge, [window(n) for n in range(540)])
    assert {f.kind for f in found} == {"range"}
    assert {f.window.end // NS for f in found} == {960, 1020}
    assert all(MICROPHONE in f.summary and COPY not in f.summary for f in found)
    assert found[0].effect.value == pytest.approx(-41, abs=1)
    named = judged(RangeJudge, [window(n) for n in range(540)], unsafe=["PEM-*"], safe=["SOMETHING*"])
    assert all(UNKNOWN in f.summary and MICROPHONE not in f.summary for f in named)


def test_a_drop_of_range_names_a_safe_channel_that_couples_though_it_is_no_louder() -> None:
    """In two minutes the strain's phases follow those of a microphone in a quarter of the band, and those of a copy in
    all of it. A magnetometer has followed them all the time."""
    rng = np.random.default_rng(5)
    magnetometer = "L1:PEM-EX_MAG_VEA_FLOOR_X_DQ"

    def window(n: int) -> Said:
        own, other, third = rng.integers(0, 256, (3, 40)).astype(np.uint8)
        low = 450 <= n < 510
        if low:
            other[10:20] = own[10:20] + rng.integers(-40, 41, 10).astype(np.uint8)
        third[5:15] = own[5:15]
        return {
            STRAIN: channel(n, strain=True, range=60.0 if low else 100.0, bands=[1.0], phases=own.tobytes()),
            MICROPHONE: channel(n, bands=[1.0], phases=other.tobytes()),
            magnetometer: channel(n, bands=[1.0], phases=third.tobytes()),
            "L1:PEM-CS_ADC_5_31_2K_OUT_DQ": channel(n, bands=[1.0], phases=own.tobytes()),
        }

    found = judged(RangeJudge, [window(n) for n in range(540)])
    assert [f.summary.partition("; ")[2] for f in found] == [
        f"it has become coherent with {MICROPHONE} between 143 and 260 Hz"
    ] * 2
    assert [row[0] for row in found[0].evidence[-1].rows] == [MICROPHONE]


def witnessed(extra: Sequence[float] = ()) -> list[Said]:
    """Ten minutes: the microphone sees 20 of the 30 glitches, the copies and an unknown channel all; `extra`: signals,
    which strain and copies see."""
    rng = np.random.default_rng(6)
    times = np.sort(rng.uniform(5, 595, 30))
    heard = rng.permutation(30)[:20]
    windows = []
    for n in range(300):
        mine = [t for t in times if 2 * n <= t < 2 * n + 2]
        signals = [t for t in extra if 2 * n <= t < 2 * n + 2]
        seen = [trigger(t, 9.0 + k % 5) for k, t in enumerate(times) if k in heard and 2 * n <= t < 2 * n + 2]
        all_of_it = [*(trigger(t, 9.0) for t in mine), *(trigger(t, 25.0) for t in signals)]
        all_of_it.sort(key=lambda one: one.time)
        windows.append(
            {
                STRAIN: channel(n, all_of_it, strain=True),
                COPY: channel(n, all_of_it),
                UNKNOWN: channel(n, all_of_it),
                MICROPHONE: channel(n, seen),
            }
        )
    return windows


def test_a_witness_is_found_and_no_channel_that_carries_the_signal() -> None:
    found = judged(WitnessJudge, witnessed())
    assert {f.subject["witness"] for f in found} == {MICROPHONE}
    assert [f.window.end // NS for f in found] == [300, 600]
    last = found[-1]
    assert last.severity == "info"
    assert last.log10_p < -20
    assert last.effect.value == 100.0  # of those beside which a safe channel does anything
    assert "use 100 %" in last.summary
    assert last.evidence[0].rows[0][0] == MICROPHONE


def test_a_signal_in_the_strain_and_its_copies_changes_no_witness_bit_for_bit() -> None:
    """Paired, whole findings. Of three signals none is beside a trigger of the microphone; a fourth is, by chance."""
    plain = judged(WitnessJudge, witnessed())
    assert judged(WitnessJudge, witnessed([101.3, 333.25, 590.75])) == plain
    beside = next(t.time / NS for said in witnessed() for t in said[MICROPHONE].triggers) + 0.02
    assert judged(WitnessJudge, witnessed([beside])) != plain


def test_coincidences_by_chance_are_never_expected_to_be_fewer_than_they_are() -> None:
    """A microphone that knows nothing of the strain, whose glitches are 60 in a hundred seconds. Significance 5 is
    reached by one ranking in 10^5 / 60 by chance, so that of ten there is none but in one case of 160."""
    rng = np.random.default_rng(9)
    windows = []
    for n in range(1500):
        heard, seen = (np.sort(2 * n + rng.uniform(0, 2, rng.poisson(rate))) for rate in (1.2, 0.3))
        windows.append(
            {STRAIN: channel(n, map(trigger, heard), strain=True), MICROPHONE: channel(n, map(trigger, seen))}
        )
    assert judged(WitnessJudge, windows) == []


def test_a_copy_without_a_telling_name_is_known_by_its_phases() -> None:
    """A spare input of a safe family holds the strain, delayed; the microphone's phases are its own."""
    rng, spare = np.random.default_rng(3), "L1:PEM-CS_ADC_5_31_2K_OUT_DQ"
    windows = []
    for n, said in enumerate(witnessed()):
        own, other = rng.integers(0, 256, (2, 30)).astype(np.uint8)
        shifted = (own + 7 * np.arange(30) + rng.integers(-20, 21, 30)).astype(np.uint8)
        held = said[STRAIN]
        windows.append(
            {
                STRAIN: channel(n, held.triggers, strain=True, phases=own.tobytes()),
                spare: channel(n, held.triggers, phases=shifted.tobytes()),
                MICROPHONE: channel(n, said[MICROPHONE].triggers, phases=other.tobytes()),
            }
        )
    assert {f.subject["witness"] for f in judged(WitnessJudge, windows)} == {MICROPHONE}
    unnoticed = [{**said, spare: channel(n, said[spare].triggers)} for n, said in enumerate(windows)]
    assert spare in {f.subject["witness"] for f in judged(WitnessJudge, unnoticed)}


def test_a_slow_sensor_witnesses_by_its_fringe_frequency() -> None:
    rng = np.random.default_rng(2)
    times = np.sort(rng.uniform(5, 295, 20))
    windows = []
    for n in range(150):
        mine = [t for t in times if 2 * n <= t < 2 * n + 2]
        arches = [(round((t + 0.2) * NS), 35.0) for t in mine]
        windows.append(
            {STRAIN: channel(n, [trigger(t) for t in mine], strain=True), SENSOR: channel(n, fringes=arches)}
        )
    assert {f.subject["witness"] for f in judged(WitnessJudge, windows)} == {SENSOR}


def test_a_channel_that_stops_moving_is_said_once_and_once_when_it_moves_again() -> None:
    def window(n: int) -> Said:
        stuck = "constant" if 50 <= n < 90 else "good"
        return {**strain(n), DATA: flag(n), MICROPHONE: channel(n, state=stuck), COPY: channel(n, state="constant")}

    found = judged(ChannelJudge, [window(n) for n in range(100)])
    assert [(f.kind, f.severity, f.window.start // NS) for f in found] == [
        ("stuck", "warning", 128),
        ("stuck", "info", 180),
    ]
    assert {f.subject["channel"] for f in found} == {MICROPHONE}
    steps, facts = found[0].evidence
    assert steps.values == [1.0] * 30 + [0.0] * 15
    assert (steps.times[0] // NS, steps.times[-1] // NS, steps.marked[0] // NS) == (40, 128, 100)
    assert facts.rows[2] == ["since", rfc3339(100 * NS)]


def test_out_of_science_mode_and_at_the_end_of_the_input_nothing_is_stuck_or_missing() -> None:
    def window(n: int, science: bool) -> Said:
        there = {MICROPHONE: channel(n)} if n < 50 else {}
        return {**strain(n), DATA: flag(n, science or n < 50), **there}

    assert judged(ChannelJudge, [window(n, False) for n in range(100)]) == []
    assert judged(ChannelJudge, [window(n, True) for n in range(100)], complete=False) == []
    (found,) = judged(ChannelJudge, [window(n, True) for n in range(100)])
    assert (found.kind, found.subject["channel"]) == ("missing", MICROPHONE)


def test_many_channels_that_go_together_are_one_finding() -> None:
    names = [f"L1:PEM-X{k}_DQ" for k in range(12)]
    windows = [{**strain(n), **{name: channel(n) for name in names if n < 50}} for n in range(80)]
    (found,) = judged(ChannelJudge, windows)
    assert found.kind == "missing"
    assert found.subject == {"scope": "L1"}
    assert "12 of 1" in found.summary
