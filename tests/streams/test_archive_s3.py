"""An archive in a bucket: written by two, read by a backfill whose outcomes lie there too; a server that is away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from buckets import Store
from buckets import store as store
from contract.archived import DAYS, archivers, small_files
from contract.harness import LOGS, drain, feed, outcome, workers

from opintel.backfill.local import backfill
from opintel.backfill.outcomes import Outcomes
from opintel.backfill.stages import Job
from opintel.finding import finding_json
from opintel.streams.archive.found import archive_of
from opintel.streams.archive.reader import Archive, ArchiveError
from opintel.streams.archive.store import ArchiveStore, ArchiveUnavailable
from opintel.streams.artefacts import Artefacts

URL = "s3://states/archive"


def test_an_archive_in_a_bucket_and_a_backfill_from_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_files(monkeypatch.setattr)
    case = replace(DAYS, messages=lambda: DAYS.messages()[:100])
    bus = LOGS["sqlite"](tmp_path)
    for n, _ in enumerate(feed(bus, case)):
        if n in (30, 60):
            drain(archivers(bus, URL, case))  # type: ignore[arg-type]
    drain(workers(bus, case, tmp_path))
    live = outcome(bus, case)
    drain([*archivers(bus, URL, case), *archivers(bus, URL, case)])  # type: ignore[arg-type]
    (topic,) = Archive(URL).epochs(case.stream.topic)
    for p, pieces in enumerate(topic.pieces):
        records = [r for piece in pieces for group in Archive(URL).read(piece) for r in group]
        assert records == bus.read(case.stream.topic, p, 0, 10**6)
    names = {file.name for file in ArchiveStore(URL).files()}
    assert len(names) == sum(map(len, topic.pieces))  # short files are gone
    bus.close()
    job = Job(case.stream, case.pipeline, Artefacts([f"{URL}/_artefacts"]))
    for _ in range(2):
        days = list(backfill(job, Archive(URL), Outcomes("s3://states/out", "toy")))
        found = [finding_json(finding) | {"origin": "live"} for day in days for finding in day.findings]
        assert {finding["id"]: finding for finding in found} == live.findings
    assert store.files().exists("states/out/toy/_days")


def test_a_bucket_that_is_away_is_said_so_without_its_password(store: Store) -> None:
    with pytest.raises(ArchiveUnavailable, match="no-such-bucket") as said:
        ArchiveStore("s3://no-such-bucket/archive").put_artefact("0" * 64, b"data")
    assert "secret" not in str(said.value)
    with pytest.raises(ArchiveError, match="s3://states/nothing: no archive of a log is there"):
        archive_of(["s3://states/nothing"], [])
