"""An hour of an FTS in numbers, as a finding of kind `traffic` carries it: who sent how much to whom, what failed, and
why.

`opintel.fts.judging.traffic` adds it up and writes it as evidence; the console and the daily report read it back. Each
list is bounded, so a table may hold the first of many; `HourTraffic.total` counts all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from opintel.evidence import Evidence, Matrix, Table
from opintel.finding import Finding, Window

OTHERS: Final = "other sites"
"""Stands for those that have no row of their own: no host is called so."""
TOTAL, SITES_OK, SITES_FAILED, SITES_BYTES = "Traffic", "Files that arrived", "Files that failed", "Bytes that arrived"
SITES_USER = "Files that failed by a user's fault"
ENDPOINTS, LINKS, ACTIVITIES = "Endpoints", "Links", "VOs and activities"
CAUSES, PLACES, ODD = "Families of causes", "Families by endpoint", "Error texts that no family fits"
"""Titles of the evidence."""
SiteValues = list[list[float | None]]
R = TypeVar("R", bound=tuple[Any, ...])


class HourTotal(NamedTuple):
    """Everything, whatever the lists leave out."""

    ok: int = 0
    failed: int = 0
    aborted: int = 0
    """Files: that arrived, that failed, that somebody cancelled."""
    retries: int = 0
    errors: int = 0
    """Error messages, of retries too."""
    bytes: int = 0
    links: int = 0
    endpoints: int = 0
    user: int = 0
    """Of the failed files: those that a user or a VO is to blame for (`opintel.fts.causes.blame`)."""


class LinkTraffic(NamedTuple):
    """A link; `cause`: the family of most of its errors, empty where it has none."""

    source: str
    destination: str
    ok: int
    failed: int
    bytes: int
    cause: str = ""
    by_user: int = 0
    by_source: int = 0
    by_destination: int = 0
    """Whose fault `failed` files were; the others are the link's."""


class EndpointTraffic(NamedTuple):
    """An endpoint in both roles, and its site."""

    endpoint: str
    site: str
    ok_out: int
    failed_out: int
    bytes_out: int
    ok_in: int
    failed_in: int
    bytes_in: int
    user_out: int = 0
    user_in: int = 0
    """Of the failed files: by a user's fault."""


class ActivityTraffic(NamedTuple):
    """Files of a VO and activity, empty where messages do not say."""

    vo: str
    activity: str
    ok: int
    failed: int


class CauseTraffic(NamedTuple):
    """Errors of a family, on how many links, and one as it was sent."""

    family: str
    errors: int
    links: int
    example: str


class PlaceTraffic(NamedTuple):
    """Errors of a family on the links of an endpoint."""

    endpoint: str
    family: str
    errors: int


class OddText(NamedTuple):
    """A masked text of no family, and an example."""

    text: str
    errors: int
    example: str


class HourTraffic(NamedTuple):
    """All of an hour, or of what was judged of it."""

    window: Window
    scope: str
    total: HourTotal
    sites: list[str]
    """Rows (sources) and columns (destinations) of the matrices."""
    ok: SiteValues
    failed: SiteValues
    bytes: SiteValues
    user: SiteValues
    """Of the failed files: by a user's fault."""
    endpoints: list[EndpointTraffic]
    links: list[LinkTraffic]
    activities: list[ActivityTraffic]
    causes: list[CauseTraffic]
    places: list[PlaceTraffic]
    odd: list[OddText]

    def evidence(self) -> list[Evidence]:
        """As blocks, the most important first."""
        axes = ("source", "destination")
        matrices = [(SITES_FAILED, self.failed, "files"), (SITES_OK, self.ok, "files"), (SITES_BYTES, self.bytes, "B")]
        matrices += [(SITES_USER, self.user, "files")] if self.total.user else []
        return [
            _table(TOTAL, HourTotal, [self.total]),
            _table(CAUSES, CauseTraffic, self.causes),
            *(Matrix(title, self.sites, self.sites, values, unit, *axes) for title, values, unit in matrices),
            _table(LINKS, LinkTraffic, self.links),
            _table(ENDPOINTS, EndpointTraffic, self.endpoints),
            _table(ACTIVITIES, ActivityTraffic, self.activities),
            _table(PLACES, PlaceTraffic, self.places),
            _table(ODD, OddText, self.odd),
        ]


