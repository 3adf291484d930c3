"""The alert service over the findings topic: position, repetition, any split into transactions."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from alert_story import (
    A_B,
    A_C,
    D_B,
    END_A,
    END_B,
    NOTHING,
    RANKED,
    SCOPE,
    STRONG,
    WEAK,
    finding,
    judged,
    outcome,
    play,
    settings,
    windows,
)
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from opintel.alerts.service import AlertService, PositionMoved
from opintel.alerts.settings import (
    AlertSettings,
)
from opintel.store import Store, open_store, queries, sqlite_url
from opintel.store import schema as t
from opintel.streams.findings import Found, Judged, decode, encode


def test_the_same_finding_again_is_nothing_and_other_content_is_loud(store: Store) -> None:
    f = finding(1, A_B)
    service = play(store, [Found("fts", f), Found("fts", f), judged(1), Found("fts", f), judged(1)])
    before = outcome(store)
    service.consume(service.position(), [Found("fts", f)], 6)
    assert outcome(store) == before
    other = msgspec.structs.replace(f, summary="something else", severity="critical")
    [conflict] = service.consume(6, [Found("fts", other)], 7)
    assert "link: a.example to b.example fails" in conflict
    assert "something else" in conflict
    assert service.position() == 7
    assert outcome(store) == before


def test_a_new_log_under_an_old_store_is_read_from_its_start(store: Store) -> None:
    records = windows({1: [finding(1, A_B)]}, 3)
    AlertService(store, settings(), epoch="old").consume(0, records, len(records))
    before = outcome(store)
    fresh = AlertService(store, settings(), epoch="new")
    assert fresh.position() == 0
    fresh.consume(0, records, len(records))
    assert outcome(store) == before


def test_two_services_on_one_store_are_noticed(store: Store) -> None:
    one, two = AlertService(store, settings()), AlertService(store, settings())
    one.consume(0, windows({}, 1), 2)
    with pytest.raises(PositionMoved, match=r"position 2 .* not at 0"):
        two.consume(0, windows({1: [finding(1, A_B)]}, 1), 2)
    assert queries.findings(store) == []


def test_a_failed_batch_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    service = AlertService(store, settings())
    monkeypatch.setattr("opintel.alerts.outbox.render", _fail)
    with pytest.raises(ZeroDivisionError):
        service.consume(0, windows({1: [finding(1, A_B)]}, 1), 3)
    assert service.position() == 0
    assert all(not rows for rows in outcome(store).values())


def _fail(*_: object) -> None:
    raise ZeroDivisionError


SUBJECTS = [("link", A_B), ("link", A_C), ("link", D_B), ("endpoint", END_A), ("endpoint", END_B), ("slow", A_B)]


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[list[Found | Judged]], list[list[Found | Judged]]]:
    """For two scopes: what was decided once, and the same with suffixes written again after crashes."""
    clean, crashed = [], []
    for scope in (SCOPE, "other.example"):
        story = {}
        for k in range(draw(st.integers(1, 12))):
            picked = draw(
                st.dictionaries(st.integers(0, 5), st.sampled_from([STRONG, WEAK, NOTHING, None]), max_size=4)
            )
            story[k] = [
                finding(k, SUBJECTS[i][1], p, SUBJECTS[i][0], ("warning", "critical", "info")[(i + k) % 3], scope)
                for i, p in picked.items()
            ]
        records = windows(story, len(story) + 4, scope=scope)
        clean.append(records)
        again: list[Found | Judged] = []
        reached = 0
        for end in sorted(draw(st.lists(st.integers(1, len(records)), max_size=3))):
            again += records[reached:end]
            reached = draw(st.integers(0, end))
        crashed.append(again + records[reached:])
    return clean, crashed


@hypothesis_settings(
    max_examples=hypothesis_settings().max_examples // 3, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(stories(), st.randoms(use_true_random=False))
def test_any_split_and_any_repetition_gives_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    story: tuple[list[list[Found | Judged]], list[list[Found | Judged]]],
    rng: random.Random,
) -> None:
    clean, crashed = story
    folder = tmp_path_factory.mktemp("splits")
    whole = _at_once(folder / "whole.db", [record for part in clean for record in part])
    pieces = open_store(sqlite_url(folder / "pieces.db"))
    mixed = _interleaved(crashed, rng)
    position = 0
    while position < len(mixed):
        # A new service each time: nothing may live in memory.
        size = rng.choice([1, 1, 2, 5, 40])
        AlertService(pieces, RANKED).consume(position, mixed[position : position + size], position + size)
        position += size
    assert outcome(pieces) == whole
    pieces.close()


def _at_once(path: Path, records: list[Found | Judged]) -> object:
    store = open_store(sqlite_url(path))
    play(store, records, RANKED)
    told = outcome(store)
    store.close()
    return told


def _interleaved(parts: list[list[Found | Judged]], rng: random.Random) -> list[Found | Judged]:
    queues = [list(part) for part in parts]
    mixed = []
    while any(queues):
        mixed.append(rng.choice([q for q in queues if q]).pop(0))
    return mixed


def test_records_survive_their_encoding() -> None:
    for record in windows({1: [finding(1, A_B, texts=["boom"])]}, 1):
        assert decode(encode(record)) == record


@given(st.binary(max_size=200))
def test_other_bytes_are_refused_in_words(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"findings record"):
        decode(data)


@pytest.mark.parametrize("cut", [0, 1, 5, -1])
def test_a_cut_record_is_refused(cut: int) -> None:
    with pytest.raises(ValueError, match="findings record"):
        decode(encode(judged(1))[:cut])


def test_settings_without_budgets_still_decide(store: Store) -> None:
    play(store, windows({1: [finding(1, A_B)]}, 1), AlertSettings())
    [told] = queries.incidents(store)
    assert told["tickets"] == []
    with store.read() as connection:
        assert connection.execute(sa.select(t.budget_spend.c.budget)).scalars().all() == ["other"]
