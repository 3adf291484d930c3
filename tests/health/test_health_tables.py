"""Tables as samples: CSV files long and wide, NAB's among them, Parquet files; each bad row a reason at its place."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contract.cases import HEALTH_STREAM
from contract.harness import LOGS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opintel.detector import Decoded, Message
from opintel.finding import NS, parse_rfc3339
from opintel.health.pipeline import PIPELINE as HEALTH
from opintel.health.tables import TIMES, TableColumns
from opintel.health.wire import AS_THEY_LOOK, HealthWire
from opintel.streams.connectors.files import FileSource
from opintel.streams.connectors.framing import FileForms
from opintel.streams.feeds import file_feed
from opintel.streams.ingest import Ingester

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
T0 = parse_rfc3339("2014-04-01T00:00:00Z")
Said = list[tuple[str, int, float, bool] | str]


def messages_of(path: Path) -> list[Message]:
    return FileSource([path], FileForms(HEALTH.csv)).read(None, 100_000, final=True)[0]


def decode(path: Path) -> Decoded[Any]:
    return HealthWire().decode(messages_of(path))


def said(folder: Path, text: str | bytes, name: str = "cpu.csv") -> Said:
    """(key, time, value, missing) of each sample of a CSV file, or the reason, in order."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = decode(path)
    places = zip(found.message.tolist(), found.n.tolist(), strict=True)
    rows = ((r.key, r.time, r.payload.value, bool(r.payload.missing)) for r in found.rows.rows())
    told: dict[tuple[int, int], Any] = dict(zip(places, rows, strict=True))
    told |= {(r.message, n): r.reason for r in found.rejects for n in r.records}
    return [told[place] for place in sorted(told)]


def test_a_file_as_nab_has_it(tmp_path: Path) -> None:
    text = "timestamp,value\n2014-04-01 00:00:00,20.0\n2014-04-01 00:05:00,21.5\n"
    key = 'default|ec2_cpu_5f5533{file="ec2_cpu_5f5533.csv"}'
    assert said(tmp_path, text, "ec2_cpu_5f5533.csv") == [(key, T0, 20.0, False), (key, T0 + 300 * NS, 21.5, False)]


