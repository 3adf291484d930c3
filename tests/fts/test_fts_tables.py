"""CSV files on the FTS wire: whole records, and texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from opintel.finding import NS
from opintel.fts.pipeline import PIPELINE
from opintel.fts.wire import FtsWire
from opintel.streams.connectors.files import FileSource
from opintel.streams.connectors.framing import FileForms

HEADING = "_id,src_hostname,dst_hostname,endpnt,tr_timestamp_complete,t_final_transfer_state_flag,t__error_message,x"
RECORD = 'm1,a.example.org,b.example.org,fts.example.net,1704067200000,0,"TRANSFER [5] no, really",y'


@pytest.mark.parametrize("nested", [False, True])
def test_a_csv_file_of_whole_records_is_read_as_such(tmp_path: Path, nested: bool) -> None:
    heading = HEADING
    if nested:
        names = [f"_source.{'metadata' if n == '_id' else 'data'}.{n}" for n in HEADING.split(",")]
        heading = ",".join(names)
    path = tmp_path / "a.csv"
    path.write_text(f"{heading}\n{RECORD}\n{RECORD.replace('b.example.org', '')}\n{RECORD},z\n")
    messages = FileSource([path], FileForms(PIPELINE.csv)).read(None, 10, final=True)[0]
    found = FtsWire().decode(messages)
    [row] = found.rows.rows()
    assert row.key == "fts.example.net|a.example.org|b.example.org"
    assert row.time == 1704067200 * NS
    assert row.payload.error == "TRANSFER [5] no, really"
    assert [(r.message, r.reason[:19]) for r in found.rejects] == [
        (1, "no destination host"),
        (2, "expected 8 cells, a"),
    ]
    dropped = {heading.split(",")[-1]}
    assert found.columns.dropped == dropped
    assert len(found.columns.used) == 7


@pytest.mark.parametrize("first", ["2026-01-01T00:00:00Z", "2026-01-01 00:00:00.5", "1767225600", "-1.5e3"])
def test_a_csv_file_of_measurements_is_refused_as_a_whole_with_its_columns(tmp_path: Path, first: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("timestamp, host,value\n" + f"{first},a,1\n" * 9)
    [message] = FileSource([path], FileForms(PIPELINE.csv)).read(None, 10, final=True)[0]
    assert message.form == "refused"
    assert message.body.decode().endswith("got the columns 'timestamp', 'host', 'value', the first of numbers or times")


@pytest.mark.parametrize("text", ["TRANSFER [5] no", "connection timed out after 30 s"])
def test_texts_need_no_heading_of_theirs(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("error,n\n" + f'"{text}",1\n' * 3 + "110,1\n")
    messages = FileSource([path], FileForms(PIPELINE.csv)).read(None, 10, final=True)[0]
    assert [message.form for message in messages] == ["text"] * 4


def test_a_csv_file_of_texts_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,message,src_hostname\n1,one,a\n")
    [message] = FileSource([path], FileForms(PIPELINE.csv)).read(None, 10, final=True)[0]
    assert (message.body, message.form) == (b"one", "text")
    assert message.table is not None
    assert (message.table.used, message.table.dropped) == (("message",), ("id", "src_hostname"))
