"""Each notebook in the docs runs, without Jupyter or Spark, and says what is written in it."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((REPOSITORY / "docs" / "notebooks").glob("*.ipynb"))
script = runpy.run_path(str(REPOSITORY / "scripts" / "notebook.py"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_says_what_is_written_in_it(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    written = json.loads(path.read_text())
    found = script["executed"](written)
    assert script["printed"](found) == script["printed"](written) != []
    assert any("image/png" in output.get("data", {}) for cell in found["cells"] for output in cell.get("outputs", []))
