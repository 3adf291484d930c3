"""Scopes that are judged in buckets, each by itself as in Spark, say what they say when they are judged together."""

from __future__ import annotations

from pathlib import Path

import pytest

from opintel.backfill.chain import DayOutcome
from opintel.backfill.days import days_of
from opintel.backfill.outcomes import Counts
from opintel.backfill.stages import Job, Judging, batches, reducing
from opintel.streams.archive.reader import Archive
from opintel.streams.artefacts import Artefacts

from .archived import archive, backfilled, said
from .cases import FAILING, SAMPLE_CASE
from .harness import LOGS, Case, feed

BUCKETS = 5


@pytest.mark.parametrize("case", [FAILING, SAMPLE_CASE], ids=lambda case: case.name)
def test_buckets_say_what_all_scopes_together_say(case: Case, tmp_path: Path) -> None:
    """The samples count the hypotheses that stage 1 tested, by scope."""
    bus = LOGS["sqlite"](tmp_path)
    for _ in feed(bus, case):
        pass
    archive(bus, tmp_path, case)
    bus.close()
    files = Archive(str(tmp_path / "archive"))
    job = Job(case.stream, case.pipeline, Artefacts([str(tmp_path / "archive" / "_artefacts")]), buckets=BUCKETS)
    judging = [Judging(job) for _ in range(BUCKETS)]
    runs = [reducing(job, p, files.epochs(case.stream.topic)[0].epoch) for p in range(case.stream.partitions)]
    outcomes: list[DayOutcome] = []
    for day in days_of(job, files.epochs(case.stream.topic)):
        outcomes.append(DayOutcome(day, Counts(), [], [], []))
        for run, pieces in zip(runs, day.pieces, strict=True):
            for batch in batches(files, pieces):
                out = run.feed(batch)
                outcomes[-1].asides.extend(out.asides)
                for entry in (*out.records, *out.closing):
                    judgements = judging[entry.partition].feed([entry.value])
                    outcomes[-1].findings.extend(found.finding for found in judgements.findings)
                    outcomes[-1].judged.extend(judgements.judged)
                    outcomes[-1].asides.extend(judgements.asides)
    assert said(outcomes) == backfilled(case, tmp_path)
    assert len({record.scope for day in outcomes for record in day.judged}) > 1
