"""Complete files as one source: merged by time, the same after a crash anywhere; rows dated far ahead refused."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from contract.cases import HEALTH_STREAM
from contract.harness import LOGS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opintel.detector import Message
from opintel.finding import NS
from opintel.health.pipeline import PIPELINE as HEALTH
from opintel.health.wire import HealthWire
from opintel.streams.ahead import too_far_ahead
from opintel.streams.connectors import merged
from opintel.streams.connectors.files import FilePosition
from opintel.streams.connectors.merged import MergedFiles
from opintel.streams.feeds import file_feed
from opintel.streams.ingest import Ingester
from opintel.streams.records import NEVER

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def times_of(messages: Sequence[Message]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of messages that are a number each, or none."""
    found = [(n, int(m.body)) for n, m in enumerate(messages) if m.body.isdigit()]
    table = np.array(found, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def written(folder: Path, lines: Sequence[Sequence[str]]) -> Path:
    for old in folder.glob("*.jsonl"):
        old.unlink()
    for n, of_file in enumerate(lines):
        (folder / f"{n}.jsonl").write_text("".join(f"{line}\n" for line in of_file))
    return folder


def read_all(folder: Path, limit: int = 7) -> list[Message]:
    source, position, out = MergedFiles([folder], times_of), FilePosition(), list[Message]()
    while (chunk := source.chunk(position, limit)).messages:
        out, position = out + chunk.messages, chunk.after
    return out


def test_files_that_overlap_are_merged_by_time(tmp_path: Path) -> None:
    lines = [[str(n) for n in range(k, 9000, 3)] for k in range(3)]
    found = read_all(written(tmp_path, lines), 2000)
    assert [int(m.body) for m in found] == list(range(9000))
    assert [m.index for m in found] == list(range(9000))
    assert [(m.file, m.row) for m in found[-3:]] == [(f"{k}.jsonl", 2999) for k in range(3)]


def test_a_line_of_another_century_does_not_hold_up_its_file(tmp_path: Path) -> None:
    lines = [[str(n) for n in range(k, 900, 2)] for k in range(2)]
    lines[0].insert(100, "9" * 12)
    found = [int(m.body) for m in read_all(written(tmp_path, lines))]
    found.remove(int("9" * 12))
    assert np.abs(np.array(found) - np.arange(900)).max() <= 2


@given(
    lines=st.lists(st.lists(st.sampled_from(["?", *map(str, range(30))]), max_size=30), min_size=1, max_size=4),
    limit=st.integers(1, 9),
    held=st.sampled_from([1, 20, 1 << 20]),
)
@quick
def test_any_chunk_again_in_another_process_is_the_same(
    tmp_path: Path, lines: list[list[str]], limit: int, held: int
) -> None:
    written(tmp_path, lines)
    with pytest.MonkeyPatch.context() as patch:
        whole = MergedFiles([tmp_path], times_of)
        patch.setattr(merged, "MAX_HELD", held)
        position = None
        seen = list[tuple[str, int]]()
        for _ in range(200):
            chunk = whole.chunk(position, limit)
            again = MergedFiles([tmp_path], times_of).again(position, chunk.after)
            assert again.messages == chunk.messages
            assert chunk.ahead.following is not None
            assert again.ahead.following is not None
            assert again.ahead.known == chunk.ahead.known
            assert {f: t.tolist() for f, t in again.ahead.following.items()} == {
                f: t.tolist() for f, t in chunk.ahead.following.items()
            }
            if not chunk.messages:
                break
            seen += [(m.file, m.row) for m in chunk.messages]
            position = chunk.after
    assert sorted(seen) == sorted((f"{n}.jsonl", row) for n, of_file in enumerate(lines) for row in range(len(of_file)))


def far(times: Sequence[int], following: Sequence[int] = (), seen: int = NEVER, skew: int = 5) -> list[int]:
    file = np.zeros(len(times), dtype=np.int64)
    bad = too_far_ahead(["a"], file, np.array(times), {"a": np.array(following, dtype=np.int64)}, seen, skew)
    return np.flatnonzero(bad).tolist()


def test_what_is_too_far_ahead() -> None:
    ordered = list(range(0, 4000, 2))
    assert far(ordered) == []
    assert far([*ordered[:700], 10**9, *ordered[700:]]) == [700]
    assert far([*ordered[:700], 10**9, 10**9 + 1, *ordered[700:]]) == [700, 701]
    assert far([10**9, *ordered]) == [0]
    assert far([*ordered, 10**9], [4000, 4002]) == [2000]
    assert far([*ordered, 10**9]) == []  # nothing follows it
    assert far([*ordered[:700], ordered[700] + 9000, *ordered[700:]]) == [700]


def test_disorder_that_makes_nothing_late_is_left_alone() -> None:
    shuffled = list(range(3000))
    random.Random(3).shuffle(shuffled)
    assert far(shuffled, skew=3000) == []
    assert far(list(range(0, 300_000, 100))[::-1]) == []  # the newest first
    gap = [*range(100), *range(10_000, 10_100)]
    assert far(gap) == []
    assert far([0, 100, 50]) in ([], [1])


def lines_of(host: str, minutes: range) -> list[str]:
    hour = 1_767_225_600
    return [
        f'{{"timestamp":{hour + 60 * m},"value":{m % 7},"name":"load","labels":{{"instance":"{host}"}}}}'
        for m in minutes
    ]


def taken(folder: Path, data: Path) -> tuple[Ingester, list[str]]:
    data.mkdir()
    bus = LOGS["sqlite"](data)
    ingester = Ingester(bus, HEALTH_STREAM, HEALTH, HealthWire(), "s", live=False)
    feed = file_feed(lambda _: ingester, [folder], final=True)
    while feed.step():
        pass
    return ingester, [f"{one.place}: {one.reason}" for one in bus.asides(kind="dead")]


def test_one_line_of_2099_is_a_dead_letter_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    hosts = [lines_of("a", range(3000)), lines_of("b", range(3000))]
    hosts[0].insert(1500, hosts[0][10].replace("1767226200", "4070908800"))
    ingester, dead = taken(written(tmp_path / "in", hosts), tmp_path / "data")
    assert ingester.taken == 6000
    assert ingester.seen == (1_767_225_600 + 60 * 2999) * NS
    [said] = dead
    assert said.startswith("0.jsonl:1501: event time more than")
