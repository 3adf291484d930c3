"""Fixtures that all tests share: the sample data beside the checkout and the real servers that `make parts` fetches."""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

from opintel.streams.kafka.broker import Broker

# CI repeats the same examples; elsewhere each run tries new ones
settings.register_profile("ci", derandomize=True, print_blob=True)
if os.environ.get("CI", "") not in ("", "0", "false"):
    settings.load_profile("ci")

BRIEF = "-XX:TieredStopAtLevel=1"
"""Of Java: a server that lives for seconds does not earn back what it costs to optimise its code."""
os.environ["JAVA_TOOL_OPTIONS"] = BRIEF

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
        if name == "kafka":
            os.environ["JAVA_TOOL_OPTIONS"] = f"{BRIEF} -XX:SharedArchiveFile={_class_archive(found)}"
        return found

    return find


def _class_archive(jars: Path) -> Path:
    """Kafka's classes as Java has them in memory, with which a broker starts in half the time (dynamic class data
    sharing). Made once for the jars, by a broker that starts and stops.
    """
    names = "".join(f"{jar} {jar.stat().st_mtime_ns}" for jar in sorted(jars.iterdir()))
    archive = REPOSITORY / ".parts" / f"kafka-{sha256(names.encode()).hexdigest()[:12]}.jsa"
    if not archive.exists():
        archive.parent.mkdir(exist_ok=True)
        with TemporaryDirectory(dir=archive.parent, prefix="classes-") as folder:
            made = Path(folder, "made.jsa")
            os.environ["JAVA_TOOL_OPTIONS"] = f"{BRIEF} -XX:ArchiveClassesAtExit={made}"
            with Broker(Path(folder, "broker"), jars=jars):
                pass
            made.rename(archive)
    return archive


@pytest.fixture(scope="session")
def kafka(part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A real broker for the whole run: choose topic names of your own, leave it running as you found it."""
    with Broker(tmp_path_factory.mktemp("kafka"), jars=part("kafka")) as broker:
        yield broker
