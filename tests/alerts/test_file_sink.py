"""The sink that appends lines to a file: each message once, also over crashes, and what `open` refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from opintel.alerts.sinks import Intent
from opintel.alerts.sinks.file import FileSink, JsonLines


def intent(n: int, title: str = "A title") -> Intent:
    return Intent(f"t{n}.1", f"t{n}", 1, "created", json.dumps({"type": "incident.created", "data": {"title": title}}))


def messages(path: Path) -> list[str]:
    return [json.loads(line)["message"] for line in path.read_text().splitlines()]


def test_each_message_is_one_line_once(tmp_path: Path) -> None:
    path = tmp_path / "tickets.jsonl"
    for n in (1, 2, 1, 3, 2):  # the outbox sends again what it does not know to be sent
        assert JsonLines(path).send(intent(n)).outcome == "sent"
    assert messages(path) == ["t1.1", "t2.1", "t3.1"]
    assert json.loads(path.read_text().splitlines()[0])["data"] == {"title": "A title"}


def test_no_text_of_a_message_passes_for_another_one(tmp_path: Path) -> None:
    path = tmp_path / "tickets.jsonl"
    JsonLines(path).send(intent(1, title='\n{"message": "t2.1", '))
    JsonLines(path).send(intent(2))
    assert messages(path) == ["t1.1", "t2.1"]


def test_a_line_that_was_cut_off_is_ended_and_its_message_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "tickets.jsonl"
    JsonLines(path).send(intent(1))
    JsonLines(path).send(intent(2))
    os.truncate(path, path.stat().st_size - 5)
    JsonLines(path).send(intent(2))
    whole, torn, again = path.read_text().splitlines()
    assert json.loads(whole)["message"] == "t1.1"
    with pytest.raises(json.JSONDecodeError):
        json.loads(torn)
    assert json.loads(again)["message"] == "t2.1"


def test_a_file_may_be_taken_away_at_any_time(tmp_path: Path) -> None:
    path = tmp_path / "tickets.jsonl"
    sink = FileSink(path=str(path)).open({})
    sink.send(intent(1))
    path.rename(tmp_path / "tickets.1")
    sink.send(intent(2))
    assert messages(path) == ["t2.1"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "path: expected a file"),
        (".", "path: expected a file"),
        ("/dev/zero", "path: expected a file"),
        ("no/x", "path: there is no folder"),
    ],
)
def test_where_no_file_can_be_is_refused(tmp_path: Path, path: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FileSink(path=str(tmp_path / path) if path else "").open({})
