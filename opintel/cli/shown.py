"""Findings and incidents as people read them in a terminal. Texts are untrusted: control characters never reach
it."""

from __future__ import annotations

from typing import Any

SHOWN = 40


def print_incidents(incidents: list[dict[str, Any]]) -> None:
    """A table of incidents, the newest first."""
    rows = [
        [
            i["severity"],
            i["state"],
            i["start"][:16],
            i["title"],
            str(i["findings"]),
            ", ".join(t["state"] for t in i["tickets"]),
        ]
        for i in incidents[:SHOWN]
    ]
    _print("incidents", ["severity", "state", "began", "title", "findings", "tickets"], rows, len(incidents))


def print_findings(findings: list[dict[str, Any]]) -> None:
    """A table of findings, the newest last."""
    rows = [
        [f["window"]["end"][:16], f["kind"], "" if f["log10_p"] is None else f"{f['log10_p']:.1f}", f["summary"]]
        for f in findings[-SHOWN:]
    ]
    _print("findings", ["window end", "kind", "log10 p", "summary"], rows, len(findings))


def _print(title: str, columns: list[str], rows: list[list[str]], total: int) -> None:
    if not rows:
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = f"{title} ({total})" if len(rows) == total else f"{title} ({len(rows)} of {total})"
    table = Table(title=shown, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ("window end", "began", "log10 p"))
    for row in rows:
        table.add_row(
            *(Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in cell)) for cell in row)
        )
    Console().print(table)
