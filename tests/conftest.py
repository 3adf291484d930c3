"""Fixtures that all tests share: the sample data beside the checkout and the real servers that `make parts` fetches."""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from opintel.demo.broker import Broker

# CI repeats the same examples; elsewhere each run tries new ones
settings.register_profile("ci", derandomize=True, print_blob=True)
if os.environ.get("CI", "") not in ("", "0", "false"):
    settings.load_profile("ci")

REPOSITORY = Path(__file__).resolve().parent.parent
_locate: Callable[[str], Path | None] = runpy.run_path(str(REPOSITORY / "scripts" / "parts.py"))["locate"]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real sample data: `OPINTEL_DATA`, else `../shared/data`; the test skips where it is absent."""
    folder = Path(os.environ.get("OPINTEL_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no sample data at {folder}; set OPINTEL_DATA")
    return folder


@pytest.fixture(scope="session")
def part() -> Callable[[str], Path]:
    """`part(name)`: path of a real server or tool; the test skips where it is missing, on CI it fails."""

    def find(name: str) -> Path:
        found = _locate(name)
        if found is None:
            missing = pytest.fail if os.environ.get("CI", "") not in ("", "0", "false") else pytest.skip
            missing(f"{name} is not there; run `make parts`")
        return found

    return find


@pytest.fixture(scope="session")
def kafka(part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A real broker for the whole run: choose topic names of your own, leave it running as you found it."""
    with Broker(tmp_path_factory.mktemp("kafka"), jars=part("kafka")) as broker:
        yield broker