def test_real_nab_series_replay_whole(tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "health" / "nab"
    arrays = np.load(folder / "nab.npz")
    name = Path(json.loads((folder / "nab_windows.json").read_text())[0]["name"]).name
    times, values = arrays["ts_0"].astype(np.int64), arrays["v_0"].astype(float)
    written = io.StringIO(newline="")
    stamps = np.datetime_as_string(times.astype("datetime64[s]")).tolist()
    csv.writer(written).writerows(
        [("timestamp", "value"), *zip([s.replace("T", " ") for s in stamps], values.tolist(), strict=True)]
    )
    path = tmp_path / name
    path.write_text(written.getvalue())
    found = decode(path)
    assert not found.rejects
    assert found.rows.time.tolist() == (times * NS).tolist()
    assert found.rows.payload.value.tolist() == values.tolist()
    assert len(found.rows.key.values) == 1


def test_a_long_table(tmp_path: Path) -> None:
    text = "Time,name,host,Value,job,no te\n2014-04-01T00:00:00Z,up,a,1,n,\n1396310400,up,b,NaN,n,x y\n"
    assert said(tmp_path, text) == [
        ('n|up{host="a",job="n"}', T0, 1.0, False),
        ('n|up{host="b",job="n",no_te="x y"}', T0, 0.0, True),
    ]


def test_a_wide_table(tmp_path: Path) -> None:
    text = "cpu load [%],date,host,5 min,,mem\n1,2014-04-01,alpha,2.5,7,\n-,2014-04-01 00:01,beta,inf,7,1e3\n"
    minute = T0 + 60 * NS
    assert said(tmp_path, text, "a.csv") == [
        ('default|cpu_load{host="alpha"}', T0, 1.0, False),
        ('default|_5_min{host="alpha"}', T0, 2.5, False),
        ('default|_5_min{host="beta"}', minute, 0.0, True),
        ('default|mem{host="beta"}', minute, 1000.0, False),
    ]


@pytest.mark.parametrize("heading", [*TIMES, *(name.upper() for name in TIMES), " Timestamp "])
def test_the_column_of_times_has_one_of_a_few_names(tmp_path: Path, heading: str) -> None:
    [found] = said(tmp_path, f"load,{heading}\r\n1,2014-04-01\r\n")
    assert found == ('default|load{file="cpu.csv"}', T0, 1.0, False)


def test_the_first_of_the_names_of_times_counts(tmp_path: Path) -> None:
    [found] = said(tmp_path, "ts,value,timestamp\n5,1,2014-04-01\n")
    assert found == ('default|cpu{file="cpu.csv"}', T0, 1.0, False)


@pytest.mark.parametrize(
    "text",
    ["2014-04-01", "2014-04-01 00:00", "2014-04-01T00:00:00", "2014-04-01 00:00:00.000", "2014-04-01T02:00:00+02:00"],
)
def test_a_time_without_a_zone_is_utc(tmp_path: Path, text: str) -> None:
    [found] = said(tmp_path, f"time,value\n{text},1\n")
    assert found[1] == T0


ROWS = ["2014-04-01 00:00:00,1,a", "2014-04-01 00:01:00,2,b", "2014-04-01 00:02:00,3,a"]
"""Of `timestamp,value,host`."""


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2014-04-01 00:01:00,2", "expected 3 cells, as in the heading, got 2"),
        ("2014-04-01 00:01:00,2,b,c", "expected 3 cells, as in the heading, got 4"),
        ("2014-04-01 25:01:00,2,b", "timestamp: expected RFC 3339"),
        ("1914-04-01 00:01:00,2,b", "2000 to 2100"),
        (",2,b", "timestamp: expected RFC 3339"),
        ("2014-04-01 00:01:00,,b", "value: expected a number, got ''"),
        ("2014-04-01 00:01:00,12 MB,b", "value: expected a number"),
        ("2014-04-01 00:01:00," + "9" * 100 + ",b", "value: expected a number"),
        ('2014-04-01 00:01:00,2,"never closed', "expected a heading and a row of CSV"),
        ("2014-04-01 00:01:00,2,\x00", "has a NUL"),
        ("2014-04-01 00:01:00,2,\x07", "a printable text"),
        ("2014-04-01 00:01:00,2," + "x" * 2000, "at most 1024"),
        ("2014-04-01 00:01:00,2," + "x" * 200_000, "field larger than field limit"),
        (b"2014-04-01 00:01:00,2,\xff", "expected a table in UTF-8"),
    ],
)
def test_a_broken_row_in_the_middle_is_a_reason_at_its_place(tmp_path: Path, row: str | bytes, reason: str) -> None:
    lines = ["timestamp,value,host", *ROWS]
    fine = said(tmp_path, "\n".join(lines))
    path = tmp_path / "cpu.csv"
    broken = row if isinstance(row, bytes) else row.encode()
    path.write_bytes("\n".join(lines[:3]).encode() + b"\n" + broken + b"\n" + lines[3].encode() + b"\n")
    bus = LOGS["sqlite"](tmp_path)
    ingester = Ingester(bus, HEALTH_STREAM, HEALTH, HealthWire(), "s", live=False)
    feed = file_feed(lambda _: ingester, [path], final=True)
    while feed.step():
        pass
    [dead] = bus.asides(kind="dead")
    assert dead.place == "cpu.csv:3"
    assert reason in dead.reason
    assert ingester.taken == len(fine) == 3
    kept = said(tmp_path, path.read_bytes())
    assert [one for one in kept if not isinstance(one, str)] == fine


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b\n1,2\n", "expected a heading with one of timestamp, time, date, datetime, ts, got 'a,b'"),
        ("timestamp;value\n2014-04-01;2\n", "one of timestamp"),
        ("timestamp,a b,a-b\n2014-04-01,1,2\n", "a_b comes twice"),
        ("timestamp,value,file\n2014-04-01,1,x\n", "file comes twice"),
        ("timestamp,a\n2014-04-01,x\n", "no number beside its time"),
        ("timestamp\n2014-04-01\n", "no number beside its time"),
        ("timestamp," + "x" * 70_000 + "\n2014-04-01,1\n", "was cut"),
    ],
)
def test_a_heading_that_tells_no_series_is_a_reason(tmp_path: Path, text: str, reason: str) -> None:
    [found] = said(tmp_path, text)
    assert isinstance(found, str)
    assert reason in found


