"""Hours of errors in a store, as the alert service puts them there, and a clustering that costs nothing: by the first
word of each text."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray

from opintel.alerts.service import AlertService
from opintel.alerts.settings import AlertSettings
from opintel.evidence import Table
from opintel.finding import Effect, Finding, Window, finding_id
from opintel.fts.clusters import Clusters, memory
from opintel.fts.judging.errors import COLUMNS, HOUR
from opintel.site.clustering.service import Clustering
from opintel.site.settings import ClusterSettings
from opintel.store import Store, open_store, sqlite_url
from opintel.store import schema as t
from opintel.streams.findings import Found, Judged

SCOPE = "fts1.example"
Texts = dict[str, int]
"""Text of a form → its messages in an hour; its template is the text without spaces."""


def errors(hour: int, texts: Texts, scope: str = SCOPE, title: str = "errors") -> Finding:
    rows: list[list[str | float | int | None]] = [
        [text.replace(" ", "-"), text, "family", n, f"{text} as sent", "a.example b.example"]
        for text, n in texts.items()
    ]
    window, subject = Window(hour * HOUR, (hour + 1) * HOUR), {"scope": scope}
    return Finding(
        id=finding_id("fts.errors", 1, "m", subject, window),
        detector="fts.errors",
        kind="errors",
        subject=subject,
        window=window,
        log10_p=None,
        basis="none",
        effect=Effect(1.0, "messages"),
        severity="info",
        summary="errors",
        evidence=(Table(title, list(COLUMNS), rows),),
    )


def put(store: Store, *found: Finding, scope: str = SCOPE) -> None:
    """Decides on windows with these findings, as the alert service does."""
    service = AlertService(store, AlertSettings())
    records: list[Found | Judged] = []
    for finding in found:
        records += [Found("fts", finding), Judged("fts", scope, finding.window, {}, True)]
    service.consume(service.position(), records, service.position() + len(records))


def by_first_word(
    texts: Sequence[str], others: Sequence[str], encoder: str = "tfidf", *, model: str | None = None
) -> tuple[Clusters, NDArray[np.float64]]:
    """Stands for the real clustering: the same first word is the same cluster, `odd` is noise."""
    words = [text.split()[0] for text in (*texts, *others)]
    every = sorted(set(words))
    labels = np.array([-1 if word == "odd" else every.index(word) for word in words[: len(texts)]], np.int64)
    return Clusters(labels, np.full(len(texts), 0.5)), np.eye(len(every))[[every.index(word) for word in words]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(sqlite_url(tmp_path / "store.db"))
    yield opened
    opened.close()


def run(store: Store, every: int = 6 * HOUR) -> None:
    """The service until it has nothing to do."""
    service = Clustering(store, ["fts"], ClusterSettings(every=every))  # type: ignore[arg-type]
    while not service.idle():
        service.step()
    service.close()


@contextmanager
def killed_at(store: Store, statement: int) -> Iterator[None]:
    """SIGKILL of this process at so manieth statement, of reading and writing alike."""
    left = [statement]

    def count(*_: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(store.engine, "before_cursor_execute", count)
    yield


def killed(url: str, statement: int) -> None:
    """The life of a process that clusters and is killed on the way; 0: it is not."""
    memory.cluster_beside = by_first_word
    store = open_store(url)
    with killed_at(store, statement):
        run(store)


def content(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """All that the service has written; not the running numbers of events, nor how many transactions it took."""
    tables = {
        t.clustering: ("stream", "scope", "through", "clustered", "changed"),
        t.cluster: tuple(t.cluster.c.keys()),
        t.cluster_member: tuple(t.cluster_member.c.keys()),
    }
    with store.read() as connection:
        found = {
            table.name: sorted(map(tuple, connection.execute(sa.select(*(table.c[name] for name in names)))), key=str)
            for table, names in tables.items()
        }
        events = sa.select(*(c for c in t.cluster_event.c if c.name != "id")).order_by(t.cluster_event.c.id)
        return found | {"cluster_event": [tuple(row) for row in connection.execute(events)]}
