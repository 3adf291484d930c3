"""Files as a source: framing by suffix, exact resumption, growing and late files, bad bytes among good ones."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import tracemalloc
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opintel.detector import Message
from opintel.streams.connectors import MAX_BODY, framing, lines
from opintel.streams.connectors.csv_rows import MAX_HEADING
from opintel.streams.connectors.files import MAX_FILES, FilePosition, FileSource, is_further, position_of
from opintel.streams.connectors.framing import FileForms

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read_all(source: FileSource, limit: int = 1000, position: FilePosition | None = None) -> list[Message]:
    out: list[Message] = []
    while True:
        messages, position = source.read(position, limit, final=True)
        assert len(messages) <= limit
        if not messages:
            return out
        out += messages


def bodies(path: Path) -> list[bytes]:
    return [m.body for m in read_all(FileSource([path]))]


def file(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_every_line_of_jsonl_is_a_message(tmp_path: Path) -> None:
    path = file(tmp_path, "a.jsonl", b'{"a":1}\n\n\xff\xfe\x00bad\r\n[]\nlast')
    messages = read_all(FileSource([path]))
    assert [m.body for m in messages] == [b'{"a":1}', b"", b"\xff\xfe\x00bad\r", b"[]", b"last"]
    assert [(m.file, m.row, m.index, m.form) for m in messages] == [("a.jsonl", i, i, "json") for i in range(5)]


def test_json_is_one_message(tmp_path: Path) -> None:
    text = json.dumps([{"a": 1}, {"b": 2}], indent=2).encode()
    assert bodies(file(tmp_path, "a.json", text)) == [text]


def test_txt_is_a_text_a_line(tmp_path: Path) -> None:
    messages = read_all(FileSource([file(tmp_path, "a.txt", b"one\r\ntwo\n\nfour")]))
    assert [(m.body, m.form) for m in messages] == [(b, "text") for b in (b"one", b"two", b"", b"four")]


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        (b"id,message", b'1,"a, ""b"""', b'a, "b"'),
        (b"Content ,id", b"text,1", b"text"),
        (b"\xef\xbb\xbfmessage,id", b"text,1", b"text"),
        (b"time,text", b"noon,text", b"noon"),
        (b"id,message", b"1", b""),
        (b"id,message", b'1,"two\nlines"', b"two\nlines"),
        (b"id,message", b"1,a\x00b", b"a\x00b"),
        (b"id,message", b"1,\xff\xfe", b"\xff\xfe"),
        (b"id,message", b'1,say "hi"', b'say "hi"'),
    ],
)
def test_csv_rows(tmp_path: Path, header: bytes, row: bytes, expected: bytes) -> None:
    path = file(tmp_path, "a.csv", header + b"\r\n" + row + b"\n\n" + b"9,9\n")
    messages = read_all(FileSource([path]))
    assert messages[0].body == expected
    assert [(m.row, m.form) for m in messages] == [(0, "text"), (1, "text")]


def tables(path: Path) -> list[bytes]:
    messages = read_all(FileSource([path], FileForms("table")))
    assert [(m.row, m.form) for m in messages] == [(n, "table") for n in range(len(messages))]
    return [m.body for m in messages]


