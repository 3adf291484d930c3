from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from alert_story import A_B, A_C, STRONG, finding, play, settings, window, windows
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from opintel.alerts import actions
from opintel.alerts.delivery import Deliverer
from opintel.alerts.settings import RetryPolicy
from opintel.alerts.sink_metrics import sink_metrics
from opintel.alerts.sinks import Intent, Receipt
from opintel.durations import Duration
from opintel.finding import NS
from opintel.site.load import load_site
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


def deliverer(
    store: Store, sink: Scripted, seconds: int = 3600, jitter: float = 0.0, *, name: str = "log"
) -> Deliverer:
    """One that waits 1 s to 8 s and keeps trying for `seconds`."""
    rules = RetryPolicy(first=Duration(NS), longest=Duration(8 * NS), keep_trying=Duration(seconds * NS))
    return Deliverer(store, name, sink, rules, clock=lambda: sink.now, jitter=lambda: jitter)


def drain(store: Store, one: Deliverer, sink: Scripted) -> None:
    while not queries.outbox_empty(store):
        if not one.step():
            sink.now += NS // 2
    assert not one.step()


def deliveries(store: Store) -> list[dict[str, Any]]:
    """Those of the only incident."""
    full = queries.incident(store, queries.incidents(store)[0]["id"])
    assert full is not None
    told: list[dict[str, Any]] = full["deliveries"]
    return told


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
        one = deliverer(store, sink, jitter=jitter)
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


def test_what_a_sink_says_cannot_keep_a_message_in_the_queue(store: Store) -> None:
    """A text that no database takes: the outcome would never be noted, and the message sent again and again."""
    play(store, windows({1: [finding(1, A_B)]}, 1))
    sink = Scripted(Receipt("sent", "\ud800\x00" + "x" * 100_000))
    drain(store, deliverer(store, sink), sink)
    (told,) = deliveries(store)
    assert [a["outcome"] for a in told["attempts"]] == ["sent"]
    assert len(told["attempts"][0]["detail"]) < 1000


def test_it_gives_up_visibly_and_goes_on(store: Store) -> None:
    play(store, windows({1: [finding(1, A_B)]}, 5))
    sink = Scripted(RETRY, RETRY, RETRY)
    drain(store, deliverer(store, sink, seconds=1), sink)
    first, second = deliveries(store)
    assert (first["state"], [a["outcome"] for a in first["attempts"]]) == ("failed", ["retry", "retry", "failed"])
    assert second["state"] == "sent"
    assert queries.outbox_empty(store)


def test_a_refusal_is_not_tried_again(store: Store) -> None:
    play(store, windows({1: [finding(1, A_B)]}, 1))
    sink = Scripted(FAILED)
    drain(store, deliverer(store, sink), sink)
    assert len(sink.got) == 1
    assert queries.incidents(store)[0]["tickets"][0]["state"] == "failed"


class Broken(Scripted):
    def send(self, intent: Intent) -> Receipt:
        raise RuntimeError("bug\nin the sink")


def test_a_broken_sink_is_said_and_messages_of_a_sink_that_is_gone_stay(store: Store) -> None:
    play(store, windows({1: [finding(1, A_B)]}, 1), settings(sinks=["gone", "log"]))
    assert deliverer(store, Broken()).step()
    told = {d["sink"]: (d["state"], [a["detail"] for a in d["attempts"]]) for d in deliveries(store)}
    assert told == {"gone": ("queued", []), "log": ("queued", ["RuntimeError: bug in the sink"])}
    gone = queries.outbox(store)["gone"]
    assert (gone.queued, gone.failures, gone.oldest) == (1, 0, window(1).end)


def test_the_shipped_policy_outlasts_days(store: Store) -> None:
    """A week away, tried at least every half hour in the end, and sent as soon as it is back."""
    play(store, windows({1: [finding(1, A_B)]}, 1))
    sink = Scripted(*[RETRY] * 10_000)
    policy = load_site().alerts.routes.delivery
    one = Deliverer(store, "log", sink, policy, clock=lambda: sink.now, jitter=lambda: 0.999)
    while sink.now < 6.9 * 86_400 * NS:
        if not one.step():
            sink.now += 600 * NS
    assert 300 < len(sink.got) < 400
    sink.answers = []
    sink.now += 1800 * NS
    assert one.step()
    assert deliveries(store)[0]["state"] == "sent"


