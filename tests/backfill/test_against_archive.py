"""What an archive holds of findings and settings, as a what-if reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from decisions import PIPELINE, START, finding, said

from opintel.backfill.archived_findings import archived_findings
from opintel.backfill.what_if import archived_settings, changed_settings, read_settings
from opintel.finding import NS
from opintel.streams.archive.archiver import Archiver, of_findings, of_raw
from opintel.streams.archive.copies import ArtefactCopies
from opintel.streams.archive.reader import Archive, ArchiveError
from opintel.streams.archive.store import ArchiveStore
from opintel.streams.artefacts import Artefacts
from opintel.streams.findings import Found, encode
from opintel.streams.log import Entry
from opintel.streams.log_sqlite import SqliteLog
from opintel.streams.records import Codec, Control
from opintel.streams.stream import FINDINGS, Stream

STREAM = Stream("fts", "fts.transfers", partitions=1)


def archived(folder: Path, topic: str, values: Sequence[bytes]) -> Archive:
    """An archive of a topic of one partition with these records."""
    bus, store = SqliteLog(folder / "log.db"), ArchiveStore(str(folder / "archive"))
    there = bus.create(topic, 1)
    bus.append([Entry(topic, 0, value) for value in values])
    date = of_findings({"fts": STREAM}) if topic == FINDINGS else of_raw(STREAM)
    one = Archiver(bus, there, 0, store, date, ArtefactCopies(store, Artefacts([])), final=True)
    while one.step():
        pass
    bus.close()
    return Archive(str(folder / "archive"))


def test_findings_of_the_stream_come_once_and_what_is_none_is_counted(tmp_path: Path) -> None:
    records = said([finding(1), finding(2)], 4)[0]
    again = msgspec.structs.replace(finding(1), summary="said otherwise")
    values = [encode(record) for record in records]
    values += [b"garbage", encode(Found("other", finding(3))), encode(Found("fts", again)), values[0]]
    found = archived_findings(archived(tmp_path, FINDINGS, values), "fts")
    assert found.records == records
    assert found.unread == 1


def test_an_archive_without_findings_says_so(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"no file of topic 'opintel.findings'; its topics: fts.transfers"):
        archived_findings(archived(tmp_path, "fts.transfers", [b"x"]), "fts")


def test_a_setting_was_what_its_archived_controls_say(tmp_path: Path) -> None:
    """Where they leave it out, what is shipped; what the detectors refuse holds nowhere."""
    codec, settings = Codec[Control](Control), [{}, {"fts.failures": {"emit": -5}}, {"fts.failures": {"no.such": 1}}]
    controls = [Control(f"c{n}", "settings", "fts", n, 0, value, START) for n, value in enumerate([*settings, {}])]
    controls.append(Control("o", "settings", "other", 1, 0, {"fts.failures": {"emit": -6}}, START))
    archive = archived(tmp_path, "fts.transfers", [codec.encode(control) for control in controls])
    found = archived_settings(archive, archive.epochs("fts.transfers"), "fts", None)
    assert found == settings
    assert archived_settings(archive, archive.epochs("fts.transfers"), "fts", -86_400 * NS) == []
    [changed] = changed_settings(read_settings(["detectors.fts.failures.emit=-9"], PIPELINE), found, PIPELINE)
    assert (changed.name, changed.was, changed.now) == ("detectors.fts.failures.emit", [-4.0, -5.0], -9)
