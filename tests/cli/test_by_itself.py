"""What is thrown away (`replay`, `evaluate`) touches nothing of the site: no cluster, store, checkpoints or archive
that its `site.yaml` names.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from opintel.cli import invoke

COMMANDS = {
    "replay": ("replay", "fts", "in", "--json"),
    "evaluate": ("evaluate", "fts", "in", "--json"),
}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("story")
    assert invoke(["simulate", "fts", "--hours", "0.5", "--seed", "4", "--out", str(folder / "in")]) == 0
    return folder


@pytest.fixture
def cluster() -> Iterator[socket.socket]:
    """Where a client of the site's cluster would knock."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_of_the_site_is_touched(
    command: str,
    story: Path,
    cluster: socket.socket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(story)
    assert invoke(COMMANDS[command]) == 0
    expected = json.loads(capsys.readouterr().out)
    assert invoke(["init", str(tmp_path / "etc")]) == 0
    settings = {
        "bus": {"bootstrap": [f"127.0.0.1:{cluster.getsockname()[1]}"]},
        "store": f"sqlite:///{tmp_path}/its.db",
        "checkpoints": str(tmp_path / "checkpoints"),
        "archive": str(tmp_path / "archive"),
    }
    (tmp_path / "etc" / "site.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.setenv("OPINTEL_CONFIG", str(tmp_path / "etc"))
    capsys.readouterr()
    assert invoke(COMMANDS[command]) == 0
    assert json.loads(capsys.readouterr().out) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["etc"]
    with pytest.raises(BlockingIOError):
        cluster.accept()
