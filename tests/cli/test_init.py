"""`opintel init` and `opintel version`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opintel.cli import invoke
from opintel.site.load import load_site
from opintel.site.shipped import shipped_folder, shipped_site


def test_init_copies_what_check_accepts_and_never_overwrites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "site"
    assert invoke(["init", str(folder)]) == 0
    shipped = shipped_folder()
    assert load_site(folder).streams == load_site(shipped).streams
    assert (folder / "streams/fts.yaml").read_bytes() == (shipped / "streams/fts.yaml").read_bytes()
    assert (folder / "site.yaml").read_bytes() == shipped_site().read_bytes()
    (folder / "streams/fts.yaml").write_text("mine")
    capsys.readouterr()
    assert invoke(["init", str(folder)]) == 1
    assert "is there already; nothing was copied" in capsys.readouterr().err
    assert (folder / "streams/fts.yaml").read_text() == "mine"


def test_init_says_where_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").touch()
    assert invoke(["init", str(tmp_path / "file" / "site")]) == 1
    assert capsys.readouterr().err.startswith("opintel: cannot write to ")


def test_version_names_what_matters(capsys: pytest.CaptureFixture) -> None:
    assert invoke(["version", "--json"]) == 0
    versions = json.loads(capsys.readouterr().out)
    assert {"opintel", "finding format", "python", "sqlite", "msgspec", "numpy", "scipy", "river"} <= set(versions)
    assert not {"hatchling", "mypy", "pytest", "scipy-stubs"} & set(versions)
    assert invoke(["version"]) == 0
    assert "msgspec" in capsys.readouterr().out
