"""How much counts vary is not learned from a fault that the whole grid shares, and is learned where it has changed."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from opintel.fts.judging import teaching
from opintel.fts.judging.scales import SEPARATOR, LinkCounts
from opintel.fts.judging.suspects import LinkLook, suspects_of
from opintel.fts.judging.teaching import HOUR, Teaching
from opintel.stats.counts import shape

LINKS = 100
KEYS = [f"s{n % 12}{SEPARATOR}d{n // 12}" for n in range(LINKS)]


class Grid:
    """Links whose habits are known, an hour at a time."""

    def __init__(self, seed: int) -> None:
        self.teaching = Teaching()
        self._rng = np.random.default_rng(seed)
        self._mean = self._rng.uniform(0.01, 0.1, LINKS)
        self._now = 0

    def hours(self, count: int, rho: float, failing: float = 0.0) -> float:
        """What is learned after so many hours, in which `failing` of the links fail half of their files."""
        for _ in range(count):
            n = self._rng.integers(5, 80, LINKS)
            p = self._rng.beta(*shape(self._mean, rho))
            p = np.where(np.arange(LINKS) < failing * LINKS, 0.5, p)
            k = self._rng.binomial(n, p)
            counts = LinkCounts(KEYS, k, n, n * self._mean, np.zeros(LINKS))
            known = self.teaching
            look = LinkLook("", 0.5, counts, self._mean, known.link.rho(self._mean), known.endpoint.rho, k > 0)
            self._now += HOUR
            known.learn(look, suspects_of(look, -4.0), self._now, HOUR)
        return float(self.teaching.link.rho(np.array([0.05]))[0])


@pytest.mark.parametrize("failing", [0.2, 0.9])
def test_a_day_of_a_wide_fault_teaches_nothing(failing: float, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid(1)
    before = grid.hours(48, 0.005)
    assert before == pytest.approx(0.005, rel=0.4)
    assert grid.hours(24, 0.005, failing) == before
    assert grid.hours(24, 0.005) == pytest.approx(before, rel=0.3)
    # without the rule it would have been
    monkeypatch.setattr(teaching, "WIDE", 2.0)
    blind = Grid(1)
    blind.hours(48, 0.005)
    assert blind.hours(24, 0.005, failing) != before


@pytest.mark.parametrize(("was", "now"), [(0.005, 0.03), (0.03, 0.005), (0.005, 0.4)])
def test_a_lasting_change_is_learned_in_two_days(was: float, now: float) -> None:
    """Also where it is so large that more than a tenth of the files surprises."""
    grid = Grid(2)
    grid.hours(72, was)
    after = grid.hours(48 if now < 0.1 else 60, now)
    assert abs(np.log(after / now)) < 0.5 * abs(np.log(was / now))


def test_restored_it_knows_since_when_too_much_surprises() -> None:
    straight, restored = Grid(3), Grid(3)
    for hours, failing in ((4, 0.0), (20, 0.5), (20, 0.5), (2, 0.0)):
        rho = straight.hours(hours, 0.01, failing)
        assert restored.hours(hours, 0.01, failing) == rho
        plain = msgspec.msgpack.decode(msgspec.msgpack.encode(restored.teaching.state()))
        restored.teaching = Teaching()
        restored.teaching.restore(plain)
        assert restored.teaching.state() == straight.teaching.state()
