"""`opintel evaluate`: the detectors measured against truth: labelled log files, and the simulator's faults."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opintel.cli.stored import json_option, print_json
from opintel.site.errors import UserError

if TYPE_CHECKING:
    from opintel.detector import Record
    from opintel.simulation import Simulation, Stories
    from opintel.site.settings import Site

SEEDS = (1, 2, 3)
"""Of the stories that are simulated where no folders are given."""


@click.command(short_help="Measure the detectors with the field's published metrics.")
@click.argument("what")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@json_option
def command(what: str, paths: tuple[Path, ...], as_json: bool) -> None:
    """WHAT is `templates` (labelled log files: columns content, event_id) or a stream, such as `fts` (folders that
    `simulate` wrote, with their truth; none: three stories are simulated). `dqm` also takes folders of measured shapes
    and labelled lumisections, and says what `ReferenceModel` finds in them."""
    from opintel.dqm.modelled.evaluate_references import holds_references

    missing = [path for path in paths if not path.exists()]
    if missing:
        raise UserError(f"{missing[0]}: no such file or folder")
    if what == "templates":
        document = _templates(paths)
    elif what == "dqm" and any(holds_references(path) for path in paths):
        document = _references(paths)
    else:
        document = _stories(what, paths)
    if as_json:
        print_json(document)
    elif what == "templates":
        print_table([*document["files"], {"name": "mean", **document["mean"]}])
    elif "folders" in document:
        for folder in document["folders"]:
            print_table([{"measure": name, "value": value} for name, value in _flat(folder)])
    else:
        print_table([{"kind": kind, **row} for kind, row in document["kinds"].items()])
        incidents, false, stories = (document[key] for key in ("incidents", "false_incidents", "stories"))
        click.echo(f"{incidents} incidents, {false} false, in {stories} {'story' if stories == 1 else 'stories'}")
        for title, rows in document.get("figures", {}).items():
            click.echo(f"\n{title}")
            print_table(rows)


def _templates(paths: tuple[Path, ...]) -> dict[str, Any]:
    from opintel.fts.templates.evaluation import evaluate

    if not paths:
        raise UserError("evaluate templates needs at least one FILE.csv with the columns content,event_id")
    try:
        return evaluate(paths)
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from error


def _references(folders: tuple[Path, ...]) -> dict[str, Any]:
    from opintel.dqm.modelled.evaluate_references import evaluate

    try:
        return {"folders": [evaluate(folder) for folder in folders]}
    except (OSError, KeyError, ValueError) as error:
        raise UserError(str(error)) from error


def _flat(document: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in document.items():
        rows += _flat(value, f"{before}{name} ") if isinstance(value, dict) else [(before + name, value)]
    return rows


def _stories(stream: str, folders: tuple[Path, ...]) -> dict[str, Any]:
    from opintel.simulation import Played
    from opintel.site.load import load_site
    from opintel.site.story import injected, stories_for

    site = load_site()
    stories = stories_for(site, stream)
    with tempfile.TemporaryDirectory(prefix="opintel-evaluate-") as name:
        if folders:
            return _judged([_told(stream, folder, Path(name) / f"run{n}") for n, folder in enumerate(folders)])
        played: list[Played] = []
        documents: list[dict[str, Any]] = []

        def play(simulation: Simulation) -> Played:
            folder = Path(name) / f"run{len(documents)}"
            documents.append(_replayed(stream, stories, simulation, folder))
            records = _records(site, stream, folder / "data") if stories.figures else []
            return Played(simulation, records, documents[-1]["findings"])

        for seed in SEEDS:
            played.append(play(stories.simulator(hours=stories.hours, seed=seed)))
        document = _judged(
            [
                _matched(injected(stream, one.simulation.truth), said["incidents"])
                for one, said in zip(played, documents, strict=True)
            ]
        )
        if stories.figures:
            document["figures"] = stories.figures(played, play)
        return document


def _replayed(stream: str, stories: Stories, simulation: Simulation, folder: Path) -> dict[str, Any]:
    """What `replay` says of a simulation's messages."""
    from opintel.cli.progress import share_progress
    from opintel.cli.replay import replay
    from opintel.simulation import write

    with share_progress(f"simulate {stream}") as tell:
        write(folder / "story", simulation, tell, suffix=stories.suffix)
    return replay(stream, (folder / "story",), folder / "data", None, 64, warn=lambda _: None)