def test_a_csv_row_may_come_with_its_heading(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbftime,"a ""b"""\r\n1,x\r\n\r\n2,"two\nlines"\n3\n4,"never closed\n5,\xff\x00'
    heading = b'time,"a ""b"""\r\n'
    rows = [b"1,x\r", b'2,"two\nlines"', b"3", b'4,"never closed', b"5,\xff\x00"]
    assert tables(file(tmp_path, "a.csv", content)) == [heading + row for row in rows]


def test_a_heading_too_long_to_come_with_every_row_is_cut(tmp_path: Path) -> None:
    found = tables(file(tmp_path, "a.csv", b"a" * (MAX_HEADING + 1) + b"\n1\n2\n"))
    assert found == [b"a" * MAX_HEADING + b"\x00\n" + row for row in (b"1", b"2")]


def test_a_table_that_is_a_heading_has_no_messages(tmp_path: Path) -> None:
    assert tables(file(tmp_path, "a.csv", b"time,value\n\n")) == []


def test_a_quote_never_closed_costs_one_row(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", b'id,message\n1,good\n2,"never closed\n3,also good\n4,fine\n')
    assert bodies(path) == [b"good", b'2,"never closed', b"also good", b"fine"]


def test_a_quote_closed_too_far_away_costs_one_row(tmp_path: Path) -> None:
    filler = b"3,line\n" * (MAX_BODY // 7 + 1)
    path = file(tmp_path, "a.csv", b'id,message\n2,"open\n' + filler + b'4,"fine"\n')
    out = bodies(path)
    assert out[0] == b'2,"open'
    assert out[-1] == b"fine"
    assert len(out) == 2 + len(filler) // 7


class Counted(io.BytesIO):
    """Counts the lines that are read of it."""

    lines = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        self.lines += 1
        return super().readline(-1 if size is None else size)


@pytest.mark.parametrize("last", [b"", b"a\rb\n", b'x"\n'], ids=["open", "no CSV", "closed"])
def test_lines_that_each_open_a_quote_are_read_a_few_times(last: bytes) -> None:
    """Read alone or behind another one, each of them leaves a quote open."""
    rows = 5000
    content = b"id,message\n" + b'"a","b\n' * rows + last
    opened = Counted(content)
    found = [frame.body for frame in framing.frames(opened, ".csv", framing.ANY_DOMAIN, 0, len(content), True)]
    assert opened.lines < 5 * rows
    assert found[:rows] == ([b'b\na"'] if last == b'x"\n' else [b'"a","b'] * rows)


@given(cells=st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), max_size=12))
@quick
def test_csv_written_by_a_csv_writer_comes_back(tmp_path: Path, cells: list[str]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("id", "message"), *((str(n), cell) for n, cell in enumerate(cells))])
    assert bodies(file(tmp_path, "a.csv", text.getvalue().encode())) == [cell.encode() for cell in cells]


@given(
    content=st.lists(st.sampled_from([b"a", b'"', b"\n", b",", b"\r", b"\x00", b"{}", b"\xff"]), max_size=60),
    suffix=st.sampled_from(["jsonl", "csv", "txt", "json"]),
    limits=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    form=st.sampled_from(["text", "table"]),
)
@quick
def test_any_split_into_reads_gives_the_same(
    tmp_path: Path, content: list[bytes], suffix: str, limits: list[int], form: str
) -> None:
    for old in tmp_path.iterdir():
        old.unlink()
    path = file(tmp_path, f"a.{suffix}", b"".join(content))
    file(tmp_path, "b.jsonl", b"1\n2\n3")
    source = FileSource([tmp_path], FileForms(form))
    whole = read_all(source)
    out: list[Message] = []
    position: FilePosition | None = None
    for turn in range(1000):
        before = position
        # a position survives the log as plain data, and another process reads on from it
        plain = msgspec.msgpack.decode(msgspec.msgpack.encode(before))
        again = FileSource([tmp_path], FileForms(form))
        messages, position = again.read(position_of(plain), limits[turn % len(limits)], final=True)
        assert source.between(before, position) == messages
        out += messages
        if not messages:
            break
    assert out == whole
    assert source.at_end(position, final=True)
    assert [m.index for m in out] == list(range(len(out)))
    if suffix in ("jsonl", "txt"):
        lines = path.read_bytes().split(b"\n")
        assert sum(m.file == path.name for m in out) == len(lines) - (lines[-1] == b"")


def test_folders_are_read_by_name_and_the_simulators_messages_folder_is_meant(tmp_path: Path) -> None:
    inside = tmp_path / "messages"
    inside.mkdir()
    for name in ("b.jsonl", "a.jsonl", ".hidden.jsonl", "notes.md"):
        file(inside, name, name.encode() + b"\n")
    file(tmp_path, "truth.json", b"{}")
    assert bodies(tmp_path) == [b"a.jsonl", b"b.jsonl"]


def test_files_of_one_name_stay_apart(tmp_path: Path) -> None:
    paths = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        paths.append(file(tmp_path / folder, "a.txt", folder.encode() + b"\n"))
    messages = read_all(FileSource(paths))
    assert len({(m.file, m.row) for m in messages}) == 2


