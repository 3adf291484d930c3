from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from opintel.store import Store, open_store, sqlite_url


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(sqlite_url(tmp_path / "store.db"))
    yield opened
    opened.close()
