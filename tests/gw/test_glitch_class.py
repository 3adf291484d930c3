"""Kinds of glitches are told apart; "unknown" are few of a known kind, as few as said, and most of one never seen."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from opintel.gw.glitch_class import UNKNOWN, learn_classes, trigger_features

KINDS = {
    "blip": (150.0, 200.0, 0.01, 6.0, 15.0),
    "whistle": (900.0, 400.0, 0.5, 40.0, 12.0),
    "scattered light": (30.0, 15.0, 2.5, 15.0, 20.0),
    "mains": (60.0, 4.0, 0.6, 50.0, 9.0),
    "ring": (320.0, 12.0, 0.3, 60.0, 18.0),
}
"""Typical f_peak (Hz), bandwidth (Hz), duration (s), Q and SNR."""
NEVER_SEEN = (1200.0, 1000.0, 0.004, 5.0, 60.0)


def glitches(rng: np.random.Generator, typical: tuple[float, ...], number: int) -> pa.Table:
    """Triggers around typical values; a louder one is longer, and tails are heavier than a normal law's."""
    spread = 0.3 * rng.standard_t(5, (number, 5))
    spread[:, 2] += 0.5 * spread[:, 4]
    f_peak, bandwidth, duration, q, snr = (np.array(typical) * np.exp(spread)).T
    start = np.full(number, 1_264_316_000.0)
    columns = {"t_peak": start, "t_start": start, "t_end": start + duration, "f_peak": f_peak, "f_low": f_peak}
    columns |= {"f_high": f_peak + bandwidth, "q": q, "snr": snr}
    return pa.table({"channel": ["H1:STRAIN"] * number, **columns})


def examples(seed: int, number: int) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    tables = [trigger_features(glitches(rng, typical, number)) for typical in KINDS.values()]
    return np.concatenate(tables), [name for name in KINDS for _ in range(number)]


def test_kinds_are_told_apart_and_unknown_errs_as_rarely_as_said() -> None:
    """1000 glitches of each kind: `unknown` at most as often as its error and 5 sigma of both samples."""
    model = learn_classes(*examples(1, 400))
    features, kinds = examples(2, 1000)
    for error in (0.02, 0.1):
        named = np.array(model.classify(features, error))
        for kind in KINDS:
            own = named[np.array(kinds) == kind]
            allowed = error + 5 * np.sqrt(error * (1 - error) * (1 / 200 + 1 / 1000))
            assert np.mean(own == UNKNOWN) <= allowed
            assert np.mean(own == kind) > 0.95 - error - allowed


def test_a_kind_that_was_never_seen_is_unknown() -> None:
    model = learn_classes(*examples(3, 400))
    strange = trigger_features(glitches(np.random.default_rng(4), NEVER_SEEN, 300))
    assert np.mean(np.array(model.classify(strange)) == UNKNOWN) > 0.9
    assert model.classify(np.full((1, 5), np.nan)) == [UNKNOWN]
    assert model.classify(np.zeros((0, 5))) == []


def test_too_few_examples_are_refused() -> None:
    features, kinds = examples(5, 39)
    with pytest.raises(ValueError, match="kind blip: expected at least 40 examples, got 39"):
        learn_classes(features, kinds)
    with pytest.raises(ValueError, match="expected finite features"):
        learn_classes(np.full((50, 5), np.nan), ["blip"] * 50)
