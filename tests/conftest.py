"""Fixtures that all tests share: the sample data beside the checkout and the real servers that `make parts` fetches."""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

from opintel.demo.broker import Broker

CI = os.environ.get("CI", "") not in ("", "0", "false")
# CI repeats the same examples; elsewhere each run tries new ones. `make soak` tries many more.
settings.register_profile("quick", max_examples=25, deadline=None)
settings.register_profile("ci", settings.get_profile("quick"), derandomize=True, print_blob=True)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if CI else "quick"))

BRIEF = "-XX:TieredStopAtLevel=1"
"""Of Java: a server that lives for seconds does not earn back what it costs to optimise its code."""
os.environ["JAVA_TOOL_OPTIONS"] = BRIEF
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # of some two hundred children each would compile the sources again

LONG = ("faults", "upgrade")
"""Folders of tests that each take up to a minute, waiting mostly."""

MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and disk_usage(MEMORY).free > 4 << 30:
    # half of the time would go into waiting for a disk to keep what is thrown away: no test cuts the power
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

REPOSITORY = Path(__file__).resolve().parent.parent
_locate: Callable[[str], Path | None] = runpy.run_path(str(REPOSITORY / "scripts" / "parts.py"))["locate"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks what needs the run's broker or a browser, and leaves out what only a `-m` that names it runs. The longest
    files come first, so that no process is left alone with one of them.
    """
    apart = [name for name in ("soak", "extras") if name not in config.option.markexpr]
    left_out = [item for item in items if any(map(item.get_closest_marker, apart))]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
    for item in items:
        needs = getattr(item, "fixturenames", ())
        log = item.callspec.params.get("make_log") if hasattr(item, "callspec") else None
        if "kafka" in needs or log == "kafka":
            item.add_marker(pytest.mark.broker)
        if "chromium" in needs:
            item.add_marker(pytest.mark.browser)
    items.sort(key=lambda item: item.path.parent.name not in LONG)


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
            missing = pytest.fail if CI else pytest.skip
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


IDLE = {
    "metadata.max.idle.interval.ms": "0",
    "broker.heartbeat.interval.ms": "4000",
    "broker.session.timeout.ms": "60000",
}
"""Of a broker that nobody kills: without them it spends 34 ms of CPU a second on records and heartbeats that say that
it is there, with them 14, and it waits for most of a run.
"""


@pytest.fixture(scope="session")
def kafka(part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A real broker for the whole run: choose topic names of your own, leave it running as you found it."""
    with Broker(tmp_path_factory.mktemp("kafka"), jars=part("kafka"), properties=IDLE) as broker:
        yield broker
