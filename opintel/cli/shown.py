"""Findings, incidents, tickets and backfills as people read them in a terminal.

Texts are untrusted: control characters never reach it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 40
SHOWN_REASONS, SHOWN_PLACES = 10, 3
PIPED = 200
"""Columns where the output is no terminal."""


def print_incidents(incidents: list[dict[str, Any]]) -> None:
    """A table of incidents, the newest first: the title, and below it what became of it."""
    from rich.text import Text

    rows = [
        [
            clean(i["start"][:16]),
            clean(i["severity"]),
            Text("\n").join([clean(i["title"]), Text(_fate(i), style="dim")]),
        ]
        for i in incidents[:SHOWN]
    ]
    _print("incidents", ["began", "severity", "incident"], rows, len(incidents))


def print_findings(findings: list[dict[str, Any]]) -> None:
    """A table of findings, sorted by window end: those of one matter (kind and subject) are one line with their first
    window, their number and the most surprising of them, the newest of equals. The matter whose last finding is the
    newest comes last.
    """
    matters: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for found in findings:
        matter = (found["kind"], str(sorted(found["subject"].items())))
        alike = matters.pop(matter, [])
        alike.append(found)
        matters[matter] = alike
    rows = []
    for alike in list(matters.values())[-SHOWN:]:
        most = min(reversed(alike), key=lambda f: (f["severity"] == "info", f["log10_p"] or 0.0))
        rows.append(
            [
                clean(alike[0]["window"]["end"][:16]),
                clean(str(len(alike))),
                clean(most["kind"]),
                clean("" if most["log10_p"] is None else f"{most['log10_p']:.1f}"),
                clean(most["summary"]),
            ]
        )
    columns = ["first window end", "findings", "kind", "log10 p", "the most surprising"]
    _print(f"{len(findings)} findings, by kind and subject", columns, rows, len(matters))


def print_defects(defects: list[dict[str, Any]]) -> None:
    """A table of defects, and below each what shifters signed off about it."""
    from rich.text import Text

    rows = []
    for one in defects[:SHOWN]:
        signed = [f"signed off {s['verdict']} {s['first']}-{s['last']} by {s['by']}" for s in one["overrides"]]
        what = [clean(f"{one['bit']}{', ' if one['histogram'] else ''}{one['histogram']}"), *map(clean, signed)]
        p = "" if one["log10_p"] is None else f"{one['log10_p']:.1f}"
        spoils = "critical" if one["critical"] else "minor"
        rows.append([clean(f"{one['first']}-{one['last']}"), clean(spoils), clean(p), Text("\n").join(what)])
    _print("defects", ["lumisections", "", "log10 p", "defect"], rows, len(defects))


def print_retried(tickets: list[dict[str, Any]]) -> None:
    """A table of tickets that are sent again."""
    rows = [[clean(one["ticket"]), clean(one["sink"]), clean(str(one["messages"]))] for one in tickets]
    _print("tickets to send again", ["key", "sink", "messages"], rows, len(rows))


def print_input(read: dict[str, Any]) -> None:
    """What was read of files: columns, and why the rest was refused."""
    for title in ("used", "dropped"):
        if names := read[f"columns_{title}"]:
            click.echo(f"columns {title}: {', '.join(names)}")
    for one in read["rejected"][:SHOWN_REASONS]:
        places = ", ".join(one["places"][:SHOWN_PLACES]) + (", …" if one["count"] > SHOWN_PLACES else "")
        click.echo(f"refused: {one['count']}, at {places}: {one['reason']}")
    if (more := len(read["rejected"]) - SHOWN_REASONS) > 0:
        click.echo(f"refused for {more} more reasons: see --json")
    for one in read["out_of_order"][:SHOWN_REASONS]:
        click.echo(f"out of order: {one['rows']} rows, the first at {one['place']}")


def print_backfill(document: dict[str, Any]) -> None:
    """What a backfill found, and what a change means."""
    print_findings(document["findings"])
    if "input" in document:
        print_input(document["input"])
    if compared := document.get("compare"):
        _print_compared(compared)
    others = ", ".join(f"{n} {kind}" for kind, n in document["set_aside"].items()) or "none"
    days = len(document["days"])
    click.echo(
        f"{days} {'day' if days == 1 else 'days'}, {document['records']} records, {document['rows']} rows, "
        f"{len(document['findings'])} findings; rows set aside: {others}"
    )


def wide_console() -> Console:
    """Where tables are printed, of PIPED columns where that is no terminal."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=PIPED)


def _print_compared(compared: dict[str, Any]) -> None:
    both, named = compared["incidents"], ("in the archive" if compared["against"] == "archive" else "without")
    mine = "found again" if compared["against"] == "archive" else "with these settings"
    for which, what in (("only_here", f"only {mine}"), ("only_there", f"only {named}")):
        click.echo(f"{what}: {len(compared[which])} findings, {len(both[which])} incidents")
        if both[which]:
            print_incidents(both[which])
    shifted = sum(1 for pair in both["both"] if pair["opened_later"])
    click.echo(
        f"changed: {len(compared['changed'])} findings; the same: {len(both['both'])} incidents, "
        f"{shifted} of them detected earlier or later"
    )


def _fate(incident: dict[str, Any]) -> str:
    n, tickets = incident["findings"], ", ".join(f"ticket {ticket['state']}" for ticket in incident["tickets"])
    state = incident["state"] + (", not seen to recover" if incident["quiet"] else "")
    parts = [state, f"{n} finding" if n == 1 else f"{n} findings", tickets]
    return " · ".join(part for part in parts if part)


def clean(text: str) -> Any:
    from rich.text import Text

    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def _print(title: str, columns: list[str], rows: list[list[Any]], total: int) -> None:
    if not rows:
        return
    from rich.table import Table

    shown = f"{title} ({total})" if len(rows) == total else f"{title} ({len(rows)} of {total})"
    table = Table(title=shown, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns[:-1]:
        table.add_column(column, no_wrap=True)
    table.add_column(columns[-1], overflow="fold")
    for row in rows:
        table.add_row(*row)
    wide_console().print(table)
