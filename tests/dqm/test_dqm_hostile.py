"""Hostile histograms through ingest and both stages: each is a dead letter or insufficient, and what is said of its
neighbours is what is said of them without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from opintel.cli.replay import replay
from opintel.detector import Message
from opintel.dqm.elements import MonitorElement, axes_text
from opintel.dqm.wire import DqmWire
from opintel.dqm.wire.arrow_parts import KEY
from opintel.dqm.wire.encoder import parts_of
from opintel.finding import NS

from .live import PATHS, STREAM, Live, Part, detector, emptied, live, sent
from .lumisections import CHARGE, element, head

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
FROM = 11
"""Lumisection from which on the hostile histogram is hostile; in the next one a neighbour is dead."""
AXES = axes_text((CHARGE,), False)


def other(number: int) -> MonitorElement:
    """The histogram that turns hostile, while it is healthy."""
    return element("T/odd", np.random.default_rng([2, number]).poisson(80.0, 40))


def story(hostile: Callable[[int], list[MonitorElement]] | None = None, last: int = 16) -> list[Part]:
    found = []
    for n in range(1, last + 1):
        mine = [other(n)] if hostile is None or n < FROM else hostile(n)
        elements = emptied(detector(n), "T/h2", 26, 30) if n == FROM + 1 else detector(n)
        found += sent(head(5, n), [*elements, *mine])
    return found


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Live:
    found = live(tmp_path_factory.mktemp("healthy"), story())
    assert found.alarms() == {(5, FROM + 1): [("dead", "T/h2")]}
    return found


def require_neighbours(found: Live, healthy: Live) -> None:
    assert found.about(*PATHS) == healthy.about(*PATHS)
    assert found.alarms() == healthy.alarms()
    assert found.states().keys() == healthy.states().keys()


def spoilt(value: float) -> Callable[[int], list[MonitorElement]]:
    def hostile(n: int) -> list[MonitorElement]:
        one = other(n)
        one.values[n % 40] = value
        return [one]

    return hostile


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, -1.0, -1e300])
def test_a_content_that_is_no_count_is_insufficient(value: float, healthy: Live, tmp_path: Path) -> None:
    found = live(tmp_path, story(spoilt(value)))
    require_neighbours(found, healthy)
    assert found.words("insufficient")[-1] == (
        f"run 5 lumisection {FROM}: 1 of 5 histograms cannot be judged: 1 with contents that are no counts"
    )


@pytest.mark.parametrize("storage", ["count", "weighted", "mean"])
@pytest.mark.parametrize("value", [3e38, 1e-38, 0.0])
def test_contents_at_the_limits_of_their_type_stay_by_themselves(
    storage: str, value: float, healthy: Live, tmp_path: Path
) -> None:
    """From the first lumisection on, so that they are references too."""

    def extreme(n: int) -> MonitorElement:
        variances = None if storage == "count" else np.full(40, value)
        return element("T/extreme", np.full(40, value), storage=storage, variances=variances, entries=1e300)

    parts = story()
    for n in range(1, 17):
        parts += sent(head(5, n), [extreme(n)])
    require_neighbours(live(tmp_path, parts), healthy)


def columns(paths: list[str], values: Any, axes: str = AXES) -> bytes:
    """A message of lumisection FROM."""
    coded = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(paths), np.int8)), [axes])
    table = pa.table({"path": paths, "axes": coded, "values": values})
    table = table.replace_schema_metadata({KEY: json.dumps(head(5, FROM).plain()).encode()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    body: bytes = sink.getvalue().to_pybytes()
    return body


def bytes_of(rows: int, bins: int) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(rows * bins, np.uint8)), bins)


MANY = 10_000_000
WIDE = f'{{"axes":[{{"regular":[{MANY},0.0,1.0]}}],"flow":false}}'
NAMES = ["", "T/a\nb", "x" * 600, "*"]
REFUSED: dict[str, tuple[Callable[[], bytes], str, int]] = {
    "ten million bins": (
        lambda: columns(["T/wide"], bytes_of(1, MANY), WIDE),
        f"axes: expected 1 to 1000000 bins, got {MANY}",
        1,
    ),
    "ten million values": (
        lambda: columns(["T/wide"], bytes_of(1, MANY)),
        f"values: expected 40, as the axes say, got {MANY}",
        1,
    ),
    "no name": (lambda: columns(NAMES, bytes_of(4, 40)), "path: expected folders and a name, got none", 1),
    "name of a manifest": (
        lambda: columns(NAMES, bytes_of(4, 40)),
        "path: expected folders and a name, got '*', which stands for a manifest",
        1,
    ),
    "one name twice": (
        lambda: columns(["T/x"] * 50, bytes_of(50, 40)),
        "expected each histogram once, got Calo||T/x twice",
        49,
    ),
    "a million names": (
        lambda: columns([f"{n:06d}" for n in range(1_000_000)], bytes_of(1_000_000, 1)),
        "values: expected 40, as the axes say, got 1",
        100_000,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_histogram_can_be_is_a_dead_letter(name: str, healthy: Live, tmp_path: Path) -> None:
    body, reason, count = REFUSED[name]
    found = live(tmp_path, [*story(), (head(5, FROM).end + NS, body())])
    require_neighbours(found, healthy)
    assert found.outcome.asides["dead", reason] == count


def test_of_a_million_names_as_many_are_taken_as_a_message_may_have() -> None:
    one_bin = '{"axes":[{"regular":[1,0.0,1.0]}],"flow":false}'
    body = columns([f"{n:06d}" for n in range(1_000_000)], bytes_of(1_000_000, 1), one_bin)
    found = DqmWire().decode([Message(body)])
    assert len(found.rows) == 100_000
    assert [reject.reason for reject in found.rejects] == [
        "more than 100000 histograms in a message: the rest was not read"
    ]


def test_names_beyond_what_the_shards_hold_are_refused(healthy: Live, tmp_path: Path) -> None:
    small = STREAM._replace(shards=4, max_keys=50)
    names = columns([f"Flood/{n:06d}" for n in range(3000)], bytes_of(3000, 40))
    found = live(tmp_path, [*story(), (head(5, FROM).end + NS, names)], small)
    require_neighbours(found, healthy)
    assert found.outcome.asides["refused", "its shard holds 50 keys"] == 3000 - 4 * 50 + len(PATHS) + 1


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        ({"start": 5}, "start: expected a time in 2000 to 2100"),
        ({"run": 10**9}, "run: expected 0 to 10000000, got 1000000000"),
        ({"lumisection": -1}, "lumisection: expected 0 to 1000000, got -1"),
        ({"end": "2026-01-01T00:00:00Z"}, "expected an end after start, by at most 604800 s"),
        ({"subsystem": "a|b"}, "subsystem: expected no '|' in a name"),
    ],
)
def test_a_lumisection_that_cannot_be_is_a_dead_letter(
    about: dict[str, Any], reason: str, healthy: Live, tmp_path: Path
) -> None:
    table = pa.ipc.open_stream(next(parts_of(head(5, FROM), detector(FROM)))).read_all()
    said = json.dumps(head(5, FROM).plain() | about).encode()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.with_metadata({KEY: said})) as writer:
        writer.write_table(table)
    found = live(tmp_path, [*story(), (head(5, FROM).end + NS, sink.getvalue().to_pybytes())])
    assert found.outcome.findings == healthy.outcome.findings
    assert any(reason in why for kind, why in found.outcome.asides if kind == "dead")


def test_two_lumisections_that_claim_one_time_are_one_record(healthy: Live, tmp_path: Path) -> None:
    """One number more for the same window and histogram: one of both counts, and the rest is as it was."""
    claimed = head(5, FROM)._replace(lumisection=FROM + 500)
    found = live(tmp_path, [*story(), *sent(claimed, [other(FROM)])])
    assert found.about(*PATHS) == healthy.about(*PATHS)
    assert {place for place in found.states() if place[1] < 100} >= {(5, n) for n in range(1, 17) if n != FROM}


def test_a_replay_of_a_hostile_file_ends_with_its_findings(tmp_path: Path) -> None:
    """Lumisections out of order, parts twice, a torn stream behind them: `opintel replay dqm`."""
    parts = [body for _, body in story(spoilt(np.nan))]
    plain, hostile = tmp_path / "plain", tmp_path / "hostile"
    for folder in (plain, hostile):
        folder.mkdir()
    (plain / "a.arrow").write_bytes(b"".join(body for _, body in story()))
    torn = REFUSED["no name"][0]()
    (hostile / "a.arrow").write_bytes(b"".join([*parts[:8], *reversed(parts[4:]), torn, parts[0][:300]]))
    (hostile / "b.json").write_bytes(b'{"run": 5}')
    documents = [replay("dqm", (at,), tmp_path / f"{at.name} data", None, 64, print) for at in (plain, hostile)]
    about = [[f for f in one["findings"] if f["severity"] != "info"] for one in documents]
    assert [[(f["kind"], f["subject"]["histogram"]) for f in these] for these in about] == [[("dead", "T/h2")]] * 2
    assert [f["id"] for f in about[0]] == [f["id"] for f in about[1]]
    assert documents[1]["dead_letters"] >= 4
