from __future__ import annotations

import numpy as np

from opintel.stats.habits import Habits


def filled(keys: list[str]) -> Habits:
    habits = Habits(("ok", "seen"), cap=1000)
    for key in keys:
        habits.put(habits.rows([key]), ok=np.array([float(ord(key[0]))]), seen=np.array([float(ord(key[0]))]))
    return habits


def test_state_does_not_depend_on_the_order_of_arrival() -> None:
    assert filled(list("cab")).state() == filled(list("abc")).state()


def test_restore_is_the_inverse_of_state_and_a_snapshot() -> None:
    habits = filled([chr(c) for c in range(65, 91)] + [f"{chr(c)}{i}" for c in range(97, 122) for i in range(9)])
    state = habits.state()
    other = Habits(("ok", "seen"), cap=1000)
    other.restore(state)
    habits.put(habits.rows(["A"]), ok=np.array([-1.0]))
    assert other.state() == state
    assert other.get(other.rows(["A", "z"]), "ok").tolist() == [65.0, 0.0]


def test_forgets_the_old_and_refuses_above_the_cap() -> None:
    habits = Habits(("seen",), cap=2)
    habits.put(habits.rows(["a", "b", "c"]), seen=np.array([1.0, 5.0, 9.0]))
    assert (habits.keys(), habits.get(habits.rows(["c"]), "seen")[0]) == (["a", "b"], 0.0)
    habits.forget(2.0)
    assert habits.keys() == ["b"]
    assert habits.get(habits.rows(["b"]), "seen")[0] == 5.0
