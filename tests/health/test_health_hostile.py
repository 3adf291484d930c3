"""What senders do to the health stream, through the whole path: it is judged, set aside or refused as it should be, and
no other series' findings change by a bit."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from contract.cases import START
from contract.harness import LOGS, Case, Outcome, drain, feed, outcome, workers

from opintel.finding import NS, parse_rfc3339, rfc3339
from opintel.health.pipeline import PIPELINE
from opintel.health.wire import HealthWire
from opintel.streams.stream import Stream
from opintel.streams.worker import Worker

MINUTE = 60 * NS
WINDOWS = 150
STEP = 30 * NS
STREAM = Stream(
    "health", "health.metrics", partitions=4, window=MINUTE, lateness=MINUTE, skew=30 * NS, interval=30 * NS
)
BAD = "bad"
"""The instance that misbehaves, in the same scope as the others."""

Message = tuple[int, bytes]


def sample(time: object, value: object, name: str, instance: str, **labels: str) -> dict[str, Any]:
    return {
        "timestamp": time,
        "value": value,
        "name": name,
        "labels": {"job": "node", "instance": instance, **labels},
    }


def message(arrival: int, *samples: dict[str, Any]) -> Message:
    return arrival, json.dumps(samples).encode()


def clean(stamp: Callable[[int, int], object] = lambda host, time: time // NS) -> list[Message]:
    """Four hosts, a scrape every 30 s: h1's load jumps, h2's temperature is stuck, h3 falls silent."""
    rng = random.Random(6)
    rows = []
    for n in range(2 * WINDOWS):
        for host in range(4):
            time = START + n * STEP + host * NS
            load = rng.gauss(0, 1) + 12.0 * (host == 1 and n > 2 * WINDOWS - 10)
            temperature = 40.0 if host == 2 and n > 2 * WINDOWS - 60 else rng.gauss(40, 1)
            if host == 3 and n > 2 * WINDOWS - 30:
                continue
            at, name = stamp(host, time), f"h{host}"
            rows.append(message(time + NS, sample(at, load, "load", name), sample(at, temperature, "degrees", name)))
    return rows


def of_bad(value: Callable[[int], object], name: str = "load", windows: range = range(WINDOWS)) -> list[Message]:
    """The misbehaving instance's scrapes, on time."""
    scrapes = range(2 * windows.start, 2 * windows.stop)
    times = [(n, START + n * STEP + 10 * NS) for n in scrapes]
    return [message(time + NS, sample(time // NS, value(n), name, BAD)) for n, time in times]


def played(folder: Path, messages: Sequence[Message], stream: Stream = STREAM) -> tuple[Outcome, list[Worker]]:
    """What came of the messages, in order of arrival, and the workers with what they hold."""
    case = Case("hostile", stream, PIPELINE, HealthWire(), lambda: sorted(messages, key=lambda m: m[0]))
    bus = LOGS["sqlite"](folder)
    team = workers(bus, case, folder)
    for _ in feed(bus, case):
        drain(team)
    drain(team)
    told = outcome(bus, case)
    bus.close()
    return told, team


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Without anybody who misbehaves."""
    told, _ = played(tmp_path_factory.mktemp("clean"), clean())
    found = {(f["kind"], f["subject"]["instance"], f["subject"].get("metric")) for f in told.findings.values()}
    assert found == {("unusual", "h1", "load"), ("unusual", "h2", "degrees"), ("down", "h3", None)}
    assert not told.asides
    return told


def others(told: Outcome) -> dict[str, Any]:
    """Findings about others than `BAD`, whole; of silences only whose they are, since their p-value is of all instances
    together, the misbehaving one among them."""
    found = [f for f in told.findings.values() if f["subject"].get("instance") != BAD]
    away = ("down", "silent")
    silent = sorted({f["subject"].get("instance", "") for f in found if f["kind"] in away})
    return {**{f["id"]: f for f in found if f["kind"] not in away}, "silent": silent}


def about_bad(told: Outcome, kind: str = "unusual") -> list[dict[str, Any]]:
    mine = [f for f in told.findings.values() if f["kind"] == kind and f["subject"].get("instance") == BAD]
    return sorted(mine, key=lambda f: f["window"]["start"])


def asides(told: Outcome) -> Counter[str]:
    found: Counter[str] = Counter()
    for (kind, _), rows in told.asides.items():
        found[kind] += rows
    return found


def counted() -> list[int]:
    """A steady counter of 10 a second that starts again at about every 17th scrape."""
    rng = random.Random(4)
    counts, total = [], 0
    for _ in range(2 * WINDOWS):
        total = rng.randrange(30) if rng.random() < 0.06 else total + 280 + rng.randrange(40)
        counts.append(total)
    return counts


def test_resets_of_a_counter_concern_nobody_else(usual: Outcome, tmp_path: Path) -> None:
    counts = counted()
    told, _ = played(tmp_path, [*clean(), *of_bad(lambda n: counts[n], "sent_total")])
    assert others(told) == others(usual)
    assert not told.asides


def test_resets_of_a_counter_are_no_finding(tmp_path: Path) -> None:
    counts = counted()
    told, _ = played(tmp_path, of_bad(lambda n: counts[n], "sent_total"))
    assert about_bad(told) == []


def test_a_counter_that_stands_still_is_a_finding(tmp_path: Path) -> None:
    counts = counted()
    told, _ = played(tmp_path, of_bad(lambda n: counts[n] if n < 250 else 10**6, "sent_total"))
    assert about_bad(told)


def test_values_that_are_no_numbers_are_missing(usual: Outcome, tmp_path: Path) -> None:
    rng = random.Random(2)
    odd = [rng.choice(["NaN", "+Inf", "-Inf", "1e308", -1e300, rng.gauss(0, 1)]) for _ in range(2 * WINDOWS)]
    told, _ = played(tmp_path, [*clean(), *of_bad(lambda n: odd[n])])
    assert others(told) == others(usual)
    assert about_bad(told) == about_bad(told, "down") == about_bad(told, "silent") == []
    assert not told.asides


def test_values_that_are_nothing_at_all_are_dead_letters(usual: Outcome, tmp_path: Path) -> None:
    odd = [None, True, "lots", {}, [1], "9" * 100]
    told, _ = played(tmp_path, [*clean(), *of_bad(lambda n: odd[n % len(odd)])])
    assert others(told) == others(usual)
    assert asides(told) == {"dead": 2 * WINDOWS}
    assert all("value: expected a number" in reason for _, reason in told.asides)


def test_the_same_samples_again_change_nothing(usual: Outcome, tmp_path: Path) -> None:
    """At once, half a minute later, and in another unit of time; three minutes later they are late."""
    again = [(arrival + delay, body) for arrival, body in clean() for delay in (0, 25 * NS)]
    units = clean(lambda host, time: time // 10**6)
    told, _ = played(tmp_path, [*clean(), *again, *units])
    assert told == usual
    late = [(arrival + 3 * MINUTE, body) for arrival, body in clean()[:400]]
    told, _ = played(tmp_path / "late", [*clean(), *late])
    assert (told.findings, told.judged) == (usual.findings, usual.judged)
    assert asides(told) == {"late": 800}
    assert {reason for _, reason in told.asides} == {"its window was closed"}


def test_disorder_within_the_lateness_changes_nothing(usual: Outcome, tmp_path: Path) -> None:
    rng = random.Random(3)
    told, _ = played(tmp_path, [(arrival + rng.randrange(25 * NS), body) for arrival, body in clean()])
    assert told == usual


def test_disorder_beyond_the_lateness_is_set_aside(usual: Outcome, tmp_path: Path) -> None:
    rng = random.Random(4)
    bad = [(arrival + rng.randrange(5, 40) * MINUTE, body) for arrival, body in of_bad(lambda n: n % 5)[:200]]
    told, _ = played(tmp_path, [*clean(), *bad])
    assert others(told) == others(usual)
    assert about_bad(told) == []
    assert asides(told) == {"late": 200}


def test_clocks_that_are_wrong_are_told_to_their_owner(usual: Outcome, tmp_path: Path) -> None:
    """An hour ahead; in 1970; within what is allowed, which is judged."""
    times = {0: 3600 * NS, 1: -START, 2: 20 * NS}
    bad = []
    for n in range(2 * WINDOWS):
        time = START + n * STEP + 10 * NS
        bad.append(message(time, sample((time + times[n % 3]) / NS, n % 5, "load", BAD)))
    told, _ = played(tmp_path, [*clean(), *bad])
    assert others(told) == others(usual)
    assert asides(told) == {"dead": 2 * len(bad) // 3}
    said: Counter[str] = Counter()
    for (_, reason), rows in told.asides.items():
        said[reason.split(", got")[0].split(": check")[0]] += rows
    assert said == {
        "event time more than 30 s after its arrival": len(bad) // 3,
        "timestamp: expected RFC 3339 or s, ms, us, ns in 2000 to 2100": len(bad) // 3,
    }


def test_seconds_ms_us_ns_and_text_may_be_mixed(usual: Outcome, tmp_path: Path) -> None:
    forms: list[Callable[[int], object]] = [
        lambda time: time // NS,
        lambda time: time // 10**6,
        lambda time: time // 10**3,
        lambda time: time,
        rfc3339,
        lambda time: str(time // NS),
        lambda time: float(time // NS),
    ]
    told, _ = played(tmp_path, clean(lambda host, time: forms[(host + time // STEP) % len(forms)](time)))
    assert told == usual


def test_a_storm_of_new_series_is_refused_and_the_known_ones_are_judged_as_ever(usual: Outcome, tmp_path: Path) -> None:
    """30,000 new series in a minute, where 64 shards hold 8 each."""
    small = STREAM._replace(max_keys=8)
    begin = START + 120 * MINUTE
    storm = []
    for n in range(30):
        names = (f"pod-{n}-{k}" for k in range(1000))
        rows = [sample((begin + n * NS) // NS, 1.0, "load", BAD, pod=name) for name in names]
        storm.append(message(begin + n * NS + NS, *rows))
    quiet, _ = played(tmp_path / "quiet", clean(), small)
    told, team = played(tmp_path / "storm", [*clean(), *storm], small)
    held = [worker.stage.state()["keys"]["known"] for worker in team[:-1]]
    known = sum(map(len, held))
    assert others(told) == others(quiet)
    assert len(others(usual)) == len(others(quiet)), "so few keys are enough for those who behave"
    assert about_bad(told) == []
    assert 8 < known <= 64 * 8
    assert asides(told) == {"refused": 30_000 - (known - 8)}
    assert {reason for _, reason in told.asides} == {"its shard holds 8 keys"}
    state = sum(len(msgspec.msgpack.encode(worker.stage.state())) for worker in team[:-1])
    assert state < known * 10_000 + 100_000, "what is held is bounded by the keys that are held"


def test_a_series_that_changes_its_name_begins_anew(usual: Outcome, tmp_path: Path) -> None:
    """Its machine is not silent, and what it says under the new name is no surprise, however different."""
    renamed = of_bad(lambda n: 100.0 + n % 7, "load_v2", range(110, WINDOWS))
    told, _ = played(tmp_path, [*clean(), *of_bad(lambda n: n % 7, windows=range(110)), *renamed])
    assert others(told) == others(usual)
    assert about_bad(told) == about_bad(told, "down") == about_bad(told, "silent") == []
    kept, _ = played(
        tmp_path / "kept",
        [
            *clean(),
            *of_bad(lambda n: n % 7, windows=range(110)),
            *of_bad(lambda n: 100 + n % 7, windows=range(110, WINDOWS)),
        ],
    )
    assert about_bad(kept), "under its old name it is one"


@pytest.mark.parametrize("ttl", [20, 10_000])
def test_a_series_that_comes_back_after_its_ttl_begins_anew(usual: Outcome, tmp_path: Path, ttl: int) -> None:
    """It is away for half an hour and comes back on another level. Of the silences of others nothing is asked here:
    after one of half an hour a shorter one is no surprise to the fleet."""
    back = of_bad(lambda n: 100 + n % 7, windows=range(140, WINDOWS))
    messages = [*clean(), *of_bad(lambda n: n % 7, windows=range(110)), *back]
    told, team = played(tmp_path, messages, STREAM._replace(ttl=ttl * MINUTE))
    assert {**others(told), "silent": []} == {**others(usual), "silent": []}
    assert about_bad(told, "down"), "while it is away its machine is found to be down"
    returned = START + 140 * MINUTE
    surprises = [f for f in about_bad(told) if parse_rfc3339(f["window"]["start"]) >= returned]
    assert bool(surprises) == (ttl > 30)
    assert sum(len(worker.stage.state()["keys"]["known"]) for worker in team[:-1]) == 9
