"""A site's folder with the smallest stream that there is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from site_yaml import MINIMAL, write


@pytest.fixture
def site_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [v for v in os.environ if v.startswith("OPINTEL_")]:
        monkeypatch.delenv(name)
    (tmp_path / "streams").mkdir()
    (tmp_path / "alerts").mkdir()
    write(tmp_path, MINIMAL)
    return tmp_path
