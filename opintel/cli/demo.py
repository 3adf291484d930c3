"""`opintel demo`: the whole system on simulated streams: simulate, run and report, on a faster clock.

A quiet history warms the detectors up; then the story goes live at 480 times the world's speed, one fault of
each kind in it. Tickets go to a small receiver that stands for a ticket system. All of it is in `opintel.demo`.
"""

from __future__ import annotations

import logging
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Literal

import click

from opintel.site.errors import UserError


class Seconds(click.ParamType):  # type: ignore[type-arg]
    """`40s`, `2m` → seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from opintel.durations import duration

        try:
            return value if isinstance(value, float) else duration(value) / 1e9
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(short_help="Show the whole system on simulated streams, in a browser.")
@click.option("--for", "length", type=Seconds(), help="End after so long, counted from the first live message.")
@click.option("--headless", is_flag=True, help="No browser; console and ticket receiver on free ports.")
@click.option(
    "--report", "document", type=click.Path(path_type=Path, dir_okay=False), help="Write what happened as JSON."
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0), help="Another seed, another story.")
@click.option("--clean", is_flag=True, help="Inject no fault.")
@click.option(
    "--bus",
    default="local",
    show_default=True,
    type=click.Choice(["local", "kafka"]),
    help="kafka: over a broker of its own, each service a process, one of them killed on the way.",
)
@click.option(
    "--bootstrap", metavar="HOST:PORT", help="With --bus kafka: your broker; it must not know opintel's topics."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep log and store in this new folder (default: thrown away).",
)
def command(
    length: float | None,
    headless: bool,
    document: Path | None,
    seed: int,
    clean: bool,
    bus: Literal["local", "kafka"],
    bootstrap: str | None,
    data: Path | None,
) -> None:
    """The simulators' stories flow through the real pipeline to incidents in a browser and tickets."""
    if document is not None and not document.resolve().parent.is_dir():
        raise UserError(f"--report {document}: no such folder {document.resolve().parent}")
    if data is not None and data.exists() and any(data.iterdir()):
        raise UserError(f"{data} is not empty; a demo starts in a new folder")
    if bootstrap and bus != "kafka":
        raise UserError("--bootstrap goes with --bus kafka")
    click.echo("opintel demo: first the quiet hours that teach the detectors, some ten seconds", err=True)
    from opintel.cli import invoke
    from opintel.cli.progress import share_progress
    from opintel.demo.plan import tell
    from opintel.demo.playing import play
    from opintel.demo.report import farewell

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with tempfile.TemporaryDirectory(prefix="opintel-demo-") as folder:
        place = (data or Path(folder)).absolute()
        place.mkdir(parents=True, exist_ok=True)
        story = partial(tell, place, length=length, seed=seed, clean=clean)
        happened = play(
            place,
            story,
            length,
            headless=headless,
            progress=share_progress,
            invoke=invoke,
            bus=bus,
            bootstrap=bootstrap,
        )
    if document is not None:
        import msgspec

        document.write_bytes(msgspec.json.format(msgspec.json.encode(happened), indent=1))
    farewell(happened)
