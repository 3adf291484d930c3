"""`opintel tickets retry`, in this process."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from opintel.cli import invoke
from opintel.store import open_store, queries, sqlite_url
from opintel.store import schema as t


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with one ticket a sink, both given up."""
    nothing = {"fingerprint": "f", "stream": "s", "scope": "", "title": "t", "severity": "warning", "state": "open"}
    lists = {"about": "[]", "subjects": "[]", "lead": "[]", "start": 1, "opened": 1, "last": 1}
    with closing(open_store(sqlite_url(tmp_path / "store.db"))) as store, store.write() as connection:
        for sink in ("helpdesk", "record"):
            key = f"key-{sink}"
            connection.execute(sa.insert(t.incident).values(**nothing, **lists, id=sink))
            connection.execute(sa.insert(t.ticket).values(key=key, incident=sink, sink=sink, state="failed", at=1))
            texts = {"id": f"{key}.1", "ticket": key, "sink": sink, "kind": "created", "body": "{}", "state": "failed"}
            connection.execute(sa.insert(t.outbox).values(**texts, sequence=1, at=1, attempts=9, due=time.time_ns()))
    return tmp_path


def standings(data: Path) -> dict[str, tuple[int, int]]:
    with closing(open_store(sqlite_url(data / "store.db"))) as store:
        return {sink: (s.queued, s.failed) for sink, s in queries.outbox(store).items()}


def test_of_one_sink(data: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert invoke(["tickets", "retry", "--sink", "helpdesk", "--data", str(data), "--json"]) == 0
    said = {"ticket": "key-helpdesk", "sink": "helpdesk", "incident": "helpdesk", "messages": 1}
    assert json.loads(capfdbinary.readouterr().out) == {"tickets": [said]}
    assert standings(data) == {"helpdesk": (1, 0), "record": (0, 1)}


def test_of_one_key_and_of_all(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["tickets", "retry", "key-record", "--data", str(data)]) == 0
    assert standings(data) == {"helpdesk": (0, 1), "record": (1, 0)}
    assert invoke(["tickets", "retry", "--data", str(data)]) == 0
    assert standings(data) == {"helpdesk": (1, 0), "record": (1, 0)}
    assert invoke(["tickets", "retry", "--data", str(data)]) == 0
    told = capsys.readouterr().out
    assert "key-record" in told
    assert told.endswith("no tickets\n")


def test_an_unknown_key_changes_nothing(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["tickets", "retry", "key-record", "other", "--data", str(data)]) == 1
    assert "there is no ticket 'other'" in capsys.readouterr().err
    assert standings(data) == {"helpdesk": (0, 1), "record": (0, 1)}
