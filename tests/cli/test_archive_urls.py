"""An archive in a bucket is read by its URL: by `backfill`, `replay` and `run --ingest`, with the same findings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from streams.buckets import Store
from streams.buckets import store as store

from opintel.cli import invoke

URL = "s3://states/archive"


def test_what_reads_an_archive_takes_its_url(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def ask(*args: str) -> dict[str, Any]:
        capsys.readouterr()
        assert invoke([*args, "--json"]) == 0, capsys.readouterr().err
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    def plain(document: dict[str, Any]) -> list[dict[str, Any]]:
        return [{k: v for k, v in f.items() if k not in ("origin", "downtime")} for f in document["findings"]]

    assert invoke(["simulate", "fts", "--hours", "0.3", "--seed", "5", "--out", "in"]) == 0
    files = plain(ask("replay", "fts", "in"))
    assert files
    ask("archive", "fts", "in", "--archive", URL)
    assert plain(ask("replay", "fts", URL)) == files
    assert plain(ask("backfill", "fts", "--input", URL, "--output", "s3://states/out", "--local")) == files
    assert plain(ask("backfill", "fts", "--input", "in", "--output", "s3://states/again", "--local")) == files
    assert invoke(["run", "--data", "d", "--ingest", f"fts={URL}", "--until-idle"]) == 0
    assert plain(ask("findings", "--data", "d")) == files
    assert store.files().exists("states/again/fts/_archive")
    for command in (("replay", "fts"), ("backfill", "fts", "--output", "o", "--local", "--input")):
        for url, said in (("s3://states/nothing", "no archive of a log"), ("s3://no-such-bucket/x", "no-such-bucket")):
            capsys.readouterr()
            assert invoke([*command, url]) == 1
            message = capsys.readouterr().err
            assert said in message
            assert message.count("\n") == 1
