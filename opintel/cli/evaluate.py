"""`opintel evaluate`: the detectors measured against truth: labelled log files, and the simulator's faults."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opintel.cli.stored import json_option, print_json
from opintel.site.errors import UserError

if TYPE_CHECKING:
    from opintel.detector import Record
    from opintel.simulation import Simulation, Stories
    from opintel.site.scores import Rules, StoryScore
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
        every = {**document["kinds"], "all": document["all"]} if document["kinds"] else {}
        print_table([{"kind": kind, **row} for kind, row in every.items()])
        click.echo(_summary(document))
        for title, rows in document.get("figures", {}).items():
            click.echo(f"\n{title}")
            print_table(rows)


def _summary(document: dict[str, Any]) -> str:
    incidents, false, stories, hours, weekly, cause = (
        document[key]
        for key in ("incidents", "false_incidents", "stories", "hours", "false_incidents_a_week", "cause_by_story")
    )
    text = f"{incidents} incidents, {false} false, in {stories} {'story' if stories == 1 else 'stories'} of {hours:g} h"
    text += f": {weekly:g} false a week" if weekly is not None else ""
    return text + (f"; cause, not symptom: {cause:.2f} a story" if cause is not None else "")


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
    from opintel.simulation import HOUR, Played
    from opintel.site.load import load_site
    from opintel.site.scores import score, table
    from opintel.site.story import injected, stories_for

    site = load_site()
    stories = stories_for(site, stream)
    rules = _rules(site, stream, stories)
    with tempfile.TemporaryDirectory(prefix="opintel-evaluate-") as name:
        if folders:
            return table([_folder(stream, folder, Path(name) / f"run{n}", rules) for n, folder in enumerate(folders)])
        played: list[Played] = []
        documents: list[dict[str, Any]] = []

        def play(simulation: Simulation) -> Played:
            folder = Path(name) / f"run{len(documents)}"
            documents.append(_replayed(stream, stories, simulation, folder))
            records = _records(site, stream, folder / "data") if stories.figures else []
            return Played(simulation, records, documents[-1]["findings"])

        for seed in SEEDS:
            told = stories.evaluated(seed) if stories.evaluated else [stories.simulator(hours=stories.hours, seed=seed)]
            played += map(play, told)
        document = table(
            [
                score(
                    stream,
                    [{**fault, "cause": f.cause} for f, fault in zip(truth, injected(stream, truth), strict=True)],
                    said["incidents"],
                    (one.simulation.end - one.simulation.start) / HOUR,
                    rules,
                )
                for one, said in zip(played, documents, strict=True)
                for truth in [one.simulation.truth]
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

    system, found, position = System(data, site.by_itself(), replayed=True), list[Any](), 0
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


def _folder(stream: str, folder: Path, data: Path, rules: Rules) -> StoryScore:
    """One simulated folder through the pipeline: its faults and what was made of them."""
    import msgspec

    from opintel.cli.replay import replay
    from opintel.site.scores import score

    truth = folder / "truth.json"
    if not truth.exists():
        raise UserError(f"{folder}: no truth.json there; `opintel simulate {stream} --out DIR` writes one")
    faults = msgspec.json.decode(truth.read_bytes())
    said = replay(stream, (folder,), data, None, 64, warn=lambda _: None)
    hours = 1 + max(int(file.stem[:4]) for file in (folder / "messages").glob("[0-9]*"))
    return score(stream, faults, said["incidents"], hours, rules)


def _rules(site: Site, stream: str, stories: Stories) -> Rules:
    from opintel.site.domains import pipeline_of
    from opintel.site.scores import Rules

    settings = site.streams[stream]
    pipeline = pipeline_of(settings.domain)
    window = None if pipeline.ends is not None else settings.window
    return Rules(pipeline.naming.entities, window, stories.wide, stories.harmless)


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
