"""Builds findings and whole sequences of the findings topic for the tests of alerts and store, and reads back the
outcome."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import sqlalchemy as sa

from opintel.alerts.service import AlertService
from opintel.alerts.settings import AlertSettings, Budget, Budgets, Declared, Grouping, Lifecycle, Match, Route, Routes
from opintel.alerts.sinks.log import LogSink
from opintel.evidence import Texts
from opintel.finding import NS, Basis, Effect, Finding, Severity, Window, finding_id
from opintel.store import Store
from opintel.store import schema as t
from opintel.streams.findings import Found, Judged

T0 = 1_600_000_200 * NS
WIDTH = 600 * NS
SCOPE = "fts.example"
TESTS = {"endpoint": 20, "link": 80, "slow": 80, "silent": 100}

A_B = {"source": "a.example", "destination": "b.example"}
A_C = {"source": "a.example", "destination": "c.example"}
D_B = {"source": "d.example", "destination": "b.example"}
END_A = {"endpoint": "a.example", "role": "source"}
END_B = {"endpoint": "b.example", "role": "destination"}

STRONG, WEAK, NOTHING = -30.0, -4.5, -1.0
"""With the settings below, below the threshold of -5.3, less than two decades above it, and no sign."""


def settings(ticket: Literal["propose", "auto"] = "auto", sinks: Sequence[str] = ("log",)) -> AlertSettings:
    """One false alarm a week for failures and one for the rest; all sinks are logs here."""
    budgets = {
        "failures": Budget(kinds=["endpoint", "link"], false_alarms_a_week=1.0),
        "other-troubles": Budget(kinds=["slow", "silent"], false_alarms_a_week=1.0),
    }
    route = Route(sinks=list(sinks), match=Match(severities=["warning", "critical"]), ticket=ticket)
    return AlertSettings(
        budgets=Budgets(streams={"fts": budgets}),
        lifecycle=Lifecycle(grouping=Grouping(entities={"fts": ["endpoint", "source", "destination"]})),
        routes=Routes(sinks={name: LogSink() for name in sinks}, routes=[route]),
    )


def window(k: int) -> Window:
    """The k-th window."""
    return Window(T0 + k * WIDTH, T0 + (k + 1) * WIDTH)


def finding(
    k: int,
    subject: dict[str, str],
    log10_p: float | None = STRONG,
    kind: str = "link",
    severity: Severity = "warning",
    scope: str = SCOPE,
    summary: str = "",
    texts: Sequence[str] = (),
) -> Finding:
    """A finding of the k-th window."""
    labels = {"scope": scope, **subject}
    basis: Basis = "none" if log10_p is None else "exact"
    names = " to ".join(v for n, v in subject.items() if n != "role")
    return Finding(
        id=finding_id(f"test.{kind}", 1, "m", labels, window(k)),
        detector=f"test.{kind}",
        kind=kind,
        subject=labels,
        window=window(k),
        log10_p=log10_p,
        basis=basis,
        effect=Effect(0.9, "failed share"),
        severity=severity,
        summary=summary or f"{kind}: {names} fails",
        evidence=(Texts("Errors", [(text, 3) for text in texts]),) if texts else (),
        model="m",
    )


def judged(
    k: int, tests: dict[str, int] | None = None, *, complete: bool = True, scope: str = SCOPE, stream: str = "fts"
) -> Judged:
    """The end of the k-th window."""
    return Judged(stream, scope, window(k), TESTS if tests is None else tests, complete)


def windows(story: dict[int, list[Finding]], last: int, first: int = 0, **how: Any) -> list[Found | Judged]:
    """Findings by window, as the topic holds them."""
    records: list[Found | Judged] = []
    for k in range(first, last + 1):
        records += [Found(how.get("stream", "fts"), f) for f in story.get(k, [])]
        records.append(judged(k, **how))
    return records


def play(
    store: Store, records: Iterable[Found | Judged], how: AlertSettings | None = None, **more: Any
) -> AlertService:
    """Lets a service consume records, from where the store stands."""
    service = AlertService(store, how or settings(), **more)
    records = list(records)
    start = service.position()
    service.consume(start, records, start + len(records))
    return service


def outcome(store: Store) -> dict[str, list[Any]]:
    """Everything that decisions left in the store, without running numbers and the position."""
    tables = [t.judged, t.finding, t.alert, t.incident, t.incident_finding, t.ticket, t.outbox, t.budget_spend, t.event]
    told: dict[str, list[Any]] = {}
    with store.read() as connection:
        for table in tables:
            numbered = "id" in table.c and isinstance(table.c.id.type, sa.Integer)
            query = sa.select(*(c for c in table.c if not (numbered and c.name == "id")))
            rows = [tuple(row) for row in connection.execute(query.order_by(table.c.id) if numbered else query)]
            told[table.name] = sorted(rows, key=lambda row: row[0]) if table is t.event else sorted(rows, key=repr)
    return told


RANKED = settings().over({"fts": Declared(kinds=["silent", "endpoint", "link", "slow"], adapting=["slow"])})
"""Silence is the worst, and the detector of slow links gets used to them."""
