"""Unsafe channels: by name, by their answer to injections, by coherence; each may err only as often as it says."""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from scipy.signal import lfilter
from scipy.stats import binom, hypergeom

from opintel.gw.injection_safety import injection_response
from opintel.gw.safety import FAMILIES, Safety, SafetyFamilies
from opintel.gw.strain_copies import strain_copies

START = 1_264_316_000.0


@pytest.mark.parametrize(
    "name",
    [
        *("H1:GDS-CALIB_STRAIN", "L1:GDS-CALIB_STRAIN_CLEAN", "V1:Hrec_hoft_16384Hz", "V1:h_16384Hz", "H1:LDAS-STRAIN"),
        *("L1:LSC-DARM_IN1_DQ", "V1:LSC_DARM_ERR", "V1:DARM_NOISE", "H1:CAL-DELTAL_EXTERNAL_DQ", "H1:OAF-CAL_DARM_DQ"),
        *(
            "H1:OMC-DCPD_SUM_OUT_DQ",
            "L1:OMC-PZT2_MON_DC_OUT_DQ",
            "L1:ASC-OMC_A_PIT_OUT_DQ",
            "K1:CAL-CS_PROC_DARM_STRAIN",
        ),
        *(
            "H1:CAL-PCALX_RX_PD_OUT_DQ",
            "L1:SUS-ETMY_L3_MASTER_OUT_LL_DQ",
            "h1:omc-dcpd_a",
            "OMC-DCPD_SUM",
            "V1:LSC_B1_DC",
        ),
    ],
)
def test_unsafe_families(name: str) -> None:
    assert FAMILIES.judge(name) is Safety.UNSAFE


@pytest.mark.parametrize(
    "name", ["H1:PEM-EY_ACC_BEAMTUBE_MAN_Y_DQ", "L1:ISI-HAM6_BLND_GS13X_IN1_DQ", "V1:ENV_CEB_SEIS_N"]
)
def test_safe_families(name: str) -> None:
    assert FAMILIES.judge(name) is Safety.SAFE


@pytest.mark.parametrize("name", ["H1:LSC-MICH_OUT_DQ", "A", "", "H1:NOVEL-SENSOR", "PEM", "H1:SUS-ITMX_M0_DAMP_L"])
def test_what_is_not_known_is_neither(name: str) -> None:
    assert FAMILIES.judge(name) is Safety.UNKNOWN


def test_families_come_from_plain_data() -> None:
    own = msgspec.convert({"unsafe": ["SQZ-*"], "safe": ["LSC-MICH*"]}, SafetyFamilies)
    assert [own.judge(n).value for n in ("H1:SQZ-A", "H1:LSC-MICH_OUT", "H1:OMC-A")] == ["unsafe", "safe", "unknown"]
    assert SafetyFamilies(unsafe=(), safe=()).judge("H1:OMC-A") is Safety.UNKNOWN
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"dangerous": []}, SafetyFamilies)
    assert FAMILIES.judge("L1:" + "-OM" * 100_000) is Safety.UNKNOWN, "a long name costs no more than its length"


def table(channels: dict[str, np.ndarray], snr: float = 9.0) -> pa.Table:
    names = np.repeat(np.array(list(channels), dtype=object), [len(t) for t in channels.values()])
    times = np.concatenate([np.zeros(0), *channels.values()])
    return pa.table({"channel": pa.array(names, pa.string()), "t_peak": times, "snr": np.full(len(times), snr)})


def study(seed: int, hours: float = 1.0, injections: int = 100) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    times = np.linspace(START + 5, START + hours * 3600 - 5, injections) + rng.uniform(-2, 2, injections)
    return rng, times, np.array([[START, START + hours * 3600]])


def test_safe_channels_are_rarely_called_unsafe() -> None:
    """Of 1500 channels with a trigger in 17 s, some in bursts: at 5 % within 4 sigma, at 1e-3 at most 8 (more by chance
    for one seed in 5000).
    """
    rng, times, live = study(1)
    channels = {}
    for c in range(1500):
        t = rng.uniform(START, START + 3600, rng.poisson(200))
        channels[f"c{c:04d}"] = np.concatenate([t, t[:50] + 0.01]) if c % 3 == 0 else t
    found = injection_response(times, table(channels), live)
    p = found["p_value"].to_numpy()
    assert (p < 0.05).sum() <= binom.ppf(1 - 3e-5, 1500, 0.05)
    assert (p > 0.95).sum() <= binom.ppf(1 - 3e-5, 1500, 0.05)
    assert sum(found["unsafe"].to_pylist()) <= 8


def test_a_channel_that_answers_is_unsafe_and_its_excess_is_in_the_interval() -> None:
    rng, times, live = study(2)
    noise = rng.uniform(START, START + 3600, 300)
    inside = 0
    for share in (0.2, 0.5, 0.9):
        hit = times[rng.random(100) < share] + rng.normal(0, 0.02, 1)
        (row,) = injection_response(times, table({"X": np.concatenate([noise, hit])}), live).to_pylist()
        assert row["unsafe"]
        assert row["injections"] == 100
        assert row["p_value"] < 1e-6
        inside += row["low"] <= share <= row["high"]
    assert inside >= 2


