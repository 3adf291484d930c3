"""Planned work holds incidents back, its findings are marked."""

from __future__ import annotations

import msgspec
import pytest
from alert_story import (
    A_B,
    A_C,
    D_B,
    END_A,
    SCOPE,
    finding,
    play,
    settings,
    window,
    windows,
)

from opintel.alerts.settings import (
    Calendar,
    Maintenance,
    Timestamp,
)
from opintel.finding import rfc3339
from opintel.store import Store, queries


def test_maintenance_holds_the_incident_back_until_it_ends(store: Store) -> None:
    planned = Maintenance(
        stream="fts",
        subject={"endpoint": "a.example"},
        start=Timestamp(window(0).start),
        end=Timestamp(window(4).end),
        reason="upgrade",
    )
    how = msgspec.structs.replace(settings(), calendar=Calendar(maintenance=[planned]))
    story = {k: [finding(k, END_A, kind="endpoint")] for k in range(2, 8)} | {2: [finding(2, D_B)]}
    story[2].append(finding(2, END_A, kind="endpoint"))
    play(store, windows(story, 7), how)
    ours, other = queries.incidents(store)
    assert other["subjects"] == [{"scope": SCOPE, **D_B}]
    assert ours["opened"] == rfc3339(window(5).end)
    assert ours["start"] == rfc3339(window(2).start)


def downtime(endpoint: str, *, first: int, last: int, reason: str = "upgrade") -> Maintenance:
    start, end = Timestamp(window(first).start), Timestamp(window(last).end)
    return Maintenance(stream="fts", subject={"endpoint": endpoint}, start=start, end=end, reason=reason)


@pytest.mark.parametrize(("endpoint", "incidents"), [("a.example", 0), ("b.example", 0), ("c.example", 1)])
def test_a_downtime_of_an_endpoint_covers_its_links(store: Store, endpoint: str, incidents: int) -> None:
    planned = [downtime(endpoint, first=1, last=4)]
    story = {k: [finding(k, A_B)] for k in range(2, 5)}
    play(store, windows(story, 10), announced=lambda: planned)
    assert len(queries.incidents(store)) == incidents
    marks = [f.get("downtime") for f in queries.findings(store)]
    assert marks == [None if incidents else "upgrade"] * 3


def test_what_goes_on_after_a_downtime_is_an_incident_and_what_ended_in_it_is_none(store: Store) -> None:
    planned = [downtime("a.example", first=1, last=4)]
    story = {k: [finding(k, A_B), *([finding(k, A_C)] if k < 5 else [])] for k in range(2, 7)}
    play(store, windows(story, 10), announced=lambda: planned)
    [told] = queries.incidents(store)
    assert told["subjects"] == [{"scope": SCOPE, **A_B}]
    assert told["opened"] == rfc3339(window(5).end)
    marked = {f["window"]["start"] for f in queries.findings(store) if "downtime" in f}
    assert marked == {rfc3339(window(k).start) for k in range(2, 5)}


def test_downtimes_may_change_while_the_service_runs(store: Store) -> None:
    planned: list[Maintenance] = []
    service = play(store, windows({2: [finding(2, A_B)]}, 2), announced=lambda: planned)
    planned.append(downtime("d.example", first=3, last=8))
    records = windows({5: [finding(5, D_B)]}, 8, first=3)
    service.consume(service.position(), records, service.position() + len(records))
    [told] = queries.incidents(store)
    assert told["subjects"] == [{"scope": SCOPE, **A_B}]
