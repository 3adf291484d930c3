"""The layers of the design, read from the source: who may import whom, no circles, no file of more than one subject."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import opintel

PACKAGE = Path(__file__).resolve().parent.parent / "opintel"
FOUNDATION = {
    "finding",
    "ids",
    "rejects",
    "rows",
    "columns",
    "detector",
    "evidence",
    "picture",
    "quantity",
    "naming",
    "simulation",
    "arrow_ipc",
    "durations",
    "loopback",
    "extras",
    "paths",
    "sizes",
    "tables",
    "stats",
}
DOMAINS = {"fts", "dqm", "gw", "health"}
JOINERS = {"site", "cli", "console", "demo", "backfill"}
"""Rooms that join others: `site` puts them together, the rest stand on it; only `cli` shows the demo."""
MAX_LINES = 500


def test_layers_are_kept() -> None:
    imports = {name: set(imported(path)) for name, path in modules().items()}
    assert [line for name in sorted(imports) for line in broken(name, imports[name])] == []


def test_imports_have_no_circle() -> None:
    names = set(modules())
    graph = {
        name: {near for near in (nearest(n, names) for n in imported(path)) if near and not is_parent(near, name)}
        for name, path in modules().items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" > ".join(error.args[1]))


def test_the_map_names_every_room_and_module_once() -> None:
    named = re.findall(r"(?m)^\* `(\w+)`: \S", opintel.__doc__ or "")
    assert sorted(named) == sorted({name.split(".")[1] for name in modules() if "." in name})


def test_files_are_short() -> None:
    long = {name: n for name, path in modules().items() if (n := len(path.read_text().splitlines())) > MAX_LINES}
    assert long == {}


def test_a_public_class_name_means_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(name)
    assert {name: of for name, of in places.items() if len(of) > 1} == {}


@pytest.mark.parametrize(
    ("name", "imports"),
    [
        ("opintel.finding", "opintel.site.load"),
        ("opintel.durations", "opintel.streams.log"),
        ("opintel.alerts.service", "opintel.site.system"),
        ("opintel.store.queries", "opintel.site.system"),
        ("opintel.site.system", "opintel.console.app"),
        ("opintel.console.running", "opintel.cli.run"),
        ("opintel.console.running", "opintel.demo.receiver"),
        ("opintel.demo.playing", "opintel.cli.progress"),
        ("opintel.stats.fdr", "opintel.streams.log"),
        ("opintel.streams.worker", "opintel.fts.wire"),
        ("opintel.streams.worker", "opintel.store.schema"),
        ("opintel.fts.links", "opintel.dqm.compare"),
        ("opintel.fts.links", "opintel.alerts.service"),
        ("opintel.alerts.service", "opintel.cli.run"),
    ],
)
def test_the_rules_notice_a_break(name: str, imports: str) -> None:
    assert list(broken(name, {imports}))


def broken(name: str, imports: set[str]) -> Iterator[str]:
    """The imports of a module that its layer forbids."""
    room = room_of(name)
    for other in sorted(imports):
        there = room_of(other)
        if there in ("", room):
            continue
        forbidden = (
            there == "cli"
            or (there == "demo" and room != "cli")
            or (room not in JOINERS and there in JOINERS)
            or (room == "site" and there in {"console", "backfill"})
            or (room in FOUNDATION and there not in FOUNDATION)
            or (room == "streams" and there in DOMAINS | JOINERS | {"alerts", "store"})
            or (room in DOMAINS and there in DOMAINS | JOINERS | {"alerts", "store"})
        )
        if forbidden:
            yield f"{name} imports {other}"


def modules() -> dict[str, Path]:
    """Dotted name → file of every module of the package."""
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def imported(path: Path) -> Iterator[str]:
    """Dotted names of ours that a file imports, inside functions too; relative imports are not our style."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("opintel"))
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            if node.module and node.module.split(".")[0] == "opintel":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def nearest(name: str, known: set[str]) -> str:
    """The module that an imported name belongs to: itself, or the one that it is an attribute of."""
    return name if name in known else name.rpartition(".")[0] if name.rpartition(".")[0] in known else ""


def is_parent(other: str, name: str) -> bool:
    return name == other or name.startswith(f"{other}.")


def room_of(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and not parts[1].startswith("_") else ""
