"""One broker for all scenarios, the story they play, and the table of what came of them.

`make soak` runs the long forms; `OPINTEL_SOAK_REPORT` names a file for the table.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from opintel.demo.broker import Broker

from .rig import Row, Site, Story, shared_story

ROWS: list[Row] = []


@pytest.fixture(scope="session", params=["short", pytest.param("long", marks=pytest.mark.soak)])
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Story:
    return shared_story(tmp_path_factory, long=request.param == "long")


@pytest.fixture(scope="package")
def broker(part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Not the one of the other tests: it is killed here, and its topics are removed after each scenario. It ends with
    the last of these: a broker that waits for the end of a run costs as much as the scenarios.
    """
    with Broker(tmp_path_factory.mktemp("broker"), jars=part("kafka")) as made:
        yield made


@pytest.fixture
def make_site(tmp_path: Path, story: Story, broker: Broker) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(**settings: Any) -> Site:
        made.append(Site(tmp_path, story, broker, **settings))
        return made[-1]

    yield make
    for site in made:
        site.close()


@pytest.fixture
def report() -> Callable[[Row], None]:
    return ROWS.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not ROWS:
        return
    table = [
        "| scenario | story | kills | findings | differing | incidents | tickets | tickets doubled | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
        *("| " + " | ".join(str(round(x) if isinstance(x, float) else x) for x in row) + " |" for row in ROWS),
    ]
    terminalreporter.write_line("\n".join(["", "held against the undisturbed run of the same story:", *table]))
    if file := os.environ.get("OPINTEL_SOAK_REPORT"):
        Path(file).write_text("\n".join(table) + "\n")
