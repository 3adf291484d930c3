"""Files that a domain parses as a whole: in a process of its own, by place exactly, damage and limits reported."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opintel.detector import Message
from opintel.streams.connectors.files import FilePosition, FileSource
from opintel.streams.connectors.framing import FileForms
from opintel.streams.connectors.merged import MergedFiles

FORMS = FileForms(parsers={".toy": "whole_files:lines"}, parsing={"a": 1})


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser's process finds it."""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)


def file(folder: Path, *lines: str, name: str = "a.toy") -> Path:
    path = folder / name
    path.write_text("\n".join(("TOY", *lines)))
    return path


def read_all(source: FileSource, limit: int = 100, *, final: bool = True) -> list[Message]:
    out: list[Message] = []
    position: FilePosition | None = None
    while True:
        messages, position = source.read(position, limit, final=final)
        if not messages:
            return out
        out += messages


def bodies(messages: list[Message]) -> list[tuple[str, str]]:
    return [(message.form, message.body.decode()) for message in messages]


def test_a_file_is_its_parsers_messages_with_their_places(tmp_path: Path) -> None:
    messages = read_all(FileSource([file(tmp_path, "one", "?two is not read", "parsing")], FORMS))
    assert bodies(messages) == [("json", "one"), ("refused", "two is not read"), ("json", '{"a": 1}')]
    assert [(m.file, m.row, m.index) for m in messages] == [("a.toy", n, n) for n in range(3)]


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 6), st.integers(0, 5))
def test_any_cut_resumes_at_the_same_message(tmp_path: Path, limit: int, more: int) -> None:
    lines = [f"message {n}" for n in range(more + 1)]
    source = FileSource([file(tmp_path, *lines)], FORMS)
    position, parts = None, []
    while True:
        before = position
        messages, position = source.read(position, limit, final=True)
        if not messages:
            break
        assert bodies(source.between(before, position)) == bodies(messages)
        parts += messages
    assert bodies(parts) == [("json", line) for line in lines]


def test_what_breaks_is_said_after_what_was_read(tmp_path: Path) -> None:
    assert bodies(read_all(FileSource([file(tmp_path, "one", "!")], FORMS))) == [
        ("json", "one"),
        ("refused", "broken here"),
    ]
    (tmp_path / "b.toy").write_text("other")
    assert bodies(read_all(FileSource([tmp_path / "b.toy"], FORMS))) == [("refused", "expected TOY")]


def test_a_file_without_a_message_is_read_once(tmp_path: Path) -> None:
    source = FileSource([file(tmp_path, "nothing")], FORMS)
    messages, position = source.read(None, 10, final=True)
    assert bodies(messages) == [("refused", "no message in it")]
    assert source.at_end(position, final=True)


def test_a_file_that_takes_all_memory_is_one_damage(tmp_path: Path) -> None:
    [message] = read_all(FileSource([file(tmp_path, "memory")], FORMS))
    assert message.form == "refused"


def test_a_folder_is_watched_for_new_files_and_temporary_names_are_not_read(tmp_path: Path) -> None:
    old = time.time() - 60
    source = FileSource([tmp_path], FORMS)
    os.utime(file(tmp_path, "one"), (old, old))
    file(tmp_path, "half", name="b.toy.part")
    file(tmp_path, "hidden", name=".c.toy")
    first, position = source.read(None, 10)
    assert bodies(first) == [("json", "one")]
    assert source.read(position, 10)[0] == []
    os.rename(tmp_path / "b.toy.part", tmp_path / "b.toy")
    os.utime(tmp_path / "b.toy", (old, old))
    second, position = source.read(position, 10)
    assert bodies(second) == [("json", "half")]
    assert source.at_end(position)


def test_one_that_was_just_written_to_waits_until_it_is_final(tmp_path: Path) -> None:
    soon = time.time() - 0.1
    os.utime(path := file(tmp_path, "one"), (soon, soon))
    source = FileSource([path], FORMS)
    assert source.read(None, 10)[0] == []
    assert bodies(source.read(None, 10, final=True)[0]) == [("json", "one")]


def test_a_file_that_has_grown_is_read_again(tmp_path: Path) -> None:
    source = FileSource([path := file(tmp_path, "one")], FORMS)
    _, position = source.read(None, 10, final=True)
    path.write_text(path.read_text() + "\ntwo")
    assert bodies(source.read(position, 10, final=True)[0]) == [("json", "one"), ("json", "two")]


def test_files_are_merged_by_time_and_large_ones_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    monkeypatch.setattr("opintel.streams.connectors.merged.BLOCK", 2)
    paths = [file(tmp_path, "1", "4", "5", "8", "9", name="a.toy"), file(tmp_path, "2", "3", "6", "7", name="b.toy")]
    times = lambda messages: (np.arange(len(messages)), np.array([int(m.body) for m in messages]))  # noqa: E731
    monkeypatch.setattr("opintel.streams.connectors.merged.KEY_OF", 1)
    for limit in (2, 100):
        source, position, found = MergedFiles(paths, times, FORMS), None, []
        while (chunk := source.chunk(position, limit)).messages:
            assert bodies(source.again(position, chunk.after).messages) == bodies(chunk.messages)
            found += [int(m.body) for m in chunk.messages]
            position = chunk.after
        assert found == list(range(1, 10))
