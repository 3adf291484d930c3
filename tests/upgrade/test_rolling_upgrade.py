"""A running system is upgraded process by process as docs/operations.md says: from the wheel of an earlier commit to
one of this working tree, on to one whose checkpoints have the next format, and one stage 1 back.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pytest
from faults.rig import HOURS, Site, Story, tell

from opintel.demo.broker import Broker
from opintel.streams.checkpoints import FORMAT

pytestmark = pytest.mark.broker

REPOSITORY = Path(__file__).resolve().parents[2]
EARLIER = "d181d014a3f207ec4d51d775d3a3b0a2273e0861"
"""The first commit with services over Kafka."""
ORDER = ("console", "delivery", "alerts", "stage2", "stage1 a", "stage1 b", "ingest")
SIGNS = {"console": "console: ", "delivery": "", "alerts": "are ours", "ingest": "are ours"}
"""What a service says when it is at work; stages say what checkpoint they begin with."""
PIECE = 250
"""Messages that appear at once: fewer than any build takes at a time."""


class Build(NamedTuple):
    """An installed wheel."""

    folder: Path
    tree: Path
    """What it was built of."""

    @property
    def env(self) -> dict[str, str]:
        return {"PYTHONPATH": f"{Path(__file__).parent / 'build_report'}:{self.folder}"}


class Builds(NamedTuple):
    earlier: Build
    today: Build
    raised: Build
    """`today` with the next format of checkpoints."""


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    folder = tmp_path_factory.mktemp("builds")
    archive = subprocess.run(["git", "archive", EARLIER], cwd=REPOSITORY, capture_output=True)
    if archive.returncode:
        pytest.skip(f"the history here does not hold {EARLIER[:7]}: {archive.stderr.decode().strip()}")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(folder / "earlier", filter="data")
    tree = shutil.copytree(REPOSITORY, folder / "today", ignore=shutil.ignore_patterns(".?*", "__pycache__"))
    earlier, today = installed(folder / "earlier"), installed(tree)
    raised = Build(shutil.copytree(today.folder, folder / "raised.installed"), tree)
    source = raised.folder / "opintel/streams/checkpoints.py"
    text, changed = re.subn(r"(?m)^FORMAT = \d+$", f"FORMAT = {FORMAT + 1}", source.read_text())
    assert changed == 1
    source.write_text(text)
    return Builds(earlier, today, raised)


def installed(tree: Path) -> Build:
    """Builds the wheel of a source tree and installs it, without its dependencies, into a folder of its own."""
    wheels, target = tree.with_suffix(".wheel"), tree.with_suffix(".installed")
    for command in (
        ["hatchling", "build", "-t", "wheel", "-d", str(wheels)],
        ["pip", "install", "-q", "--no-deps", "--no-compile", "--no-index", "-t", str(target), "-f", str(wheels)],
    ):
        named = ["opintel"] if command[0] == "pip" else []
        done = subprocess.run([sys.executable, "-m", *command, *named], cwd=tree, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return Build(target, tree)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, builds: Builds) -> Story:
    """What this build makes of it undisturbed, under the settings that the operator leaves as they are."""
    whole = tell(tmp_path_factory.mktemp("undisturbed"), HOURS, long=False, shipped=builds.earlier.tree)
    lines = b"".join(whole.pieces).splitlines(keepends=True)
    return whole._replace(pieces=[b"".join(lines[n : n + PIECE]) for n in range(0, len(lines), PIECE)])


@pytest.fixture
def site(part: Callable[[str], Path], tmp_path: Path, story: Story, builds: Builds) -> Iterator[Site]:
    """As an operator wrote it with the earlier build, and leaves it."""
    with Broker(tmp_path / "broker", jars=part("kafka")) as broker:
        made = Site(tmp_path, story, broker, shipped=builds.earlier.tree)
        yield made
        made.close()


def put(site: Site, name: str, build: Build, share: float) -> None:
    """While the story goes on: SIGTERM, then the service of this build in its place."""
    site.feed(share)
    if name in site.services:
        site.leave(name)
    before = len(runs(site, name))
    site.start(name, env=build.env)
    site.until(lambda: len(runs(site, name)) > before, f"{name} has started")


def caught_up(site: Site) -> None:
    """All that was fed is processed: who leaves now has a checkpoint to write."""
    site.until(site.taken, "what was fed was taken")


def at_work(site: Site, name: str) -> None:
    """The process that was started last does its work: it has a share of the partitions, if its service has some."""
    site.until(lambda: SIGNS.get(name, "begins with") in runs(site, name)[-1][1], f"{name} is at work")


def runs(site: Site, name: str) -> list[tuple[str, str]]:
    """(folder of the build, what it said) of each process of a service, in order."""
    log = site.folder / f"{name}.log"
    told = re.split(r"(?m)^opintel of (\S+)\n", log.read_text() if log.exists() else "")
    return list(zip(told[1::2], told[2::2], strict=True))


def formats(told: str) -> set[str]:
    """Formats of the checkpoints that a process began with; '' where it began with none."""
    return set(re.findall(r"(?m)^begins with(?: a checkpoint of format (\d+)|out a checkpoint)$", told))


def test_a_running_system_is_upgraded_twice_and_one_service_put_back(site: Site, builds: Builds) -> None:
    for name in ORDER:
        put(site, name, builds.earlier, 0.1)
    at_work(site, "stage1 a")
    at_work(site, "stage1 b")
    caught_up(site)
    for n, name in enumerate(ORDER, 1):
        put(site, name, builds.today, 0.1 + 0.04 * n)
        at_work(site, name)
    caught_up(site)
    for n, name in enumerate(("stage2", "stage1 a", "stage1 b"), 1):
        put(site, name, builds.raised, 0.4 + 0.1 * n)
        at_work(site, name)
        site.feed(0.45 + 0.1 * n)
        caught_up(site)
    site.leave("stage1 b")
    site.feed(0.85)
    site.until(lambda: str(FORMAT + 1) in formats(runs(site, "stage1 a")[-1][1]), "its partitions are taken over")
    put(site, "stage1 b", builds.today, 0.9)
    at_work(site, "stage1 b")
    site.finish()
    site.settle()

    assert len(site.story.expected.findings) > 20
    assert len(site.story.expected.tickets) > 2
    # The earlier build has other ids of templates and says no hours.
    site.check("rolling upgrade", without=("fts.templates", "fts.traffic", "fts.errors"))
    # no reader met a record that was newer than itself
    assert {kind for _, kind in site.system.log.aside_counts()} <= {"late"}
    earlier, today, raised = (str(build.folder) for build in builds)
    further = {"stage2": [raised], "stage1 a": [raised], "stage1 b": [raised, today]}
    for name in ORDER:
        assert [folder for folder, _ in runs(site, name)] == [earlier, today, *further.get(name, [])]
    # the next format's build began with this one's checkpoints, later with its own; this one passed those over
    assert formats(runs(site, "stage2")[2][1]) == {str(FORMAT)}
    assert formats(runs(site, "stage1 a")[2][1]) == {str(FORMAT), str(FORMAT + 1)}
    back = runs(site, "stage1 b")[3][1]
    assert re.search(rf"not of format {FORMAT} or {FORMAT - 1}, passed over", back)
    assert formats(back) <= {str(FORMAT), ""}
