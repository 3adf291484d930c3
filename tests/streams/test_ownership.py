"""The share of a process: made when won, closed when lost, dropped and re-created when the log cannot be reached."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opintel.streams import ownership
from opintel.streams.log import LogError, LogUnavailable
from opintel.streams.ownership import Owned


class Share:
    """A membership whose share a test sets; notes what `owned` had returned when all else was let go."""

    def __init__(self, *partitions: int) -> None:
        self.partitions, self.closed = frozenset(partitions), False
        self.told: frozenset[int] = frozenset()
        self.held: frozenset[int] = frozenset()

    def owned(self) -> frozenset[int]:
        self.told = self.partitions
        return self.told

    def released(self) -> None:
        self.held = self.told

    def close(self) -> None:
        self.closed = True


class Part:
    """A partition's service; `fault` is raised in its next step."""

    alive: list[Part]
    """All that are made and not closed."""

    def __init__(self, partition: int, among: list[Part]) -> None:
        self.name, self.partition, self.alive = f"p{partition}", partition, among
        self.steps, self.busy, self.fault = 0, False, None
        among.append(self)

    def step(self) -> bool:
        if self.fault is not None:
            raise self.fault
        self.steps += 1
        return self.busy

    def idle(self) -> bool:
        return not self.busy

    def close(self) -> None:
        self.alive.remove(self)


def made(share: Share) -> tuple[Owned, list[Part]]:
    alive: list[Part] = []
    return Owned("parts", lambda: share, lambda p: [Part(p, alive)]), alive


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time that pauses are counted by."""
    now = [1000.0]
    monkeypatch.setattr(ownership.time, "monotonic", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


@given(st.lists(st.frozensets(st.integers(0, 5)), max_size=12))
def test_what_is_worked_on_is_what_is_owned_through_any_changes(shares: list[frozenset[int]]) -> None:
    share = Share()
    owned, alive = made(share)
    for partitions in shares:
        kept = {p.partition: p for p in alive if p.partition in partitions}
        share.partitions = partitions
        owned.step()
        assert sorted(p.partition for p in alive) == sorted(partitions)
        assert share.held == partitions
        assert all(p in alive and p.steps > 1 for p in kept.values())
    owned.close()
    assert alive == []
    assert share.closed or not shares


def test_it_is_idle_when_something_is_owned_and_has_nothing_to_do() -> None:
    share = Share()
    owned, alive = made(share)
    owned.step()
    assert not owned.idle()
    share.partitions = frozenset({0, 1})
    assert owned.step()  # it won something: another look is worth it
    assert not owned.step()
    assert owned.idle()
    alive[1].busy = True
    assert owned.step()
    assert not owned.idle()


def test_an_outage_drops_all_and_makes_it_anew_after_growing_pauses(
    clock: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    share, alive, tries = Share(0, 1), list[Part](), count()
    away = False

    def make(partition: int) -> list[Part]:
        next(tries)
        if away:
            raise LogUnavailable("nobody there")
        return [Part(partition, alive)]

    owned = Owned("parts", lambda: share, make)
    owned.step()
    first = list(alive)
    away, alive[1].fault = True, LogUnavailable("no broker answers")
    assert not owned.step()
    assert alive == []
    assert not owned.idle()
    for pause in (1.0, 2.0, 4.0, 8.0, 10.0, 10.0):
        before = next(tries)
        clock(pause - 0.01)
        owned.step()
        clock(0.01)
        owned.step()
        assert next(tries) - before == 2, "one try after the pause, none before"
    away = False
    with caplog.at_level("INFO"):
        clock(10.0)
        assert owned.step()
    assert [p.partition for p in alive] == [0, 1]
    assert not set(alive) & set(first)
    told = [r.getMessage() for r in caplog.records]
    assert [t for t in told if "beginning again" in t] == [
        "parts: no broker answers; beginning again when the log can be reached"
    ]
    assert "parts: the log is back" in told


def test_joining_is_tried_again_and_a_refusal_goes_up(clock: Callable[[float], None]) -> None:
    answers: list[Exception | Share] = [LogUnavailable("not yet"), Share(0), LogError("no such group for us")]
    alive: list[Part] = []

    def join() -> Share:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    owned = Owned("parts", join, lambda p: [Part(p, alive)])
    assert not owned.step()
    clock(1.0)
    assert owned.step()
    assert len(alive) == 1
    with pytest.raises(LogError, match="no such group"):
        Owned("parts", join, lambda p: []).step()


def test_other_errors_go_up_and_leave_the_rest_to_be_closed() -> None:
    share = Share(0, 1)
    owned, alive = made(share)
    owned.step()
    alive[0].fault = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        owned.step()
    owned.close()
    assert alive == []
    assert share.closed
