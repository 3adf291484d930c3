from __future__ import annotations

import pytest
from alert_story import A_B, A_C, STRONG, finding, play, settings, windows
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from opintel.alerts.delivery import Deliverer
from opintel.alerts.settings import RetryPolicy
from opintel.alerts.sinks import Intent, Receipt
from opintel.durations import Duration
from opintel.finding import NS
from opintel.store import Store, open_store, queries, sqlite_url
from opintel.store import schema as t

RETRY, SENT, FAILED = Receipt("retry", "500"), Receipt("sent", "200"), Receipt("failed", "400")


class Scripted:
    """A sink that answers from a list, then `sent`; a clock that stands until it is moved."""

    def __init__(self, *answers: Receipt) -> None:
        self.answers = list(answers)
        self.got: list[tuple[str, int, str]] = []
        self.now = 0

    def send(self, intent: Intent) -> Receipt:
        receipt = self.answers.pop(0) if self.answers else SENT
        self.got.append((intent.ticket, intent.sequence, receipt.outcome))
        return receipt

    def close(self) -> None:
        pass


def deliverer(store: Store, sink: Scripted, attempts: int = 5, jitter: float = 0.0) -> Deliverer:
    rules = RetryPolicy(attempts=attempts, first=Duration(NS), longest=Duration(8 * NS))
    return Deliverer(store, {"log": sink}, rules, clock=lambda: sink.now, jitter=lambda: jitter)


def drain(store: Store, one: Deliverer, sink: Scripted) -> None:
    while not queries.outbox_empty(store):
        if not one.step():
            sink.now += NS
    assert not one.step()


def busy(store: Store) -> None:
    """Two tickets: created, worse, resolved; created, resolved."""
    story = {1: [finding(1, A_B), finding(1, A_C)], 2: [finding(2, A_B, STRONG, severity="critical")]}
    play(store, windows(story, 8))


def test_everything_is_sent_once_and_in_order(store: Store) -> None:
    busy(store)
    sink = Scripted()
    drain(store, deliverer(store, sink), sink)
    by_ticket: dict[str, list[int]] = {}
    for ticket, sequence, _ in sink.got:
        by_ticket.setdefault(ticket, []).append(sequence)
    assert sorted(by_ticket.values()) == [[1, 2], [1, 2, 3]]
    assert queries.outbox_empty(store)
    assert sorted(i["tickets"][0]["updates"] for i in queries.incidents(store)) == [1, 2]
    assert {i["tickets"][0]["state"] for i in queries.incidents(store)} == {"sent"}


def test_waits_double_up_to_the_longest_and_spread(store: Store) -> None:
    play(store, windows({1: [finding(1, A_B)]}, 1))
    for jitter, expected in [(0.0, [0.5, 1, 2, 4, 4]), (1.0, [1, 2, 4, 8, 8])]:
        sink = Scripted(*[RETRY] * 5)
        one = deliverer(store, sink, attempts=100, jitter=jitter)
        waits, last = [], None
        while sink.answers:
            if one.step():
                if last is not None:
                    waits.append((sink.now - last) / NS)
                last = sink.now
            else:
                sink.now += NS // 2
        assert waits == expected[: len(waits)]
        assert len(waits) == 4
        # For the second round: as if it had never been tried.
        with store.write() as connection:
            connection.execute(t.outbox.update().values(attempts=0, due=0))


def test_a_ticket_that_fails_does_not_hold_up_another(store: Store) -> None:
    busy(store)
    sink = Scripted(RETRY)
    one = deliverer(store, sink)
    while one.step():
        pass
    blocked = sink.got[0][0]
    others = [got for got in sink.got if got[0] != blocked]
    assert [got for got in sink.got if got[0] == blocked] == [(blocked, 1, "retry")]
    assert {outcome for _, _, outcome in others} == {"sent"}


def test_it_gives_up_visibly_and_goes_on(store: Store) -> None:
    play(store, windows({1: [finding(1, A_B)]}, 5))
    sink = Scripted(RETRY, RETRY, RETRY)
    drain(store, deliverer(store, sink, attempts=3), sink)
    [told] = queries.incidents(store)
    full = queries.incident(store, told["id"])
    assert full is not None
    first, second = full["deliveries"]
    assert (first["state"], [a["outcome"] for a in first["attempts"]]) == ("failed", ["retry", "retry", "failed"])
    assert second["state"] == "sent"
    assert queries.outbox_empty(store)


def test_a_refusal_is_not_tried_again(store: Store) -> None:
    play(store, windows({1: [finding(1, A_B)]}, 1))
    sink = Scripted(FAILED)
    drain(store, deliverer(store, sink), sink)
    assert len(sink.got) == 1
    assert queries.incidents(store)[0]["tickets"][0]["state"] == "failed"


def test_a_sink_that_is_gone_or_broken_is_said(store: Store) -> None:
    play(store, windows({1: [finding(1, A_B)]}, 1), settings(sinks=["gone", "log"]))

    class Broken(Scripted):
        def send(self, intent: Intent) -> Receipt:
            raise RuntimeError("bug\nin the sink")

    sink = Broken()
    one = deliverer(store, sink, attempts=1)
    while one.step():
        pass
    full = queries.incident(store, queries.incidents(store)[0]["id"])
    assert full is not None
    details = {d["sink"]: d["attempts"][0]["detail"] for d in full["deliveries"]}
    assert details == {"gone": "no sink 'gone' is configured", "log": "RuntimeError: bug in the sink"}


@hypothesis_settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([RETRY, SENT, FAILED]), max_size=15))
def test_whatever_the_sink_answers_a_ticket_s_messages_keep_their_order(
    tmp_path_factory: pytest.TempPathFactory, answers: list[Receipt]
) -> None:
    store = open_store(sqlite_url(tmp_path_factory.mktemp("order") / "store.db"))
    busy(store)
    sink = Scripted(*answers)
    drain(store, deliverer(store, sink, attempts=4), sink)
    for ticket in {ticket for ticket, _, _ in sink.got}:
        sequences = [sequence for got, sequence, _ in sink.got if got == ticket]
        assert sequences == sorted(sequences)
        assert all(sequences.count(s) <= 4 for s in sequences)
    assert queries.outbox_empty(store)
    store.close()