def _records(site: Site, stream: str, data: Path) -> list[Record[Any]]:
    """What stage 1 said in a replay."""
    from opintel.site.system import System
    from opintel.streams.records import Derived, derived_codec

    system, found, position = System(data, site, replayed=True), list[Any](), 0
    try:
        watched = system.stream(stream)
        codec = derived_codec(watched.pipeline.record)
        while stored := system.log.read(watched.stream.derived, 0, position, 100):
            position = stored[-1][0] + 1
            for _, value, _ in stored:
                if isinstance(said := codec.decode(value), Derived):
                    found += said.records
    finally:
        system.close()
    return found


def _told(stream: str, folder: Path, data: Path) -> dict[str, Any]:
    """One simulated folder through the pipeline: its faults and what was made of them."""
    import msgspec

    from opintel.cli.replay import replay

    truth = folder / "truth.json"
    if not truth.exists():
        raise UserError(f"{folder}: no truth.json there; `opintel simulate {stream} --out DIR` writes one")
    faults = [{"stream": stream, **fault} for fault in msgspec.json.decode(truth.read_bytes())]
    return _matched(faults, replay(stream, (folder,), data, None, 64, warn=lambda _: None)["incidents"])


def _matched(faults: list[dict[str, Any]], incidents: list[dict[str, Any]]) -> dict[str, Any]:
    """A story's faults with their incidents, and how many are none's."""
    from opintel.finding import parse_rfc3339
    from opintel.site.story import match

    matches = match(faults, incidents)
    opened = {i["id"]: parse_rfc3339(i["opened"]) for i in incidents}
    for fault in faults:
        ids = matches[fault["id"]]
        start = parse_rfc3339(fault["start"])
        fault["incidents"] = len(ids)
        fault["minutes"] = min((opened[i] - start) / 60e9 for i in ids) if ids else None
    matched = {i for ids in matches.values() for i in ids}
    return {"faults": faults, "incidents": len(incidents), "false": sum(i not in matched for i in opened)}


def _judged(stories: list[dict[str, Any]]) -> dict[str, Any]:
    faults = [fault for story in stories for fault in story["faults"]]
    kinds = {}
    for kind in sorted({fault["kind"] for fault in faults}):
        mine = [fault for fault in faults if fault["kind"] == kind]
        found = [fault for fault in mine if fault["incidents"]]
        kinds[kind] = {
            "injected": len(mine),
            "found": len(found),
            "minutes_to_detect": round(statistics.median(f["minutes"] for f in found), 1) if found else None,
            "incidents_per_fault": round(sum(f["incidents"] for f in found) / len(found), 2) if found else None,
        }
    return {
        "stories": len(stories),
        "kinds": kinds,
        "incidents": sum(story["incidents"] for story in stories),
        "false_incidents": sum(story["false"] for story in stories),
    }


def print_table(rows: list[dict[str, Any]]) -> None:
    """Rows of measures, the keys of the first as headings; of stories without a fault there is none."""
    if not rows:
        return
    from rich.table import Table

    from opintel.cli.shown import wide_console

    table = Table(header_style="bold")
    for column in rows[0]:
        table.add_column(column.replace("_", " "))
    for row in rows:
        cells = (row.get(column) for column in rows[0])
        table.add_row(*("" if c is None else f"{c:,.3f}" if isinstance(c, float) else str(c) for c in cells))
    wide_console().print(table)
