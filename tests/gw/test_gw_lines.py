"""Lines of the strain: where they are, how loud, and what they do that they did not."""

from __future__ import annotations

import numpy as np
import pytest

from opintel.finding import NS
from opintel.gw.channels.lines import lines
from opintel.gw.channels.reducer import engine_of
from opintel.gw.judging.line_history import LineHistory
from opintel.gw.judging.mains import MainsJudge

from .judged import DATA, STRAIN, Said, channel, flag, judged

RATE = 512


@pytest.mark.parametrize("frequency", [59.98, 60.0, 60.37, 119.5])
def test_frequency_and_amplitude_are_those_of_the_line(frequency: float) -> None:
    """Of 32 s of white noise of density 1 and a line of 10 times the RMS that noise has in a hertz."""
    rng, engine = np.random.default_rng(round(100 * frequency)), engine_of(RATE, 2 * NS)
    t = np.arange(32 * RATE) / RATE
    data = rng.normal(scale=np.sqrt(RATE / 2), size=len(t)) + 10 * np.sqrt(2) * np.cos(2 * np.pi * frequency * t + 1)
    state = engine.learnt(1e-21 * data[None], engine.fresh(1))
    found = lines(state.spectrum.centre[0], 230.0)
    (line,) = (one for one in found if abs(one[0] - frequency) < 1)
    assert line[0] == pytest.approx(frequency, abs=0.03)
    assert line[1] == pytest.approx(10e-21, rel=0.05)
    assert abs(line[2]) < 0.6
    assert all(abs(one[0] - frequency) < 1 or one[1] < 2e-21 for one in found)
    assert lines(state.spectrum.centre[0][:20], 1000.0) == []


def minutes(history: LineHistory, number: int, line: tuple[float, float, float], seed: int = 1):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        wander = rng.normal(size=(3, 30)) * np.array([[0.002], [0.01], [0.05]])
        for f, a, s in wander.T:
            history.take([(line[0] + f, line[1] * (1 + a), line[2] + s), *([(33.0, 1e-23, 0.0)] if s > 0.08 else [])])
        found.append(history.minute())
    return found


def test_a_line_that_grows_moves_or_has_sidebands_is_said_once_its_past_is_known() -> None:
    history = LineHistory()
    calm = minutes(history, 20, (60.0, 1e-22, 0.1))
    assert [len(one) for one in calm] == [1] * 20, "what stands out now and then is no line"
    assert calm[2][0].times is None
    assert calm[3][0].times == pytest.approx(1.0, abs=0.02)
    assert not any(line.grew or line.wandered or line.sidebands for (line,) in calm)
    state = LineHistory()
    state.restore(history.state())
    for line, what in (
        ((60.0, 1.5e-22, 0.1), (True, False, False)),
        ((60.1, 1e-22, 0.1), (False, True, False)),
        ((60.0, 1e-22, 0.8), (False, False, True)),
    ):
        ((found,),) = minutes(state, 1, line, 2)
        assert (found.grew, found.wandered, found.sidebands) == what
    ((new,),) = minutes(state, 1, (75.0, 1e-22, 0.1), 3)
    assert new.times is None


def test_sidebands_of_the_mains_are_a_finding_and_those_of_other_lines_are_not() -> None:
    rng, said = np.random.default_rng(4), list[Said]()
    for n in range(180):
        sides = 0.7 if 120 <= n < 150 else 0.0
        there = [(f, 1e-22, sides + 0.05 * rng.normal()) for f in (36.7, 59.99, 120.02)]
        said.append({STRAIN: channel(n, strain=True, lines=there), DATA: flag(n)})
    found = judged(MainsJudge, said)
    assert [(f.kind, round(f.effect.value)) for f in found] == [("mains-sidebands", 3)] * 2
    assert all(f.severity == "warning" and f.basis == "none" for f in found)
    assert all(240 <= f.window.end / NS <= 302 for f in found)
    assert ["59.99 Hz" in found[0].summary, "120 Hz" in found[1].summary] == [True, True]
