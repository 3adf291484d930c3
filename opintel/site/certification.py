"""What the store knows of the quality of lumisections, for `opintel certify` and the console: the `quality` findings,
and what shifters signed off about them.
"""

from __future__ import annotations

import logging
from typing import get_args

import msgspec
import sqlalchemy as sa

from opintel.alerts.actions import Refused
from opintel.alerts.ticket import clean
from opintel.dqm.quality.certify import LumisectionQuality, SignOff, Verdict, quality_of
from opintel.finding import rfc3339
from opintel.store import Store
from opintel.store import schema as t
from opintel.store.queries import read_finding

log = logging.getLogger(__name__)
COMMENT = 1000
"""Characters of a comment."""
SIEVED = 20
"""Findings that are looked at where one is wanted: a database may take `calo` for `Calo`."""


def qualities(store: Store, run: int | None = None) -> list[LumisectionQuality]:
    """The state of every subsystem in every lumisection of a run, of all streams; None: of all runs."""
    query = sa.select(t.finding.c.content).where(t.finding.c.kind == "quality")
    if run is not None:
        query = query.where(t.finding.c.content.contains(_written("run", str(run)), autoescape=True))
    with store.read() as connection:
        found = [read_quality(content) for content in connection.execute(query).scalars()]
    return [one for one in found if one is not None and run in (None, one.run)]


def read_quality(content: str) -> LumisectionQuality | None:
    """A `quality` finding from its column; None, and a line in the log, where it says no state of a lumisection."""
    try:
        return quality_of(read_finding(content))
    except ValueError as error:
        log.warning("left out: %s", error)
        return None


def sign_offs(store: Store, run: int | None = None, stream: str | None = None) -> list[SignOff]:
    """What was signed off about a run, the oldest first; None: about all runs, of all streams."""
    table = t.sign_off.c
    query = sa.select(t.sign_off).order_by(table.id)
    for given, column in ((run, table.run), (stream, table.stream)):
        query = query if given is None else query.where(column == given)
    with store.read() as connection:
        return [
            SignOff(row.subsystem, row.run, row.first, row.last, row.verdict, row.by, rfc3339(row.at), row.comment)
            for row in connection.execute(query)
        ]


def sign_off(
    store: Store,
    stream: str,
    subsystem: str,
    run: int,
    first: int,
    last: int,
    verdict: str,
    by: str,
    *,
    now: int,
    comment: str = "",
) -> None:
    """A shifter's word about a subsystem from lumisection `first` to `last`, both included. What was said stays: the
    last word about a lumisection counts. `now` (ns UTC) dates it. Raises Refused for a verdict that is none, a range
    without a lumisection, and a subsystem of which nothing was judged in the run.
    """
    if verdict not in get_args(Verdict):
        raise Refused(f"expected good, bad or as judged, got {clean(verdict, 40)!r}")
    if not first <= last:
        raise Refused(f"expected the first lumisection before the last one, got {first} to {last}")
    query = sa.select(t.finding.c.content).where(t.finding.c.stream == stream, t.finding.c.kind == "quality")
    for label, text in (("run", str(run)), ("scope", subsystem)):
        query = query.where(t.finding.c.content.contains(_written(label, text), autoescape=True))
    with store.write() as connection:
        found = [read_quality(content) for content in connection.execute(query.limit(SIEVED)).scalars()]
        if not any(one is not None and (one.subsystem, one.run) == (subsystem, run) for one in found):
            raise Refused(f"nothing was judged of subsystem {clean(subsystem, 80)!r} in run {run}")
        said = {"verdict": verdict, "by": clean(by, 80) or "unknown", "comment": clean(comment, COMMENT)}
        place = {"stream": stream, "subsystem": subsystem, "run": run, "first": first, "last": last}
        connection.execute(sa.insert(t.sign_off).values(**place, **said, at=now))


def _written(label: str, text: str) -> str:
    """A label as the subjects of findings are written: a sieve, so that not all contents are read."""
    return f'"{label}":{msgspec.json.encode(text).decode()}'
