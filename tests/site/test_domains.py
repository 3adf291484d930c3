"""What others ask of a domain comes from its pipeline page, by the domain of a stream, never by the stream's name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest
from contract.toy import TOY

from opintel.cli import invoke
from opintel.demo.plan import stories_by_stream, tell
from opintel.demo.site import make_site
from opintel.simulation import DEFAULT_START, HOUR, Fault, Stories
from opintel.site.domains import DOMAINS
from opintel.site.load import load_site
from opintel.site.shipped import copy_shipped
from opintel.site.story import StoryFeed
from opintel.site.system import System


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped site with a second stream of FTS, named `second`, chosen by the environment."""
    folder = tmp_path / "site"
    copy_shipped(folder)
    add(folder, "second", "fts")
    monkeypatch.setenv("OPINTEL_CONFIG", str(folder))
    return folder


def add(folder: Path, name: str, domain: str) -> None:
    (folder / "streams" / f"{name}.yaml").write_text(f"name: {name}\ndomain: {domain}\ntopic: {name}.raw\n")


def test_no_service_imports_a_simulator() -> None:
    script = "import sys, opintel.site.team\nfrom opintel.site.domains import DOMAINS, pipeline_of\n"
    script += "[pipeline_of(name) for name in DOMAINS]\nprint([m for m in sys.modules if m.endswith('.simulate')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_second_stream_of_a_domain_is_simulated_and_evaluated(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "story"
    arguments = ("--hours", "0.5", "--seed", "3", "--out", str(out), "--faults", "none")
    assert invoke(["simulate", "second", *arguments]) == 0
    assert invoke(["evaluate", "second", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {name: said[name] for name in ("stories", "kinds", "incidents", "false_incidents", "hours")} == {
        "stories": 1,
        "kinds": {},
        "incidents": 0,
        "false_incidents": 0,
        "hours": 1.0,
    }
    assert invoke(["evaluate", "second", str(out)]) == 0
    assert capsys.readouterr().out == "0 incidents, 0 false, in 1 story of 1 h: 0 false a week\n"


def test_a_second_stream_of_a_domain_is_in_the_demo(folder: Path, tmp_path: Path) -> None:
    site = load_site(folder)
    story = tell(tmp_path, site, length=None, seed=1, clean=False)
    domains = {"dqm": "dqm", "fts": "fts", "gw": "gw", "health": "health", "second": "fts"}
    assert {c.stream: c.domain for c in story.chapters} == domains
    assert {c.stream: c.quiet_hours for c in story.chapters} == {
        n: s.quiet_hours for n, s in stories_by_stream(site).items()
    }
    chapter = story.chapter("second")
    assert chapter is not None
    assert {f.kind for f in story.simulation(chapter).truth} == set(stories_by_stream(site)["fts"].faults)
    with closing(System(tmp_path / "data", site)) as system:
        feed = StoryFeed(story, chapter, system.ingester(system.stream("second"), story.source, live=True))
        while feed.through < story.live_from - 3.5 * HOUR:
            assert feed.step()
        assert sum(system.log.end("second.raw", p) for p in range(system.stream("second").stream.partitions)) > 0
        entities = system.alerts.lifecycle.grouping.entities
    assert entities["second"] == entities["fts"] == ["endpoint", "source", "destination", "vo", "family"]
    assert entities["health"] == ["instance"]


def test_a_stream_without_a_simulator_is_not_in_the_demo(tmp_path: Path) -> None:
    folder, receiver = make_site(tmp_path, headless=True, bus=None)
    with closing(receiver):
        assert load_site().streams.keys() - load_site(folder).streams.keys() == {"logs"}


class Three:
    """Three messages that are no lines, two in the first hour and one in the second."""

    start, end = DEFAULT_START, DEFAULT_START + 2 * HOUR
    truth: tuple[Fault, ...] = ()

    def __init__(
        self,
        *,
        seed: int,
        hours: float,
        start: int = DEFAULT_START,
        faults: Sequence[str] = (),
        quiet_hours: float = 0.0,
    ) -> None:
        self.seed = seed

    def messages(self) -> Iterator[tuple[int, bytes]]:
        for n, minutes in enumerate((1, 30, 90)):
            yield self.start + minutes * HOUR // 60, b"%d\n\n%d" % (self.seed, n)


def test_a_new_domain_is_simulated_without_an_edit_elsewhere(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = ModuleType("toy_pipeline")
    page.PIPELINE = TOY._replace(stories=lambda: Stories(Three, (), 2.0, 0.0, "three", suffix=".json"))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toy_pipeline", page)
    monkeypatch.setitem(DOMAINS, "toy", "toy_pipeline")
    add(folder, "mine", "toy")
    arguments = ["simulate", "mine", "--hours", "2", "--seed", "7", "--out"]
    assert invoke([*arguments, str(tmp_path / "out")]) == 0
    files = {path.name: path.read_bytes() for path in (tmp_path / "out" / "messages").iterdir()}
    assert files == {f"000{n // 2}-00000{n}.json": b"7\n\n%d" % n for n in range(3)}
    assert "mine" in stories_by_stream(load_site(folder))
    page.PIPELINE = TOY
    assert invoke([*arguments, str(tmp_path / "no")]) == 1
    assert "the domain 'toy' has no simulator; those that have one: dqm, fts, gw, health" in capsys.readouterr().err
    assert "mine" not in stories_by_stream(load_site(folder))
