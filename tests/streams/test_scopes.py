"""Stage 2 holds so many scopes: what is silent makes room, what finds none is refused, in whatever batches it came."""

from __future__ import annotations

from typing import Any

import pytest
from contract.cases import TOY_STREAM
from contract.toy import TOY
from hypothesis import given
from hypothesis import strategies as st
from stored import stored

from opintel.detector import Record
from opintel.finding import Window
from opintel.streams import judging
from opintel.streams.findings import Judged, decode
from opintel.streams.judging import JudgeStage
from opintel.streams.records import Closed, Derived, derived_codec

CODEC = derived_codec(TOY.record)
SIZE, QUIET, TTL, MOST = TOY_STREAM.window, 2, 4, 3
STREAM = TOY_STREAM._replace(partitions=1, quiet=QUIET * SIZE, ttl=TTL * SIZE)
WINDOWS = st.lists(st.sets(st.sampled_from("abcdefg")), min_size=1, max_size=14)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "MAX_SCOPES", MOST)


def values(windows: list[set[str]]) -> list[bytes]:
    made = []
    for n, scopes in enumerate(windows):
        window = Window(n * SIZE, (n + 1) * SIZE)
        made += [CODEC.encode(Derived([Record(window, "sum", f"{s}.k", s, [1, 1, 1])])) for s in sorted(scopes)]
        made.append(CODEC.encode(Closed(0, 1, "e", (n + 1) * SIZE)))
    return made


def told(batches: list[list[tuple[int, bytes]]]) -> tuple[list[tuple[int, str]], dict[int, str], Any]:
    """(window, scope) judged, window → why some were refused, and the state."""
    stage = JudgeStage(STREAM, TOY, 0, "derived")
    outs = [stage.process(stored(batch), careful=False) for batch in batches]
    said = [decode(e.value) for out in outs for e in out.closing]
    judged = [(j.window.start // SIZE, j.scope) for j in said if isinstance(j, Judged)]
    asides = [a for out in outs for a in out.asides]
    assert {a.kind for a in asides} <= {"refused"}
    return judged, {a.position - 1: a.reason for a in asides}, stage.state()


@given(WINDOWS, st.integers(1, 9))
def test_scopes_by_a_slow_model_in_whatever_batches(windows: list[set[str]], size: int) -> None:
    numbered = list(enumerate(values(windows)))
    judged, refused, state = told([numbered])
    assert told([numbered[at : at + size] for at in range(0, len(numbered), size)]) == (judged, refused, state)
    last: dict[str, int] = {}
    expected, without_room = [], {}
    for n, scopes in enumerate(windows):
        last = {s: at for s, at in last.items() if n <= at + TTL}
        if len(last.keys() | scopes) > MOST:
            last = {s: at for s, at in last.items() if n <= at + QUIET or s in scopes}
        new = sorted(scopes - last.keys())
        last |= dict.fromkeys(new[: MOST - len(last)], n)
        without_room |= {n: new[-1:]} if scopes - last.keys() else {}
        last |= {s: n for s in last if s in scopes}
        expected += [(n, s) for s in sorted(last) if n <= last[s] + QUIET]
    assert judged == expected
    assert refused.keys() == without_room.keys()
    assert all(f"more than {MOST} scopes" in reason for reason in refused.values())