def test_a_name_that_cannot_be_one_is_a_reason(tmp_path: Path) -> None:
    [found] = said(tmp_path, "time,value\n2014-04-01,1\n", "°.csv")
    assert isinstance(found, str)
    assert "a metric's name" in found


@given(
    text=st.lists(st.sampled_from(["timestamp", "value", "2014-04-01", "1", ",", "\n", '"', "\r", "x", "\0"])),
    file=st.text(max_size=5),
)
@quick
def test_any_table_gives_rows_or_reasons(text: list[str], file: str) -> None:
    found = HealthWire().decode([Message("".join(text).encode(), file, 0, 0, "table")])
    assert len(found.rows) + len(found.rejects) > 0


def keys(folder: Path, text: str, columns: TableColumns = AS_THEY_LOOK) -> list[str]:
    """The series of a CSV file."""
    path = folder / "a.csv"
    path.write_text(text)
    found = HealthWire(columns=columns).decode(messages_of(path))
    assert not found.rejects
    return sorted(set(found.rows.key.tolist()))


def test_a_wide_table_of_one_machine_is_named_by_its_file_too(tmp_path: Path) -> None:
    text = "time,host,up,load\n2014-04-01,n1,-,1\n2014-04-02,n1,1,2\n"
    assert keys(tmp_path, text) == [f'default|{m}{{file="a.csv",host="n1"}}' for m in ("load", "up")]


def test_numbers_are_labels_where_rows_would_be_the_same_without_them(tmp_path: Path) -> None:
    rows = [f"2014-04-0{d},temp,{30 + d},192,{g}\n" for d in range(1, 4) for g in range(3)]
    long = "time,name,value,quality,gpu\n" + "".join(rows)
    assert keys(tmp_path, long) == [f'default|temp{{gpu="{g}"}}' for g in range(3)]
    wide = "time,shelf,slot,bytes\n" + "".join(
        f"{1396310400 + 60 * d},{a},{b},{100 * d}\n" for d in range(3) for a in range(2) for b in range(2)
    )
    assert keys(tmp_path, wide) == [f'default|bytes{{shelf="{a}",slot="{b}"}}' for a in range(2) for b in range(2)]
    apart = "time,name,value,quality,min,max\n2014-04-01,t,1,192,0,2\n2014-04-02,t,1,192,0,2\n"
    assert keys(tmp_path, apart) == ["default|t"]


def test_times_are_no_labels_and_blanks_do_not_make_a_column_one_of_texts(tmp_path: Path) -> None:
    text = "time,received,load,temp\n" + "".join(f"2014-04-0{d},2014-04-0{d} 01:00,n/a,{d}\n" for d in range(1, 5))
    assert keys(tmp_path, text + "2014-04-05,,7,\n") == [f'default|{m}{{file="a.csv"}}' for m in ("load", "temp")]