def test_numbers_are_those_of_fishers_test() -> None:
    _, times, live = study(3)
    quiet = START + np.arange(400) * 9.0 + 0.3
    quiet = quiet[np.abs(quiet[:, None] - times).min(axis=1) > 1.5]
    hit = times[:7] + 0.05
    (row,) = injection_response(times, table({"X": np.concatenate([quiet, hit, hit + 0.01])}), live).to_pylist()
    assert row["answered"] == 7, "two triggers in one window are one answer"
    windows = round(len(quiet) * 100 / row["expected"])
    law = hypergeom(windows + 100, len(quiet) + 7, 100)
    assert row["p_value"] == pytest.approx(law.sf(7) + law.pmf(7) / 2, rel=1e-6)
    assert row["excess"] == pytest.approx(0.07 - len(quiet) / windows)


def test_few_injections_say_little_and_none_say_nothing() -> None:
    _, times, live = study(4)
    triggers = table({"X": times[:2], "Y": np.zeros(0), "Z": START + np.arange(1, 30) * 100.0})
    few = injection_response(times[2:5], triggers, live).to_pylist()
    assert [row["unsafe"] for row in few] == [False, False]
    assert min(row["high"] for row in few) > 0.6
    none = injection_response(np.zeros(0), triggers, live).to_pylist()
    assert all(row["unsafe"] and np.isnan(row["p_value"]) for row in none)
    assert injection_response(times, triggers.slice(0, 0), live).num_rows == 0


def test_injections_and_triggers_that_are_not_live_do_not_count() -> None:
    _, times, live = study(5)
    half = np.array([[START, START + 1800.0]])
    row = injection_response(times, table({"X": times}), half).to_pylist()[0]
    assert row["injections"] == row["answered"] == (times < START + 1799.9).sum()
    assert injection_response(times, table({"X": times}, snr=5.0), live)["answered"].to_pylist() == [0]


RATE = 512.0


def strain_like(rng: np.random.Generator, seconds: int = 48) -> np.ndarray:
    """Noise that falls steeply and rises again, of 1e-21, with lines: nothing like white."""
    white = rng.normal(size=round(seconds * RATE))
    t = np.arange(len(white)) / RATE
    shaped = lfilter([1.0], [1.0, -1.6, 0.7], white) + 0.5 * np.diff(white, prepend=0.0)
    return 1e-21 * (shaped + 300 * np.sin(2 * np.pi * 60 * t) + 5 * np.sin(2 * np.pi * 36.7 * t))


def test_copies_without_a_telling_name_are_found() -> None:
    rng = np.random.default_rng(11)
    h = strain_like(rng)
    copies = np.stack(
        [
            h,
            -3e18 * np.roll(h, 20),
            lfilter([0.2, -0.9, 0.4], [1.0, -0.3], h),
            h + lfilter([1.0], [1.0, -1.6, 0.7], rng.normal(size=len(h))) * 1e-21,
            np.round(1e24 * h),
        ]
    )
    found = strain_copies(h, copies, RATE)
    assert found.copy.tolist() == [True] * 5
    assert (found.typical > 0.3).all()
    assert strain_copies(h.astype(np.float32), copies.astype(np.float32), RATE).copy.all()


def test_witnesses_are_no_copies() -> None:
    """Coherent below 60 Hz, in lines, or in loud glitches alone; and what has nothing to do with strain."""
    rng = np.random.default_rng(12)
    h = strain_like(rng)
    t = np.arange(len(h)) / RATE
    rumble = lfilter(*_low_pass(), rng.normal(size=len(h)))
    mains = np.sin(2 * np.pi * 60 * t) + 0.01 * rng.normal(size=len(h))
    glitch = np.zeros(len(h))
    glitch[3000:3040] = 1e3 * rng.normal(size=40)
    strain = h + 1e-19 * rumble + 1e-21 * glitch
    witnesses = np.stack(
        [rumble + 1e-6 * rng.normal(size=len(h)), mains, glitch + rng.normal(size=len(h)), rng.normal(size=len(h))]
    )
    found = strain_copies(strain, witnesses, RATE)
    assert found.copy.tolist() == [False] * 4
    assert 0.1 < found.share[0] < 0.8
    assert (found.share[2:] < 0.1).all()


def _low_pass() -> tuple[list[float], list[float]]:
    return [0.01], [1.0, -1.8, 0.81]


def test_bad_channels_are_not_judged_and_change_nothing() -> None:
    h = strain_like(np.random.default_rng(13))
    gap = h.copy()
    gap[: round(20 * RATE)] = np.nan
    bad = np.stack([np.full(len(h), np.nan), np.zeros(len(h)), np.full(len(h), 7.0), gap, h])
    found = strain_copies(h, bad, RATE)
    assert np.isnan(found.share[:3]).all()
    assert found.copy.tolist() == [False, False, False, True, True]
    assert strain_copies(h, bad[4:], RATE).typical[0] == found.typical[4]
    assert not strain_copies(h[: round(5 * RATE)], h[None, : round(5 * RATE)], RATE).copy.any(), "too short to say"
    with pytest.raises(ValueError, match="channels"):
        strain_copies(h, h, RATE)
    with pytest.raises(ValueError, match="band"):
        strain_copies(h, h[None], RATE, band=(20.0, 400.0))
