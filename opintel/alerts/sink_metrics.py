"""How the sinks take their messages, as metrics; read from the store, so that any process over it can say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from opintel.finding import NS
from opintel.store import Store
from opintel.store.queries import outbox


def sink_metrics(store: Store, now: Callable[[], int]) -> Iterator[Metric]:
    """Of every sink that ever had a message, configured or not; `now` in ns UTC."""
    queued = GaugeMetricFamily("opintel_sink_queued_messages", "Messages that wait.", labels=["sink"])
    oldest = GaugeMetricFamily("opintel_sink_oldest_seconds", "Age of the oldest that waits.", labels=["sink"])
    failed = GaugeMetricFamily("opintel_sink_failed_messages", "Messages that have failed for good.", labels=["sink"])
    failures = CounterMetricFamily("opintel_sink_failures", "Attempts that failed.", labels=["sink"])
    last = GaugeMetricFamily("opintel_sink_last_success_timestamp_seconds", "When one was sent last.", labels=["sink"])
    for sink, standing in outbox(store).items():
        queued.add_metric([sink], standing.queued)
        oldest.add_metric([sink], 0.0 if standing.oldest is None else max(0.0, (now() - standing.oldest) / NS))
        failed.add_metric([sink], standing.failed)
        failures.add_metric([sink], standing.failures)
        if standing.last_sent is not None:
            last.add_metric([sink], standing.last_sent / NS)
    yield from (queued, oldest, failed, failures, last)
