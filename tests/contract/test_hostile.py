"""What anybody may put on a topic: it becomes a dead letter, never a crash, and changes nothing else."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opintel.detector import Record
from opintel.evidence import Series, Table
from opintel.finding import NS, Effect, Window
from opintel.rows import Packed, Row
from opintel.streams.findings import Found, decode, encode
from opintel.streams.ingest import Ingester
from opintel.streams.log import Entry
from opintel.streams.records import Closed, Control, Derived, Forwarded, SourcePosition, raw_codec

from .cases import START, TOY_CASE, TOY_STREAM
from .harness import LOGS, MakeLog, drain, feed, outcome, workers
from .toy import TOY, Value


class OldRows(msgspec.Struct, array_like=True, tag="rows"):
    """Rows as they were before they were columns."""

    wm: Any
    arrival: Any
    source: Any
    rows: Any


class OldDerived(msgspec.Struct, array_like=True, tag="derived"):
    """A record as it was before they were together."""

    record: Any


class Columns(msgspec.Struct, array_like=True, tag="columns"):
    """Rows as they are kept, with anything in them."""

    wm: Any
    arrival: Any
    source: Any
    part: Any
    parts: Any
    batch: Any


BIG = st.sampled_from([2**62 + 1, 2**63, 2**64 - 1, -(2**62) - 1, -(2**63)]) | st.integers(-(2**63), 2**64 - 1)
SOURCE = SourcePosition("x", 0, None, None, 0, 0, 0, 0)
TEXT = st.sampled_from(["", "s0.k1", "x" * 5000, "a|b|c", "\x00", "é" * 600])
DEEP: Any = []
for _ in range(900):
    DEEP = [DEEP]
VALUES = st.sampled_from([None, 1, {"toy.total": {"offset": "x"}}, [1], DEEP, {1: 2}, math.nan, "x" * 10**6])
CONTROL = st.builds(
    Control, TEXT, st.sampled_from(["settings", "scale", "x"]), st.sampled_from(["toy", "all"]), BIG, BIG, VALUES, BIG
)
BYTES = st.sampled_from([b"", b"\0" * 4, b"\0" * 8, b"\xff" * 4, b"\xff" * 8, b"\0" * 16, b"\1\0\0\0" * 2, "x", 5])
PAYLOADS = st.lists(st.sampled_from([Value(1), [5], 7, "x"]), max_size=2)
BATCH = st.builds(Packed, st.lists(TEXT, max_size=2) | st.none(), BYTES, BYTES, BYTES, PAYLOADS)
RAW = st.one_of(
    st.builds(lambda w, p, b: Columns(w, 0, SOURCE, p, 1, b), BIG, st.sampled_from([0, 1, -1]), BATCH).filter(
        lambda r: r.wm < START
    ),
    st.builds(lambda w, a, r: OldRows(w, a, SOURCE, r), BIG, BIG, st.lists(st.builds(
        lambda k, t, i: Row(k, t, i, Value(1)), TEXT, BIG, BIG), max_size=3)).filter(lambda r: r.wm < START),
    CONTROL,
)  # fmt: skip
WINDOWS = st.builds(lambda s, n: msgspec.structs.force_setattr(w := Window(0, 1), "start", s) or
    msgspec.structs.force_setattr(w, "end", n) or w, BIG, BIG)  # fmt: skip
RECORD = st.builds(lambda w, k, s: Record(w, k, k, s, [1, 2]), WINDOWS, TEXT, TEXT)
DERIVED = st.one_of(
    st.builds(Derived, st.lists(RECORD, max_size=3)),
    st.builds(OldDerived, RECORD),
    st.builds(Forwarded, st.integers(-2, 9000), st.sampled_from([0, 4, 9000]), BIG, CONTROL),
    st.builds(Closed, st.integers(-2, 3), st.sampled_from([0, 3, 4, 9000]), TEXT, st.just(START - 10**12)),
)


def encodes(value: Any) -> bytes | None:
    try:
        return raw_codec(Value).encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None


@given(raw=st.lists(RAW, max_size=8), derived=st.lists(DERIVED, max_size=8))
def test_hostile_records_end_no_worker(
    tmp_path_factory: pytest.TempPathFactory, raw: list[Any], derived: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    case = replace(TOY_CASE, messages=lambda: TOY_CASE.messages()[:300])
    bus = LOGS["sqlite"](folder)
    team = workers(bus, case, folder)
    for n, _ in enumerate(feed(bus, case)):
        for topic, values in ((case.stream.topic, raw), (case.stream.derived, derived)):
            if n < len(values) and (value := encodes(values[n])) is not None:
                bus.append([Entry(topic, 0, value)])
        for worker in team:
            worker.step()
            worker.checkpoint()
        team = workers(bus, case, folder)
    drain(team)
    told = outcome(bus, case)
    for value in (v for _, v, _ in bus.read("opintel.findings", 0, 0, 10**6)):
        decode(value)
    assert len(told.judged) >= 3


def test_settings_that_no_judge_understands_leave_the_old_ones_in_force(make_log: MakeLog, tmp_path: Path) -> None:
    def run(folder: Path, *bad: Any) -> Any:
        bus = make_log(folder)
        team = workers(bus, TOY_CASE, folder)
        for n, _ in enumerate(feed(bus, TOY_CASE)):
            if n in (3, 20):
                sender = Ingester(bus, TOY_STREAM, TOY, ToyWireless(), "test", live=True)
            if n == 3:
                sender.control(Control("good", "settings", "toy", 1, 0, {"toy.total": {"offset": 7}}, sender.seen))
            if n == 20:
                for version, value in enumerate(bad, 2):
                    sender.control(Control(f"bad{version}", "settings", "toy", version, 0, value, sender.seen))
            for worker in team:
                worker.step()
        drain(team)
        return bus, outcome(bus, TOY_CASE)

    bus, told = run(tmp_path / "a", [1], {"toy.total": {"unknown": 1}}, {"nobody": {}}, "text")
    _, good = run(tmp_path / "b")
    assert told.findings == good.findings
    dead = [a.reason for a in bus.asides(kind="dead") if a.topic == TOY_STREAM.topic]
    assert len(set(dead)) == 4  # each, from each partition
    assert any("unknown" in reason for reason in dead)


class ToyWireless:
    """A wire that is not used."""

    def decode(self, message: Any) -> list[Any]:
        raise AssertionError("nothing comes here")

    def redacted(self, body: bytes) -> bytes:
        return b""


def test_another_structure_has_topics_of_its_own(make_log: MakeLog, tmp_path: Path) -> None:
    """The window changed over an existing log: what was derived under the old one is not mixed with the new."""
    bus = make_log(tmp_path)
    for _ in feed(bus, TOY_CASE):
        pass
    drain(workers(bus, TOY_CASE, tmp_path))
    other = replace(TOY_CASE, stream=TOY_STREAM._replace(window=30 * NS))
    drain(workers(bus, other, tmp_path))
    assert other.stream.derived != TOY_STREAM.derived
    assert not [a for a in bus.asides(kind="dead") if ".derived" in a.topic]
    ends = {end for _, end, _ in outcome(bus, other).judged}
    assert any(end % (60 * NS) for end in ends)


def test_input_after_the_end_of_a_file_is_judged_the_same_in_any_split(make_log: MakeLog, tmp_path: Path) -> None:
    def run(folder: Path, batch: int) -> Any:
        bus = make_log(folder)
        for n, _ in enumerate(feed(bus, TOY_CASE, live=False)):
            if n in (12, 20):
                Ingester(bus, TOY_STREAM, TOY, ToyWireless(), "test", live=False).finish(0)
        drain(workers(bus, TOY_CASE, folder, batch=batch))
        return outcome(bus, TOY_CASE)

    one, many = run(tmp_path / "one", 1), run(tmp_path / "many", 500)
    assert one == many
    assert sum(not seen["complete"] for seen in one.judged.values()) >= 4


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_in_findings_are_finite(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Effect(value, "x")
    with pytest.raises(ValueError, match="None says"):
        Series("t", [1], [value], "x")
    with pytest.raises(ValueError, match="None says"):
        Table("t", ["a"], [[value]])


def test_a_finding_beyond_int64_is_refused_by_its_reader(make_log: MakeLog, tmp_path: Path) -> None:
    bus = make_log(tmp_path)
    for _ in feed(bus, TOY_CASE):
        pass
    drain(workers(bus, TOY_CASE, tmp_path))
    values = [v for _, v, _ in bus.read("opintel.findings", 0, 0, 10)]
    found = next(r for r in map(decode, values) if isinstance(r, Found))
    huge = Found("toy", msgspec.structs.replace(found.finding, window=Window(2**63, 2**63 + 5)))
    with pytest.raises(ValueError, match="findings record"):
        decode(encode(huge))
