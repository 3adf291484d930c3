"""The log's contract, for each of its forms."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from contract.harness import MakeLog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored import read

from opintel.streams.log import Aside, Entry, Log, LogError
from opintel.streams.log_sqlite import SqliteLog
from opintel.streams.trimming import PIECE_BYTES, PIECE_ROWS


def test_what_is_appended_is_read_in_order_from_any_position(make_log: MakeLog, tmp_path: Path) -> None:
    log = make_log(tmp_path)
    log.create("t", 3)
    entries = [Entry("t", n % 3, b"%d" % n) for n in range(100)]
    for n in range(0, 100, 7):
        log.append(entries[n : n + 7])
    for p in range(3):
        values = [e.value for e in entries if e.partition == p]
        assert log.end("t", p) == len(values)
        for position in (0, 5, len(values) - 1, len(values)):
            assert read(log, "t", p, position, 10) == list(enumerate(values))[position : position + 10]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=20)), max_size=5), max_size=8))
def test_batches_do_not_matter(make_log: MakeLog, tmp_path_factory: pytest.TempPathFactory, batches: list) -> None:
    one, many = (make_log(tmp_path_factory.mktemp("log")) for _ in range(2))
    for log in (one, many):
        log.create("t", 3)
    for batch in batches:
        many.append([Entry("t", p, v) for p, v in batch])
    one.append([Entry("t", p, v) for batch in batches for p, v in batch])
    for p in range(3):
        assert read(one, "t", p, 0, 1000) == read(many, "t", p, 0, 1000)


def test_appends_survive_reopening_and_the_epoch_stays(make_log: MakeLog, tmp_path: Path) -> None:
    log = make_log(tmp_path)
    epoch = log.create("t", 1).epoch
    log.append([Entry("t", 0, b"x")])
    log.close()
    again = make_log(tmp_path)
    assert again.create("t", 1).epoch == epoch
    assert read(again, "t", 0, 0, 10) == [(0, b"x")]


def test_the_number_of_partitions_is_fixed(make_log: MakeLog, tmp_path: Path) -> None:
    log = make_log(tmp_path)
    log.create("t", 2)
    with pytest.raises(LogError, match="has 2 partitions, 3 are asked for"):
        log.create("t", 3)
    with pytest.raises(LogError, match="partitions 0 to 1"):
        log.append([Entry("t", 2, b"")])
    with pytest.raises(LogError, match="no topic"):
        read(log, "nowhere", 0, 0, 1)


def test_a_failed_append_leaves_nothing(make_log: MakeLog, tmp_path: Path) -> None:
    log = make_log(tmp_path)
    log.create("t", 1)
    with pytest.raises(LogError):
        log.append([Entry("t", 0, b"a"), Entry("t", 5, b"b")])
    log.append([Entry("t", 0, b"c")])
    assert read(log, "t", 0, 0, 10) == [(0, b"c")]


def test_retention_moves_the_start_and_keeps_positions(make_log: MakeLog, tmp_path: Path) -> None:
    log = make_log(tmp_path)
    log.create("t", 2)
    log.append([Entry("t", p, b"old") for p in (0, 0, 1)])
    time.sleep(0.002)  # Kafka tells times to the millisecond
    cut = time.time_ns()
    log.append([Entry("t", 0, b"new")])
    assert log.trim("t", cut) == 3
    assert (log.start("t", 0), log.end("t", 0)) == (2, 3)
    assert (log.start("t", 1), log.end("t", 1)) == (1, 1)
    assert read(log, "t", 0, 0, 10) == [(2, b"new")]
    log.append([Entry("t", 1, b"next")])
    assert read(log, "t", 1, 0, 10) == [(1, b"next")]
    assert log.trim("t", cut) == 0


def trimmed(log: Log, topic: str, older_than: int, most_bytes: int | None = None) -> list[int]:
    """Records of each piece."""
    return list(iter(lambda: log.trim(topic, older_than, most_bytes), 0))


def test_trim_drops_pieces_between_which_others_append(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    log.create("t", 2)
    value = bytes(PIECE_BYTES // 4)
    log.append([Entry("t", n % 2, value) for n in range(19)])
    cut = time.time_ns()
    assert 0 < log.trim("t", cut) < 19
    other = SqliteLog(tmp_path / "log.db")
    other.append([Entry("t", 0, b"new")])
    assert len(trimmed(log, "t", cut)) > 1
    assert [read(log, "t", p, 0, 100) for p in range(2)] == [[(10, b"new")], []]
    assert [(log.start("t", p), log.end("t", p)) for p in range(2)] == [(10, 11), (9, 9)]
    SqliteLog(tmp_path / "log.db")  # it is sound


def test_small_records_are_dropped_in_pieces_too(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    log.create("t", 1)
    log.append([Entry("t", 0, b"x")] * (PIECE_ROWS + 5))
    assert trimmed(log, "t", time.time_ns()) == [PIECE_ROWS, 5]


def test_the_newest_bytes_are_kept_whoever_counts(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    log.create("t", 2)

    def held() -> list[int]:
        return [sum(len(value) for _, value in read(log, "t", p, 0, 10_000)) for p in range(2)]

    log.append([Entry("t", 0, bytes(100))] * 70 + [Entry("t", 1, bytes(100))] * 3)
    assert trimmed(log, "t", 0, 10_000) == [20]
    assert held() == [5000, 300]
    assert trimmed(log, "t", 0, 10_000) == []
    log.append([Entry("t", 0, bytes(1000))] * 2)
    SqliteLog(tmp_path / "log.db").trim("t", 0, 10_000)  # of another process
    assert held() == [5000, 300]
    cut = time.time_ns()
    log.append([Entry("t", 0, bytes(1000))] * 3)
    assert log.trim("t", cut) == 32 + 3, "by age alone"
    log.append([Entry("t", 0, bytes(1000))] * 2)
    assert held() == [5000, 0]
    assert trimmed(log, "t", 0, 8000) == [1]
    assert held() == [4000, 0]
    assert log.trim("t", time.time_ns(), 10_000) > 0
    assert held() == [0, 0]


def test_asides_are_dropped_by_age_and_still_counted(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    late = [Aside("late", "t", 0, n, 0, "its window was closed", count=2) for n in range(PIECE_ROWS + 10)]
    log.put_asides(late)
    log.put_asides([Aside("late", "other", 0, 0, 0, "its window was closed")])
    cut = time.time_ns()
    newer = [Aside("late", "t", 1, 0, 0, "its window was closed"), late[7]]
    log.put_asides(newer)
    assert list(iter(lambda: log.trim_asides("t", cut), 0)) == [PIECE_ROWS, 9]
    assert log.asides("t") == newer[::-1]
    assert len(log.asides("other")) == 1
    assert log.aside_counts() == {("t", "late"): 2 * len(late) + 1, ("other", "late"): 1}


def test_asides_are_upserted_by_their_place(make_log: MakeLog, tmp_path: Path) -> None:
    log = make_log(tmp_path)
    for reason in ("first", "second"):
        log.put_asides([Aside("dead", "t", 0, 5, n, reason, "f:1", b"\xff") for n in (1, 0)])
    log.put_asides([Aside("late", "t", 0, 5, 0, "late")])
    assert [(a.kind, a.row, a.reason, a.excerpt) for a in log.asides("t")] == [
        ("dead", 0, "second", b"\xff"),
        ("dead", 1, "second", b"\xff"),
        ("late", 0, "late", b""),
    ]
    assert log.aside_counts() == {("t", "dead"): 2, ("t", "late"): 1}
    assert log.asides(kind="late")[0].place == ""


def test_an_aside_counts_the_rows_that_it_stands_for(make_log: MakeLog, tmp_path: Path) -> None:
    log = make_log(tmp_path)
    many = Aside("late", "t", 0, 5, 3, "its window was closed", "rows 3, 4, 7", count=100_000)
    log.put_asides([many, Aside("late", "t", 0, 6, 0, "its window was closed"), many])
    assert log.asides("t")[0] == many
    assert log.aside_counts() == {("t", "late"): 100_001}


EARLIER_ASIDES = (
    "create table if not exists aside (kind text, topic text, partition integer, position integer, line integer,"
    " reason text, place text, excerpt blob, primary key (kind, topic, partition, position, line)) without rowid"
)
"""As builds made it before asides had a count, which put and asked for all columns."""


def test_builds_from_before_counts_share_a_file_with_this_one(tmp_path: Path) -> None:
    SqliteLog(tmp_path / "log.db").close()
    earlier = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    earlier.executescript("drop view aside; drop table set_aside; drop table aside_dropped;" + EARLIER_ASIDES)
    put = "insert or replace into aside values ('dead', 't', 0, ?, 0, 'no JSON', 'f:1', x'ff')"
    earlier.execute(put, (1,))
    log = SqliteLog(tmp_path / "log.db")
    log.put_asides([Aside("dead", "t", 0, 2, 0, "no JSON", "f:2", count=10)])
    earlier.executescript(EARLIER_ASIDES)
    earlier.executemany(put, [(3,), (3,)])
    assert [row[3] for row in earlier.execute("select * from aside")] == [1, 2, 3]
    assert log.asides()[0] == Aside("dead", "t", 0, 1, 0, "no JSON", "f:1", b"\xff")
    assert log.aside_counts() == {("t", "dead"): 12}
    earlier.close()
    log.close()
    assert len(SqliteLog(tmp_path / "log.db").asides()) == 3


def test_offsets_are_noted(make_log: MakeLog, tmp_path: Path) -> None:
    log = make_log(tmp_path)
    log.create("t", 1)
    log.commit("stage1", "t", 0, 5)
    log.commit("stage1", "t", 0, 9)
    assert log.committed() == {("stage1", "t", 0): 9}


def test_several_processes_append_at_once(make_log: MakeLog, tmp_path: Path) -> None:
    log = make_log(tmp_path)
    log.create("t", 1)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from contract.harness import LOGS\n"
        "from opintel.streams.log import Entry\n"
        "log = LOGS[sys.argv[2]](Path(sys.argv[3]))\n"
        "for n in range(50): log.append([Entry('t', 0, f'{sys.argv[4]}-{n}'.encode())])\n"
    )
    tests = str(Path(__file__).resolve().parents[1])
    children = [
        subprocess.Popen([sys.executable, "-c", script, tests, make_log.form, str(tmp_path), who]) for who in ("a", "b")
    ]
    assert [child.wait(60) for child in children] == [0, 0]
    values = [v for _, v in read(log, "t", 0, 0, 1000)]
    for who in (b"a", b"b"):
        assert [v for v in values if v.startswith(who)] == [b"%s-%d" % (who, n) for n in range(50)]


def test_a_foreign_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(LogError, match=r"log\.db: not an opintel log"):
        SqliteLog(tmp_path / "log.db")
