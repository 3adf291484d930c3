"""The rule of CMS operators and our findings, against the truth of simulated stories: precision and recall by endpoint
and hour.

    python benchmarks/fts_cms_rule.py [--seeds 3]

The stories are the first of each seed of `opintel evaluate fts`: one FTS, the usual faults. An hour of an endpoint is
bad where a fault of its own acts for half of it or more; an hour with less of one counts for nothing. A fault of a link
is no endpoint's: to call endpoints bad then is wrong. The rule calls bad what has the verdict `error` in one of its
roles; we what a finding of a failing endpoint, or an incident, is about.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table

from opintel.cli.replay import replay
from opintel.finding import parse_rfc3339, rfc3339
from opintel.fts.cms_rule import site_verdicts
from opintel.fts.rule_comparison import HOUR
from opintel.fts.simulated.simulate import evaluated
from opintel.fts.traffic import HourTraffic, traffic_of
from opintel.simulation import Fault, Simulation, write
from opintel.store import open_store, sqlite_url
from opintel.store import schema as t
from opintel.store.queries import read_finding

RULE, FINDINGS, INCIDENTS = "the rule of CMS", "our findings", "our incidents"


class _Place(NamedTuple):
    """An hour of an endpoint in an FTS."""

    scope: str
    host: str
    hour: int
    """Number since 1970."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    hours = [hour for seed in range(1, seeds + 1) for hour in judged(evaluated(seed)[0])]
    table = Table(title=f"{seeds} stories, {len(hours)} hours of endpoints")
    for heading in ("", "precision", "recall", "called bad", "bad"):
        table.add_column(heading, justify="right" if heading else "left")
    for name in (RULE, FINDINGS, INCIDENTS):
        counts = Counter((bad, name in said) for bad, said in hours)
        right, wrong, missed = counts[True, True], counts[False, True], counts[True, False]
        shares = (f"{right / max(right + other, 1):.2f}" for other in (wrong, missed))
        table.add_row(name, *shares, str(right + wrong), str(right + missed))
    Console().print(table)


def judged(story: Simulation) -> Iterator[tuple[bool, set[str]]]:
    """For each hour of an endpoint with traffic: whether it is bad, and who says so."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "story"), story, lambda *_: None)
        said = replay("fts", (Path(folder, "story"),), Path(folder, "data"), None, 64, lambda _: None)
        store = open_store(sqlite_url(Path(folder, "data", "store.db")))
        with store.read() as connection:
            f = t.finding.c
            contents = connection.execute(t.finding.select().where(f.kind == "traffic").order_by(f.window_end, f.id))
            hours = [hour for row in contents if (hour := traffic_of(read_finding(row.content))) is not None]
            incidents = connection.execute(t.incident.select()).all()
        store.close()
    ours: dict[str, set[_Place]] = {FINDINGS: set(), INCIDENTS: set()}
    for one in said["findings"]:
        if one["kind"] == "endpoint":
            ours[FINDINGS].update(_places(one["subject"], one["window"]["start"], one["window"]["end"]))
    for row in incidents:
        if len(about := msgspec.json.decode(row.about)) == 1:
            subject = {"scope": row.scope, "endpoint": about[0]}
            ours[INCIDENTS].update(_places(subject, rfc3339(row.start), rfc3339(row.last)))
    for hour in hours:
        hosts = {
            end for link in hour.links for end in (link.source, link.destination) if link.source != link.destination
        }
        rule = site_verdicts(hour.links, {host: host for host in hosts})
        for host in sorted(rule):
            place = _Place(hour.scope, host, hour.window.start // HOUR)
            share = max(
                [_share(fault, hour) for fault in story.truth if fault.subject.get("endpoint") == host], default=0
            )
            if share == 0 or share >= 0.5:
                callers = {name for name, places in ours.items() if place in places}
                yield share > 0, callers | ({RULE} if rule[host] == "error" else set())


def _places(subject: dict[str, str], start: str, end: str) -> Iterator[_Place]:
    first, last = parse_rfc3339(start), parse_rfc3339(end)
    for hour in range(first // HOUR, (last - 1) // HOUR + 1):
        yield _Place(subject["scope"], subject["endpoint"], hour)


def _share(fault: Fault, hour: HourTraffic) -> float:
    """Of an hour, in which a fault acts; a fault that names an FTS acts in that one."""
    if fault.subject.get("scope", hour.scope) != hour.scope:
        return 0.0
    return max(0, min(fault.end, hour.window.end) - max(fault.start, hour.window.start)) / HOUR


if __name__ == "__main__":
    main()
