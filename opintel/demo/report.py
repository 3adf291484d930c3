"""What a demo says at its start and at its end, and its report."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import click

from opintel.site.domains import stories_of

if TYPE_CHECKING:
    from opintel.demo.receiver import Receiver
    from opintel.site.story import Story
    from opintel.site.system import System

HISTORY = "history: the quiet hours before"
Progress = Callable[[str], AbstractContextManager[Callable[[float], None]]]
"""Title → what shows how far something is: it is called with the share done."""


def report(
    system: System,
    receiver: Receiver,
    story: Story,
    through: Mapping[str, int],
    seconds: float,
    services: list[dict[str, Any]],
) -> dict[str, Any]:
    """The demo report; `through`: stream → how much of its story was played, ns."""
    from opintel.site.story import injected, match
    from opintel.store.queries import incidents

    faults = [
        fault
        for chapter in story.chapters
        for fault in injected(
            chapter.stream, [f for f in story.simulation(chapter).truth if f.start < through[chapter.stream]]
        )
    ]
    found = incidents(system.store)
    matches = match(faults, found)
    matched = {incident for ids in matches.values() for incident in ids}
    return {
        "seconds": round(seconds, 1),
        "injected": faults,
        "incidents": found,
        "matches": matches,
        "missed": [fault for fault, ids in matches.items() if not ids],
        "false_incidents": sum(i["id"] not in matched for i in found),
        "tickets": [
            {"incident": t["incident"], "sink": "tickets", "created": t["created"], "updates": t["updates"]}
            for t in receiver.tickets()
        ],
        "streams": {chapter.stream: _stream(system, chapter.stream) for chapter in story.chapters},
        "services": services,
    }


def _stream(system: System, name: str) -> dict[str, Any]:
    from opintel.store.queries import finding_counts
    from opintel.streams.vitals import stream_status

    status = stream_status(system.log, system.stream(name).stream)
    return {
        "messages": status.messages,
        "findings": sum(n for (stream, _), n in finding_counts(system.store).items() if stream == name),
        "dead_letters": status.asides["dead"],
        "lag": status.lag,
    }


def welcome(console: str, tickets: str, length: float | None, story: Story, where: str) -> None:
    """What to look at, on stderr. `where`: how the services run."""
    kinds = sum(len(chapter.faults) for chapter in story.chapters)
    faults = "no fault is injected" if story.clean else f"{kinds} faults are injected, one of each kind"
    end = "the story lasts a minute, Ctrl-C ends the demo" if length is None else f"it ends after {length:.0f} s"
    stories = [stories_of(chapter.domain) for chapter in story.chapters]
    seen = ", ".join(dict.fromkeys(one.summary for one in stories))
    proposed = " and ".join(sorted({kind for one in stories for kind in one.proposed}))
    by_hand = f"; those of kind {proposed} are only proposed: send them from the incident's page" if proposed else ""
    lines = [
        "",
        f"  opintel demo, seed {story.seed}: {seen}, eight hours a minute;",
        f"  {faults}; {end}.",
        f"  {where}",
        "",
        f"  console   {console}",
        "            incidents appear within seconds of a fault: open one, look at its evidence, acknowledge it,",
        "            call it a false alarm; `Streams` shows lag and freshness.",
        f"  tickets   {tickets}",
        f"            what a ticket system gets{by_hand}.",
        "",
    ]
    click.echo("\n".join(lines), err=True)


def show(console: str) -> None:
    """Opens the console in a browser, where there is a screen: on a server, xdg-open only prints what it misses."""
    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        click.launch(console)


def story_is_over() -> None:
    """Said once, where the demo has no limit."""
    click.echo("  the story is over; console and tickets stay until Ctrl-C, `--seed N` tells another", err=True)


def farewell(document: dict[str, Any]) -> None:
    """What happened, in a few lines on stdout."""
    lines = []
    titles = {i["id"]: i["title"] for i in document["incidents"]}
    for fault in document["injected"]:
        ids = document["matches"][fault["id"]]
        title = titles[ids[0]] if ids else "no incident"
        lines.append(
            f"{'found ' if ids else 'MISSED'}  {fault['stream']:6}  {fault['kind']:20} "
            f"{' > '.join(fault['subject'].values())}: {title}"
        )
    tickets = sum(t["created"] for t in document["tickets"])
    messages = sum(stream["messages"] for stream in document["streams"].values())
    lines.append(
        f"{messages} messages, {len(document['incidents'])} incidents ({document['false_incidents']} false), "
        f"{tickets} tickets, {document['seconds']:.0f} s"
    )
    sys.stdout.write("\n".join(lines) + "\n")