def test_a_growing_file_gives_whole_lines_only(tmp_path: Path) -> None:
    path = file(tmp_path, "a.jsonl", b"1\n2")
    source = FileSource([tmp_path])
    first, position = source.read(None, 10)
    assert [m.body for m in first] == [b"1"]
    assert source.at_end(position)
    with path.open("ab") as end:
        end.write(b"2\n3")
    more, position = source.read(position, 10)
    assert [(m.body, m.row, m.index) for m in more] == [(b"22", 1, 1)]
    last, position = source.read(position, 10, final=True)
    assert [m.body for m in last] == [b"3"]
    assert source.progress(position) == (6, 6)


def test_a_growing_csv_row_waits_for_its_quote(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", b'message\n"one\n')
    source = FileSource([path])
    first, position = source.read(None, 10)
    assert first == []
    with path.open("ab") as end:
        end.write(b'two"\n')
    assert [m.body for m in source.read(position, 10)[0]] == [b"one\ntwo"]


def test_a_grown_json_file_is_read_again_whole(tmp_path: Path) -> None:
    path = file(tmp_path, "a.json", b'{"half"')
    source = FileSource([path])
    _, position = source.read(None, 10)
    assert source.at_end(position)
    path.write_bytes(b'{"half": 2}')
    again, position = source.read(position, 10)
    assert [(m.body, m.row) for m in again] == [(b'{"half": 2}', 1)]


def test_a_file_that_comes_late_under_an_earlier_name_is_read(tmp_path: Path) -> None:
    file(tmp_path, "b.txt", b"b1\nb2\n")
    source = FileSource([tmp_path])
    _, position = source.read(None, 1)
    file(tmp_path, "a.txt", b"a1\n")
    more, position = source.read(position, 10)
    assert [(m.body, m.index) for m in more] == [(b"a1", 1), (b"b2", 2)]
    assert source.at_end(position)


def test_a_read_chunk_can_be_read_again_though_files_grew_and_came(tmp_path: Path) -> None:
    path = file(tmp_path, "b.txt", b"1\n2\n3\n")
    source = FileSource([tmp_path])
    _, before = source.read(None, 1)
    chunk, after = source.read(before, 10)
    with path.open("ab") as end:
        end.write(b"4\n")
    file(tmp_path, "a.txt", b"a1\n")
    assert source.between(before, after) == chunk
    assert [m.body for m in source.read(after, 10)[0]] == [b"a1", b"4"]


def test_vanished_files_leave_the_position(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        file(tmp_path, name, b"1\n")
    source = FileSource([tmp_path])
    _, position = source.read(None, 10)
    assert set(position.others) == {"a.txt", "b.txt"}
    (tmp_path / "a.txt").unlink()
    nothing, position = source.read(position, 10)
    assert nothing == []
    assert set(position.others) == {"b.txt"}


def test_a_truncated_file_is_read_again_with_new_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = file(tmp_path, "a.txt", b"old1\nold2\n")
    source = FileSource([path])
    _, position = source.read(None, 10)
    path.write_bytes(b"new\n")
    with caplog.at_level(logging.WARNING):
        messages, _ = source.read(position, 10)
    assert [(m.body, m.row) for m in messages] == [(b"new", 2)]
    assert "became shorter" in caplog.text


def test_overlong_lines_are_cut_and_cannot_be_taken_for_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as out:
        out.write(b"{}" + b" " * (MAX_BODY - 2) + b"\n")
        out.write(b"{}" + b" " * (MAX_BODY - 1) + b"\n")
        for _ in range(40):
            out.write(b"x" * (1 << 20))
        out.write(b"\n{}\n")
    tracemalloc.start()
    source = FileSource([path])
    lengths, position = [], None
    while messages := source.read(position, 1)[0]:
        position = source.read(position, 1)[1]
        lengths.append(len(messages[0].body))
        last = messages[0].body
        if len(last) > MAX_BODY:
            with pytest.raises(msgspec.DecodeError):
                msgspec.json.decode(last)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert lengths == [MAX_BODY, MAX_BODY + 1, MAX_BODY + 1, 2]
    assert peak < 12 * MAX_BODY


def test_a_read_ends_before_it_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opintel.streams.connectors.files.MAX_CHUNK", 25)
    source = FileSource([file(tmp_path, "a.txt", b"0123456789\n" * 9)])
    assert len(source.read(None, 100)[0]) == 3
    assert len(read_all(source)) == 9


def test_mistakes_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv: no such file or folder"):
        FileSource([tmp_path / "nowhere.csv"])
    with pytest.raises(ValueError, match=r"a\.log: expected one of \.jsonl.*, got '\.log'"):
        FileSource([file(tmp_path, "a.log", b"x")])
    empty = file(tmp_path, "a.csv", b"")
    with pytest.raises(ValueError, match=r"a\.csv: the file is empty"):
        FileSource([empty]).require_content()
    (tmp_path / "none" / "messages").mkdir(parents=True)
    nothing = FileSource([tmp_path / "none"])
    assert read_all(nothing) == []
    with pytest.raises(ValueError, match="no file with messages"):
        nothing.require_content()


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    for n in range(MAX_FILES + 1):
        (tmp_path / f"{n}.txt").touch()
    with pytest.raises(ValueError, match=f"at most {MAX_FILES}"):
        FileSource([tmp_path])


def test_real_files(shared_data: Path) -> None:
    counts = {
        name: len(read_all(FileSource([shared_data / "fts" / name])))
        for name in ("fts_10k_messages.csv", "monit_fts_example_2020.jsonl", "monit_fts_example_2017_ok.json")
    }
    assert counts == {
        "fts_10k_messages.csv": 10_000,
        "monit_fts_example_2020.jsonl": 2,
        "monit_fts_example_2017_ok.json": 1,
    }


def test_a_file_given_twice_or_with_its_folder_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"x\n" * 1200)
    source = FileSource([file, tmp_path, file])
    position, total = None, 0
    for _ in range(10):
        messages, position = source.read(position, 500, final=True)
        total += len(messages)
    assert total == 1200


def test_a_name_that_is_not_utf8_is_shown_escaped(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff\xfe.jsonl")).write_bytes(b"x\n")
    [message], _ = FileSource([tmp_path]).read(None, 5)
    assert message.file == "\\xff\\xfe.jsonl"


@pytest.mark.parametrize("suffix", [".jsonl", ".txt", ".csv"])
def test_a_line_that_does_not_end_is_cut_once_and_what_follows_is_read(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 3 * MAX_BODY)
    monkeypatch.setattr(lines, "SCAN", MAX_BODY)
    heading = b"message\n" if suffix == ".csv" else b""
    grown = file(tmp_path, f"a{suffix}", heading + b"first\n" + b"x" * (2 * MAX_BODY))
    file(tmp_path, f"b{suffix}", heading + b"other\n")
    source = FileSource([tmp_path])
    found, position = source.read(None, 100)
    assert [m.body for m in found] == [b"first", b"other"]
    told, steps = [], []
    for _ in range(9):
        with grown.open("ab") as more:
            more.write(b"x" * MAX_BODY)
        before = position
        found, position = source.read(position, 100)
        steps.append(is_further(before, position))
        again = [m.body for m in source.between(before, position)]
        assert again == [m.body for m in found]
        told += again
    assert told == [b"x" * MAX_BODY + b"\x00"]
    assert all(steps)
    with grown.open("ab") as more:
        more.write(b"x\nlast\n")
    found, position = source.read(position, 100)
    assert [m.body for m in found] == [b"last"]
    whole = read_all_of(FileSource([tmp_path]))
    assert [len(m.body) for m in whole] == [5, MAX_BODY + 1, 5, 4]


def read_all_of(source: FileSource) -> list[Message]:
    """As `replay` reads: on where there are no messages, as long as it comes further."""
    out: list[Message] = []
    position: FilePosition | None = None
    while True:
        messages, after = source.read(position, 1000, final=True)
        if not messages and not is_further(position, after):
            return out
        out, position = out + messages, after


def test_two_terabytes_without_a_newline_hold_nothing_up(tmp_path: Path) -> None:
    with (tmp_path / "a.jsonl").open("wb") as sparse:
        sparse.truncate(2 << 40)
    file(tmp_path, "b.jsonl", b"1\n2\n")
    source, told, places = FileSource([tmp_path]), list[bytes](), list[int]()
    position: FilePosition | None = None
    for _ in range(4):
        messages, position = source.read(position, 100)
        told += [m.body for m in messages]
        places.append(source.progress(position)[0])
    assert [len(body) for body in told] == [MAX_BODY + 1, 1, 1]
    assert places == sorted(set(places))
    assert places[-1] <= lines.MAX_LINE + 3 * lines.SCAN + 4