def test_a_stream_says_what_columns_hold(tmp_path: Path) -> None:
    text = "when,time,rack,host,load,note\n" + "".join(
        f"2014-04-0{d},2020-01-01,{n},h{n},{d},x{d}\n" for d in (1, 2) for n in (1, 2)
    )
    columns = TableColumns(labels=("Rack",), time="when", drop=("note", "host", "time"))
    assert keys(tmp_path, text, columns) == [f'default|load{{rack="{n}"}}' for n in (1, 2)]
    long = "time,name,value,max,min\n2014-04-01,t,1,2,0\n2014-04-02,t,1,2,0\n"
    assert keys(tmp_path, long, TableColumns(values=("max",))) == ["default|t", "default|t_max"]
    with pytest.raises(ValueError, match="got load in two"):
        TableColumns(labels=("load",), drop=("Load",))


def test_what_is_used_of_a_table_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,name,value,min,max\n2014-04-01,t,1,0,2\n")
    (tmp_path / "b.csv").write_text("time,max,\n2014-04-01,1,\n")
    found = HealthWire().decode(messages_of(tmp_path)).columns
    assert (sorted(found.used), sorted(found.dropped)) == (["max", "name", "time", "value"], ["min"])


def test_real_cases(shared_data: Path) -> None:
    cases = shared_data / "health" / "cases"
    drives = decode(cases / "backblaze_one_file.csv")
    assert len(set(drives.rows.key.tolist())) == 5 * 7
    assert not drives.rejects
    assert set(decode(cases / "historian_min_max.csv").rows.key.tolist()) == {"default|TT101"}


def samples(rows: int) -> pa.Table:
    host = pa.array([f"h{n % 3}" for n in range(rows)])
    time = pa.array([T0 + n * NS for n in range(rows)], pa.timestamp("ns", "UTC"))
    return pa.table({"timestamp": time, "value": np.arange(rows) / 2, "name": ["load"] * rows, "host": host})


@pytest.mark.parametrize("options", [{}, {"compression": "zstd"}, {"use_dictionary": False, "version": "1.0"}])
def test_parquet_gives_the_samples_that_are_in_it(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "a.parquet"
    table = samples(25_000)
    pq.write_table(table, path, row_group_size=11_000, **options)
    found = decode(path)
    assert not found.rejects
    assert found.rows.payload.value.tolist() == table["value"].to_pylist()
    assert (np.diff(found.rows.time) == NS).all()
    assert found.rows.key.tolist()[:2] == ['default|load{host="h0"}', 'default|load{host="h1"}']


def test_parquet_from_categories_and_with_wrong_columns(tmp_path: Path) -> None:
    table = samples(20)
    coded = table.set_column(3, "host", table["host"].dictionary_encode())
    pq.write_table(coded, tmp_path / "a.parquet")
    pq.write_table(table.drop(["value"]), tmp_path / "b.parquet")
    pq.write_table(table, tmp_path / "c.parquet")
    messages = messages_of(tmp_path)
    found = HealthWire().decode(messages)
    assert [(messages[r.message].file, r.reason[-15:]) for r in found.rejects] == [("b.parquet", "no column value")]
    assert [messages[m].file for m in found.message.tolist()] == ["a.parquet"] * 20 + ["c.parquet"] * 20


def test_damaged_parquet_is_a_dead_letter_with_its_name_and_other_files_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    pq.write_table(samples(3000), folder / "a.parquet")
    whole = (folder / "a.parquet").read_bytes()
    (folder / "b.parquet").write_bytes(b"PAR1 garbage PAR1")
    (folder / "c.parquet").write_bytes(whole[: len(whole) // 2])
    (folder / "d.csv").write_text("time,value\n2014-04-01,1\n")
    bus = LOGS["sqlite"](tmp_path)
    ingester = Ingester(bus, HEALTH_STREAM, HEALTH, HealthWire(), "s", live=False)
    feed = file_feed(lambda _: ingester, [folder], final=True)
    while feed.step():
        pass
    dead = list(bus.asides(kind="dead"))
    assert sorted(one.place for one in dead) == ["b.parquet:1", "c.parquet:1"]
    assert all("no Parquet file that can be read" in one.reason for one in dead)
    assert ingester.taken == 3001