def traffic_of(finding: Finding) -> HourTraffic | None:
    """The hour in a finding of kind `traffic`; None where it holds none. What is missing in it is empty.
    Raises ValueError where a cell is not what its column says: who may write the topic may write anything.

    >>> sites = ["a"], [[3.0]], [[0.0]], [[9.0]], [[0.0]]
    >>> hour = HourTraffic(Window(0, 3600), "fts1", HourTotal(ok=3), *sites, *[[]] * 6)
    >>> from opintel.finding import Effect
    >>> about = {"id": "1", "detector": "fts.traffic", "kind": "traffic", "subject": {"scope": "fts1"}, "summary": ""}
    >>> how = {"log10_p": None, "basis": "none", "effect": Effect(0.0, "failed share"), "severity": "info"}
    >>> said = Finding(**about, **how, window=hour.window, evidence=tuple(hour.evidence()))
    >>> traffic_of(said) == hour
    True
    """
    tables = {block.title: block for block in finding.evidence if isinstance(block, Table)}
    matrices = {block.title: block for block in finding.evidence if isinstance(block, Matrix)}
    total = _rows(tables, TOTAL, HourTotal)
    if not total:
        return None
    none = Matrix("", [], [], [], "")
    ok, failed, size = (matrices.get(title, none) for title in (SITES_OK, SITES_FAILED, SITES_BYTES))
    whole = ok.rows == failed.rows == size.rows
    user = matrices.get(SITES_USER, none)
    nobody = [[None if files is None else 0.0 for files in row] for row in failed.values]
    return HourTraffic(
        finding.window,
        finding.subject.get("scope", ""),
        total[0],
        failed.rows if whole else [],
        ok.values if whole else [],
        failed.values if whole else [],
        size.values if whole else [],
        (user.values if user.rows == failed.rows else nobody) if whole else [],
        endpoints=_rows(tables, ENDPOINTS, EndpointTraffic),
        links=_rows(tables, LINKS, LinkTraffic),
        activities=_rows(tables, ACTIVITIES, ActivityTraffic),
        causes=_rows(tables, CAUSES, CauseTraffic),
        places=_rows(tables, PLACES, PlaceTraffic),
        odd=_rows(tables, ODD, OddText),
    )


def domain_of(host: str) -> str:
    """What a host belongs to where nothing else is known: its domain; an address or a short name is its own.

    >>> [domain_of(host) for host in ("se01.tier2.lund.example", "lund.example", "192.0.2.7", "[2001:db8::1]")]
    ['tier2.lund.example', 'lund.example', '192.0.2.7', '[2001:db8::1]']
    """
    first, _, rest = host.partition(".")
    address = ":" in host or host.replace(".", "").isdigit()
    return rest if "." in rest and first and not address else host


def _table(title: str, row: type[Any], rows: Sequence[Any]) -> Table:
    return Table(title, list(row._fields), [list(one) for one in rows])


def _rows(tables: dict[str, Table], title: str, row: type[R]) -> list[R]:
    """The rows of a table by the names of its columns; what a later version adds is passed over, what an earlier one
    did not have has its default."""
    table, names = tables.get(title), list(row.__annotations__)
    defaults: dict[str, Any] = row._field_defaults  # type: ignore[attr-defined]
    if table is None or not set(names) - defaults.keys() <= set(table.columns):
        return []
    at = [(table.columns.index(name) if name in table.columns else -1, name) for name in names]
    said = [[defaults[name] if n < 0 else cells[n] for n, name in at] for cells in table.rows]
    return msgspec.convert(said, list[row])  # type: ignore[valid-type]
