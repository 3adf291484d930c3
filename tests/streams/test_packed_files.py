"""Complete files as archives hold them: gzipped, below folders by day, very many of them, some damaged."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opintel.detector import Message
from opintel.streams.connectors import framing, lines, merged, packed
from opintel.streams.connectors.files import FilePosition, FileSource
from opintel.streams.connectors.framing import FileForms
from opintel.streams.connectors.merged import MergedFiles

quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def times_of(messages: Sequence[Message]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of messages that have a number in them, or none."""
    digits = [bytes(c for c in m.body if 48 <= c <= 57) for m in messages]
    table = np.array([(n, int(d)) for n, d in enumerate(digits) if d], dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def file(folder: Path, name: str, body: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(body) if name.endswith(".gz") else body)
    return path


def read_all(folder: Path, limit: int = 2000, forms: FileForms = framing.ANY_DOMAIN) -> list[Message]:
    source, position, out = MergedFiles([folder], times_of, forms), FilePosition(), list[Message]()
    while (chunk := source.chunk(position, limit)).messages:
        out, position = out + chunk.messages, chunk.after
    return out


def said(messages: Sequence[Message]) -> list[tuple[str, bytes, str, int]]:
    return [(m.form, m.body, m.file.removesuffix(".gz"), m.row) for m in messages]


LINES = b"".join(b'{"n": %d}\n' % n for n in range(50))


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a.jsonl", LINES[:-1]),
        ("a.json", b'{\n "n": 1}\n'),
        ("a.json", LINES),
        ("a.txt", b"one\r\n\nthree"),
        ("a.csv", b'message,n\n"one\ntwo",1\n"open,2\nthree,3\n'),
        ("a.log", b"one\ntwo\n"),
    ],
)
def test_what_is_gzipped_is_read_as_if_it_were_not(name: str, body: bytes, tmp_path: Path) -> None:
    forms = FileForms(lines=(".log",))
    file(tmp_path, f"plain/{name}", body)
    file(tmp_path, f"packed/{name}.gz", body)
    plain = read_all(tmp_path / "plain", forms=forms)
    assert said(read_all(tmp_path / "packed", forms=forms)) == said(plain)
    assert len(plain) == {"a.json": 1, "a.csv": 3, "a.txt": 3, "a.log": 2}.get(name, 50) or body is LINES


def test_a_json_file_of_an_object_a_line_is_a_message_a_line(tmp_path: Path) -> None:
    file(tmp_path, "a.json", b"broken\n\n" + LINES)
    assert [m.body for m in read_all(tmp_path)] == [b"broken", b"", *LINES.splitlines()]
    file(tmp_path, "a.json", b'[{"a": 1},\n{"a": 2}\n]')
    assert len(read_all(tmp_path)) == 1


def test_only_complete_files_are_read_gzipped_and_below_folders(tmp_path: Path) -> None:
    for name in ("b.jsonl", "2026/11/30/part-0.json.gz", "2026/12/01/part-0.gz", ".hidden/c.jsonl", "_tmp/d.jsonl"):
        file(tmp_path, name, LINES)
    file(tmp_path, "2026/12/01/part-0.avro.gz", b"")
    assert {m.file for m in read_all(tmp_path)} == {
        "b.jsonl",
        "2026/11/30/part-0.json.gz",
        "2026/12/01/part-0.gz",
    }
    growing = FileSource([tmp_path])
    assert {m.file for m in growing.read(None, 1000)[0]} == {"b.jsonl"}
    with pytest.raises(ValueError, match=r"got '\.gz'; `gunzip` it first"):
        FileSource([tmp_path / "2026/12/01/part-0.gz"])


@pytest.mark.parametrize(
    ("damage", "rows", "reason"),
    [
        (lambda body: body[: len(body) // 2], range(500, 4900), "the gzip file ends early"),
        (lambda body: body[:-8] + b"\0" * 8, range(5000, 5001), "damaged behind its 148890 bytes: CRC"),
        (lambda body: body + b"more", range(5000, 5001), "damaged behind its 148890 bytes: Not a gzipped file"),
        (lambda body: LINES, range(1), "no gzip file: Not a gzipped file"),
        (lambda body: body[:9], range(1), "the gzip file ends early"),
    ],
)
def test_what_can_be_had_of_a_damaged_file_is_read(damage: object, rows: range, reason: str, tmp_path: Path) -> None:
    lines = [b'{"number of it": %d, "": 1}' % n for n in range(5000)]
    path = file(tmp_path, "a.jsonl.gz", b"\n".join(lines) + b"\n")
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    *good, last = read_all(tmp_path)
    assert [m.body for m in good][: rows.start] == lines[: rows.start]
    assert len(good) in rows
    assert (last.form, last.file, last.row) == ("refused", "a.jsonl.gz", len(good))
    assert reason in last.body.decode()


@quick
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 999)), max_size=60), st.integers(1, 9), st.booleans())
def test_it_is_read_on_anywhere_and_by_few_open_files(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[tuple[int, int]], limit: int, many: bool
) -> None:
    folder = tmp_path_factory.mktemp("files")
    for n in range(3):
        body = b"".join(b"%d\n" % number for of, number in numbers if of == n)
        file(folder, f"{n}.jsonl.gz", body)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(merged, "MAX_FILES", 2 if many else 3)
        whole = read_all(folder)
        assert sorted(int(m.body) for m in whole) == sorted(number for _, number in numbers)
        for name, value in (("BLOCK", 2), ("MOST_UNPACKED", 1), ("KEY_OF", 2)):
            patched.setattr(merged, name, value)
        expected = said(read_all(folder))
        position, found = FilePosition(), list[Message]()
        while (chunk := MergedFiles([folder], times_of).chunk(position, limit)).messages:
            again = MergedFiles([folder], times_of).again(position, chunk.after)
            assert (again.messages, again.after) == (chunk.messages, chunk.after)
            found, position = found + chunk.messages, chunk.after
        assert said(found) == expected


def test_more_files_than_a_position_names_are_one_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order of time, with few of them open, and positions that do not grow with them."""
    monkeypatch.setattr(merged, "BLOCK", 1)
    for n in range(1200):
        path = tmp_path / f"{n % 24:02d}" / f"{n}.jsonl.gz"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(ONE if n % 100 else b"")
    source = MergedFiles([tmp_path], times_of)
    chunk = source.chunk(None, 300)
    assert len(os.listdir("/proc/self/fd")) < 200
    assert chunk.after == FilePosition(index=300)
    assert len(chunk.messages) + len(source.chunk(chunk.after, 10_000).messages) == 2 * 1188
    done, there = source.progress(None)
    assert 0 < done <= there


ONE = gzip.compress(b"1\n2\n")


def test_a_line_that_does_not_end_is_cut_and_what_follows_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 3 << 20)
    monkeypatch.setattr(packed, "BACK", 1000)
    for end in (b"\n2\n", b""):
        file(tmp_path, "a.jsonl.gz", b"1\n" + b"x" * (10 << 20) + end)
        bodies = [m.body for m in read_all(tmp_path)]
        assert [len(body) for body in bodies] == [1, (1 << 20) + 1, *[1] * bool(end)]
