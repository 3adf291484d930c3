"""A backfill in Spark says what the live run said, and what one in this process says, to the last bit: for domains on
the grid and one whose windows come with the data, with one and more partitions, under other settings, over days, and
from a day that was done before.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from opintel.backfill.chain import DayOutcome, judged_again
from opintel.backfill.local import InProcess
from opintel.backfill.outcomes import Outcomes
from opintel.backfill.spark import InSpark, session
from opintel.backfill.stages import Job, Settings
from opintel.finding import finding_json
from opintel.streams.archive import cutting
from opintel.streams.archive.reader import Archive, ArchiveError
from opintel.streams.artefacts import Artefacts
from opintel.streams.findings import Found, encode
from opintel.streams.records import NEVER, Control

from .archived import live, said
from .cases import CASES, fts_messages
from .harness import Case

pytestmark = pytest.mark.extras
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
BY_NAME = {case.name: case for case in CASES}
SHIPPED = Control("s", "settings", "fts", 1, NEVER, {})


def three_instances() -> Sequence[tuple[int, bytes]]:
    """The story of two FTS, every third message sent by another one."""
    names = b"fts.example.org", b"fts-c.example.org"
    return [(at, body if n % 3 else body.replace(*names)) for n, (at, body) in enumerate(fts_messages())]


FTS = replace(BY_NAME["fts"], messages=three_instances, controls=lambda: [(1, SHIPPED)])
STORIES = {
    "fts": FTS,
    "fts in one partition": replace(FTS, stream=FTS.stream._replace(partitions=1)),
    "dqm": BY_NAME["dqm"],
}


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    found = session("local[2]", "tests")
    yield lambda: found
    found.stop()


def days(
    case: Case, folder: Path, engine: Any, outcomes: Outcomes | None = None, settings: Settings | None = None
) -> Iterator[DayOutcome]:
    url = str(folder / "archive")
    job = Job(case.stream, case.pipeline, Artefacts([f"{url}/_artefacts"]), settings=settings or {})
    return judged_again(job, Archive(url), engine, outcomes)


def bits(found: list[DayOutcome]) -> list[Any]:
    """All that a backfill says, day by day, in an order of its own."""
    return [
        (
            day.day.name,
            day.counts,
            sorted(encode(Found("", finding)) for finding in day.findings),
            sorted(encode(record) for record in day.judged),
            sorted(day.asides, key=lambda aside: aside.where),
        )
        for day in found
    ]


@pytest.mark.parametrize("story", STORIES)
def test_spark_says_what_the_live_run_and_this_process_say(story: str, tmp_path: Path, spark: Any) -> None:
    case = STORIES[story]
    expected = live(case, tmp_path)
    found = list(days(case, tmp_path, partial(InSpark, spark)))
    assert said(found) == expected
    assert bits(found) == bits(list(days(case, tmp_path, InProcess)))
    assert len(expected.findings) > 3
    assert case is BY_NAME["dqm"] or len({scope for scope, _, _ in expected.judged}) >= 3


def test_it_does_under_another_setting(tmp_path: Path, spark: Any) -> None:
    live(FTS, tmp_path)
    settings = {"fts.failures": {"emit": -40.0}}
    found = bits(list(days(FTS, tmp_path, partial(InSpark, spark), settings=settings)))
    assert found == bits(list(days(FTS, tmp_path, InProcess, settings=settings)))
    assert found != bits(list(days(FTS, tmp_path, InProcess)))


def test_a_backfill_that_is_stopped_goes_on_from_the_day_that_is_done(tmp_path: Path, spark: Any) -> None:
    case = BY_NAME["health"]
    expected = live(case, tmp_path)
    outcomes = Outcomes(str(tmp_path / "out"), "health")
    (first,) = itertools.islice(days(case, tmp_path, partial(InSpark, spark), outcomes), 1)
    done, last = days(case, tmp_path, partial(InSpark, spark), outcomes)
    assert (done.before, last.before) == (True, False)
    assert said([first, last]) == expected
    assert bits([first, last]) == bits(list(days(case, tmp_path, InProcess)))


def test_a_damaged_file_is_named_and_not_shown_as_a_traceback(tmp_path: Path, spark: Any) -> None:
    live(BY_NAME["health"], tmp_path)
    *_, last = sorted((tmp_path / "archive").rglob("partition=3/*.parquet"))
    last.write_bytes(last.read_bytes()[:-9] + b"no magic!")
    with pytest.raises(ArchiveError, match=last.name):
        list(days(BY_NAME["health"], tmp_path, partial(InSpark, spark)))


def test_a_streaming_query_that_fails_before_its_commit_finds_what_the_live_run_found(
    tmp_path: Path, spark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example of docs/structured-streaming.md, its stage 1 in tasks; a copy of the archive is refused."""
    monkeypatch.setattr(cutting, "EVERY", 40)
    expected = live(FTS, tmp_path)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from micro_batches import Batches, from_archive
    from pyspark.errors import StreamingQueryException

    spark().sparkContext.addPyFile(str(BENCHMARKS / "micro_batches.py"))
    archive, topic = str(tmp_path / "archive"), FTS.stream.topic
    (archived,) = Archive(archive).epochs(topic)
    files = [tmp_path / "archive" / piece.file.name for pieces in archived.pieces for piece in pieces]
    assert len(files) > 12

    def query(name: str, order: Iterable[Path], fail: bool = False) -> dict[str, Any]:
        """What it has found when it has read all, or failed behind its second batch. `order`: of the files' ages."""
        for n, file in enumerate(order):
            os.utime(file, (1e9 + n, 1e9 + n))
        judged = Batches(Job(FTS.stream, FTS.pipeline, Artefacts([])), tmp_path / name, archived.epoch, in_tasks=True)

        def batch(frame: Any, n: int) -> None:
            judged(frame, n)
            if fail and n == 1:
                raise RuntimeError("killed")

        writer = from_archive(spark(), archive, topic, 8).writeStream.trigger(availableNow=True).foreachBatch(batch)
        writer.option("checkpointLocation", str(tmp_path / f"{name}.spark")).start().awaitTermination()
        return {f.id: finding_json(f) | {"origin": "live"} for f in judged.findings().values()}

    by_position = sorted(files, key=lambda file: int(file.stem.split("-")[0]))
    with pytest.raises(StreamingQueryException, match="killed"):
        query("out", by_position, fail=True)
    assert query("out", by_position) == expected.findings
    with pytest.raises(StreamingQueryException, match="expected position"):
        query("copy", reversed(by_position))
