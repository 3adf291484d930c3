"""The soak of `benchmarks/soak.py` as a test: half an hour at 80 % of capacity, memory and lag stay flat.

`make soak` runs it; `OPINTEL_SOAK_TABLE` names a file for its table.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "soak.py"


@pytest.mark.soak
def test_half_an_hour_at_four_fifths_of_capacity(
    part: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part("kafka")
    table = Path(os.environ.get("OPINTEL_SOAK_TABLE") or tmp_path / "soak.md")
    done = subprocess.run([sys.executable, str(BENCHMARK), "--report", str(table)], capture_output=True, text=True)
    with capsys.disabled():
        print(f"\n{done.stdout}")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "| no |" not in table.read_text()
