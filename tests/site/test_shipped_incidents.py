"""What the shipped alerts and health's declarations make of a host that dies beside something odd."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from opintel.alerts.service import AlertService
from opintel.finding import NS, Effect, Finding, Severity, Window, finding_id
from opintel.site.system import System
from opintel.store import queries
from opintel.streams.findings import Found, Judged

MINUTE = 60 * NS
T0 = 1_700_000_040 * NS
HOST = {"scope": "node", "instance": "h1"}
SHMEM = {**HOST, "metric": "node_memory_Shmem_bytes"}


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    made = System(tmp_path)
    yield made
    made.close()


def found(k: int, kind: str, subject: dict[str, str], summary: str, severity: Severity, p: float | None) -> Finding:
    span = Window(T0 + k * MINUTE, T0 + (k + 1) * MINUTE)
    return Finding(
        id=finding_id(kind, 1, "m", subject, span),
        detector=kind,
        kind=kind,
        subject=subject,
        window=span,
        log10_p=p,
        basis="none" if p is None else "ranked",
        effect=Effect(1.0, "x"),
        severity=severity,
        summary=summary,
        evidence=(),
        model="m",
    )


def play(system: System, story: dict[int, list[Finding]], last: int) -> None:
    service = AlertService(system.store, system.alerts)
    records: list[Found | Judged] = []
    for k in range(last + 1):
        records += [Found("health", f) for f in story.get(k, [])]
        span = Window(T0 + k * MINUTE, T0 + (k + 1) * MINUTE)
        records.append(Judged("health", "node", span, {"unusual": 100, "silent": 10}, True))
    service.consume(0, records, len(records))


def host_that_dies() -> dict[int, list[Finding]]:
    """Shmem is odd for ten minutes, the host is down from the sixth on, for ten."""
    odd = {k: [found(k, "unusual", SHMEM, "Shmem jumped", "warning", -30.0)] for k in range(10)}
    down = {k: [found(k, "down", HOST, "h1 is down", "critical", None)] for k in range(5, 15)}
    return {k: odd.get(k, []) + down.get(k, []) for k in range(15)}


def test_a_host_that_is_down_titles_the_incident_that_something_odd_opened(system: System) -> None:
    play(system, host_that_dies(), 7)
    [told] = queries.incidents(system.store)
    assert (told["title"], told["severity"], told["state"]) == ("h1 is down", "critical", "open")


def test_that_nothing_more_is_found_of_it_is_no_recovery(system: System) -> None:
    play(system, host_that_dies(), 100)
    [told] = queries.incidents(system.store)
    assert (told["title"], told["state"], told["quiet"]) == ("h1 is down", "mitigated", True)


def test_when_both_are_back_it_is_resolved(system: System) -> None:
    story = host_that_dies()
    story[20] = [
        found(20, "down", HOST, "h1 is back", "info", None),
        found(20, "unusual", SHMEM, "Shmem is back", "info", -5.0),
    ]
    play(system, story, 40)
    [told] = queries.incidents(system.store)
    assert (told["title"], told["state"]) == ("h1 is down", "resolved")
