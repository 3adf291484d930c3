"""`opintel evaluate`: the detectors measured against truth: labelled log files, and the simulator's faults."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import click

from opintel.cli.stored import json_option, print_json
from opintel.site.errors import UserError

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


def _templates(paths: tuple[Path, ...]) -> dict[str, Any]:
    from opintel.fts.evaluate_templates import evaluate

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
    from opintel.simulation import write
    from opintel.site.load import load_site
    from opintel.site.story import stories_for

    stories = stories_for(load_site(), stream)
    with tempfile.TemporaryDirectory(prefix="opintel-evaluate-") as name:
        if not folders:
            folders = tuple(Path(name) / f"seed{seed}" for seed in SEEDS)
            for seed, folder in zip(SEEDS, folders, strict=True):
                write(folder, stories.simulator(hours=stories.hours, seed=seed), suffix=stories.suffix)
        return _judged([_story(stream, folder, Path(name) / f"run{n}") for n, folder in enumerate(folders)])


def _story(stream: str, folder: Path, data: Path) -> dict[str, Any]:
    """One simulated folder through the pipeline: its faults and what was made of them."""
    import msgspec

    from opintel.cli.replay import replay
    from opintel.finding import parse_rfc3339
    from opintel.site.story import match

    truth = folder / "truth.json"
    if not truth.exists():
        raise UserError(f"{folder}: no truth.json there; `opintel simulate {stream} --out DIR` writes one")
    faults = [{"stream": stream, **fault} for fault in msgspec.json.decode(truth.read_bytes())]
    incidents = replay(stream, (folder,), data, None, 64, warn=lambda _: None)["incidents"]
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