def test_an_operator_sends_again_what_has_failed_and_what_waits(store: Store) -> None:
    play(store, windows({1: [finding(1, A_B), finding(1, A_C)]}, 1))
    sink = Scripted(FAILED, RETRY)
    one = deliverer(store, sink, seconds=10)
    while one.step():
        pass
    (refused, _, _), (waits, _, _) = sink.got
    assert [r.ticket for r in actions.retry_tickets(store, "ada", now=5, keys=[waits])] == [waits]
    assert one.step()
    assert sink.got[-1] == (waits, 1, "sent")
    with pytest.raises(actions.Refused, match="there is no ticket 'other'"):
        actions.retry_tickets(store, "ada", now=5, keys=[refused, "other"])
    assert actions.retry_tickets(store, "ada", now=5, sink="elsewhere") == []
    sink.now += 1000 * NS
    [retried] = actions.retry_tickets(store, "ada", now=7)
    assert (retried.ticket, retried.sink, retried.messages) == (refused, "log", 1)
    assert actions.retry_tickets(store, "ada", now=8) == [], "it is on its way"
    sink.answers = [RETRY]
    assert one.step()
    assert queries.outbox(store)["log"].failed == 0, "its time begins with the retry"
    sink.now += 10 * NS
    assert one.step()
    assert sink.got[-1] == (refused, 1, "sent")
    full = queries.incident(store, retried.incident)
    assert full is not None
    assert full["tickets"][0]["state"] == "sent"
    assert [(e["by"], e["detail"]) for e in full["events"] if e["kind"] == "ticket-retried"] == [
        ("ada", {"sink": "log", "messages": 1})
    ]


def test_how_a_sink_does_is_measured(store: Store) -> None:
    busy(store)
    sink = Scripted(RETRY, FAILED)
    one = deliverer(store, sink)
    sink.now = 5 * NS
    while one.step():
        pass
    waiting = len(messages(store, sink.got[0][0]))
    registry = CollectorRegistry()
    registry.collect = lambda: sink_metrics(store, lambda: window(2).end)  # type: ignore[method-assign]
    text = generate_latest(registry).decode()
    for line in (
        f'opintel_sink_queued_messages{{sink="log"}} {float(waiting)}',
        'opintel_sink_oldest_seconds{sink="log"} 600.0',
        'opintel_sink_failed_messages{sink="log"} 1.0',
        'opintel_sink_failures_total{sink="log"} 2.0',
        'opintel_sink_last_success_timestamp_seconds{sink="log"} 5.0',
    ):
        assert line in text


def messages(store: Store, ticket: str) -> list[str]:
    with store.read() as connection:
        return list(connection.execute(sa.select(t.outbox.c.id).where(t.outbox.c.ticket == ticket)).scalars())


def test_a_run_that_ends_does_not_wait_for_a_sink_that_is_away(store: Store) -> None:
    play(store, windows({1: [finding(1, A_B)]}, 1))
    sink = Scripted(*[RETRY] * 20)
    rules = RetryPolicy(longest=Duration(1800 * NS))
    one = Deliverer(store, "log", sink, rules, clock=lambda: sink.now, jitter=lambda: 0.0)
    assert not one.idle()
    while not one.idle():
        if not one.step():
            sink.now += NS
    assert len(sink.got) >= 6
    assert not queries.outbox_empty(store)


@hypothesis_settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([RETRY, SENT, FAILED]), max_size=15))
def test_whatever_the_sink_answers_a_ticket_s_messages_keep_their_order(
    tmp_path_factory: pytest.TempPathFactory, answers: list[Receipt]
) -> None:
    store = open_store(sqlite_url(tmp_path_factory.mktemp("order") / "store.db"))
    busy(store)
    sink = Scripted(*answers)
    drain(store, deliverer(store, sink, seconds=3), sink)
    for ticket in {ticket for ticket, _, _ in sink.got}:
        sequences = [sequence for got, sequence, _ in sink.got if got == ticket]
        assert sequences == sorted(sequences)
        assert all(sequences.count(s) <= 6 for s in sequences)
    assert queries.outbox_empty(store)
    store.close()
