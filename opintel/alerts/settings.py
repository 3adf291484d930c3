"""Which findings become alarms, and who hears of them: the typed form of `alerts/*.yaml`.

`opintel.site.load` reads the five files; the alert service, the sinks and the console take the result. Every
field is described where it stands; a field that is left out keeps the default shown here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, NewType

import msgspec

from opintel.alerts.sinks import SinkSettings
from opintel.alerts.sinks.log import LogSink
from opintel.durations import Duration
from opintel.finding import NS, SEVERITIES, Severity, parse_rfc3339
from opintel.paths import FilePath

MOST_KINDS = 10_000
"""More than the kinds of finding that a domain has."""
Timestamp = NewType("Timestamp", int)
"""ns UTC, in YAML a text in RFC 3339."""


class StrictSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all settings: a misspelt key is an error."""


class Rate(StrictSettings, frozen=True, kw_only=True):
    """How many false or unranked alarms a scope may have."""

    false_alarms_a_week: float = 1.0
    unranked_a_week: int = 0
    """Alarms a week from findings that have no p-value (a missing histogram). 0: they only explain other alarms."""

    def __post_init__(self) -> None:
        if not 0 < self.false_alarms_a_week <= 1000:
            raise ValueError(f"false_alarms_a_week: expected above 0 and at most 1000, got {self.false_alarms_a_week}")
        if not 0 <= self.unranked_a_week <= 1000:
            raise ValueError(f"unranked_a_week: expected 0 to 1000, got {self.unranked_a_week}")


class Budget(Rate, frozen=True, kw_only=True):
    """A rate that the tests of some kinds of finding share."""

    kinds: list[str]


class Budgets(StrictSettings, frozen=True, kw_only=True):
    """`budgets.yaml`: stream → name → budget."""

    default: Rate = Rate()
    """For a kind that no budget of its stream names: they share a budget called `other`."""
    streams: dict[str, dict[str, Budget]] = {}

    def __post_init__(self) -> None:
        for stream, budgets in self.streams.items():
            kinds = [kind for budget in budgets.values() for kind in budget.kinds]
            for kind in kinds:
                if kinds.count(kind) > 1:
                    raise ValueError(f"streams.{stream}: kind {kind!r} stands in two budgets, it can spend only one")
            if "other" in budgets:
                raise ValueError(f"streams.{stream}: 'other' is the name of the default budget, choose another one")

    def of(self, stream: str, kind: str) -> tuple[str, Rate]:
        """Name and rate of the budget that pays for `kind`."""
        for name, budget in self.streams.get(stream, {}).items():
            if kind in budget.kinds:
                return name, budget
        return "other", self.default


class Persistence(StrictSettings, frozen=True, kw_only=True):
    """When an alert fires, clears and flaps, counted in judged windows."""

    strong_needed: int = 1
    """Findings below the threshold fire when there are so many in the last `weak_of` windows; 1: at once."""
    weak_margin: float = 2.0
    """Decades above the threshold, up to which a finding is a weak sign."""
    weak_needed: int = 3
    weak_of: int = 4
    """Signs of any kind fire when there are `weak_needed` in the last `weak_of` windows."""
    clear_after: int = 3
    """It resolves after this many windows without one."""
    flap_rises: int = 3
    flap_within: int = 12
    """It flaps, and is held, while it rose `flap_rises` times in the last `flap_within` windows."""

    def __post_init__(self) -> None:
        if not 0 <= self.weak_margin <= 4:
            raise ValueError(f"weak_margin: expected 0 to 4 decades, got {self.weak_margin}")
        if not 1 <= self.strong_needed <= self.weak_needed <= self.weak_of <= self.flap_within:
            raise ValueError("1 <= strong_needed <= weak_needed <= weak_of <= flap_within")
        if not 1 <= self.clear_after <= self.flap_within <= 1000:
            raise ValueError("1 <= clear_after <= flap_within <= 1000")
        if not 2 <= self.flap_rises <= self.flap_within:
            raise ValueError("2 <= flap_rises <= flap_within")
        if self.strong_needed > 1:  # else findings would count twice, or weak ones for more than they cost: `budget`
            if self.clear_after < self.weak_of - 1:
                raise ValueError("with strong_needed above 1, clear_after >= weak_of - 1")
            if self.strong_needed * 10**self.weak_margin > self.weak_needed:
                raise ValueError("with strong_needed above 1, weak_needed >= strong_needed x 10^weak_margin")


class Grouping(StrictSettings, frozen=True, kw_only=True):
    """Which alerts are one incident."""

    entities: dict[str, list[str]] = {}
    """Stream → the labels that name what an incident can be about, where they are not those of its domain. A subject
    with one of them is about a thing, an endpoint; one with two is about what lies between two, a link."""
    link_joins_endpoint: Duration = Duration(3600 * NS)
    """A link's alert joins an incident about one of its endpoints that was last seen at most so long ago."""
    endpoint_absorbs_links: Duration = Duration(1800 * NS)
    """An endpoint's alert takes over incidents about its links that began at most so long before."""


class Lifecycle(StrictSettings, frozen=True, kw_only=True):
    """`incidents.yaml`."""

    persistence: Persistence = Persistence()
    persistence_of: dict[str, Persistence] = {}
    """Stream → its own, whole: windows of a minute and of an hour are not counted alike."""
    grouping: Grouping = Grouping()
    reopen: Duration = Duration(6 * 3600 * NS)
    """A resolved incident that comes back within this time is reopened; then it is closed."""

    def rules(self, stream: str) -> Persistence:
        """The persistence of a stream."""
        return self.persistence_of.get(stream, self.persistence)


class Match(StrictSettings, frozen=True, kw_only=True):
    """Which incidents a route takes; an empty list takes all."""

    streams: list[str] = []
    scopes: list[str] = []
    kinds: list[str] = []
    severities: list[Severity] = []

    def takes(self, stream: str, scope: str, kinds: set[str], severity: str) -> bool:
        """Whether an incident with alerts of `kinds` matches."""
        return (
            (not self.streams or stream in self.streams)
            and (not self.scopes or scope in self.scopes)
            and (not self.kinds or bool(kinds & set(self.kinds)))
            and (not self.severities or severity in self.severities)
        )


class Route(StrictSettings, frozen=True, kw_only=True):
    """Incidents that match → sinks. The first route that matches decides."""

    sinks: list[str]
    match: Match = Match()
    ticket: Literal["propose", "auto"] = "propose"
    """`propose`: an operator sends the ticket with one click; `auto`: it goes by itself."""


class RetryPolicy(StrictSettings, frozen=True, kw_only=True):
    """How long a message is tried."""

    first: Duration = Duration(NS)
    """Wait after the first failure; it doubles each time, with jitter, up to `longest`."""
    longest: Duration = Duration(1800 * NS)
    keep_trying: Duration = Duration(7 * 86_400 * NS)
    """From its first attempt on; then it has failed, until an operator sends it again."""
    attempts: int | None = None
    """Of files from before 0.2, where it bounded the attempts; `keep_trying` does now, and this is not looked at."""


class Routes(StrictSettings, frozen=True, kw_only=True):
    """`routes.yaml`."""

    sinks: dict[str, SinkSettings] = msgspec.field(default_factory=lambda: {"log": LogSink()})
    routes: list[Route] = []
    delivery: RetryPolicy = RetryPolicy()


class Maintenance(StrictSettings, frozen=True, kw_only=True):
    """A planned time in which a stream's matching subjects open no incident; their findings are marked."""

    stream: str
    subject: dict[str, str]
    """Labels that must agree; a thing's covers its links; empty: the whole stream."""
    start: Timestamp
    end: Timestamp
    reason: str

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise ValueError("end: expected a time after `start`")


class DowntimeFile(StrictSettings, frozen=True, kw_only=True):
    """A file of downtimes that others announce; it is read again when it changes."""

    stream: str
    path: FilePath
    """GOCDB's XML (`get_downtime`, its outages) or a calendar (iCalendar: hosts in LOCATION, else in SUMMARY)."""
    label: str = "endpoint"
    """The label of a subject that names the host."""


class Calendar(StrictSettings, frozen=True, kw_only=True):
    """`maintenance.yaml`."""

    maintenance: list[Maintenance] = []
    files: list[DowntimeFile] = []


class GridSite(StrictSettings, frozen=True, kw_only=True):
    """A site of the grid."""

    hosts: list[str] = []
    support_unit: str = ""
    """GGUS's, which gets the tickets about it."""


class SiteTopology(StrictSettings, frozen=True, kw_only=True):
    """`topology.yaml`: what belongs together though different streams see it, and whose the hosts are."""

    places: dict[str, dict[str, list[str]]] = {}
    """Place → stream → names of the things that are part of it, as subjects of findings name them."""
    sites: dict[str, GridSite] = {}
    """Site → its hosts and who answers for them."""
    files: list[FilePath] = []
    """More hosts of sites: CRIC's services in JSON, or YAML of `SITE: [host, ...]`; read at start."""

    def of(self, stream: str, subjects: Iterable[Mapping[str, str]]) -> list[str]:
        """The places of which any of these subjects names a part, in order.

        >>> topology = SiteTopology(places={"storage of A": {"fts": ["se01"], "health": ["disk01:9100"]}})
        >>> topology.of("health", [{"scope": "node", "instance": "disk01:9100"}])
        ['storage of A']
        """
        named = {text for subject in subjects for text in subject.values()}
        return sorted(place for place, parts in self.places.items() if not named.isdisjoint(parts.get(stream, ())))


class Declared(NamedTuple):
    """What a stream's domain says of its findings (`opintel.detector.Pipeline`)."""

    entities: Sequence[str] = ()
    """Labels that name what an incident is about."""
    kinds: Sequence[str] = ()
    """The worst first."""
    adapting: Sequence[str] = ()
    """Kinds that the detector gets used to: a finding says that it is over, not their silence."""
    explaining: Sequence[str] = ()
    """Kinds that raise no alarm, however surprising: they explain others."""
    across_scopes: bool = False
    """Names mean the same in every scope, and what is wrong with a thing is one incident of all of them."""


class AlertSettings(StrictSettings, frozen=True, kw_only=True):
    """All of `alerts/`."""

    budgets: Budgets = Budgets()
    lifecycle: Lifecycle = Lifecycle()
    routes: Routes = Routes()
    calendar: Calendar = Calendar()
    topology: SiteTopology = SiteTopology()
    declared: Mapping[str, Declared] = {}
    """Stream → what its domain says; none of it stands in YAML."""

    def over(self, declared: Mapping[str, Declared]) -> AlertSettings:
        """These settings over what each stream's domain declares; its labels hold where `grouping` names none."""
        grouping = self.lifecycle.grouping
        named = {stream: list(said.entities) for stream, said in declared.items() if said.entities} | grouping.entities
        lifecycle = msgspec.structs.replace(self.lifecycle, grouping=msgspec.structs.replace(grouping, entities=named))
        return msgspec.structs.replace(self, lifecycle=lifecycle, declared=declared)

    def weight(self, stream: str, kind: str, severity: Severity) -> int:
        """How bad a finding is, the worst smallest: by severity, then by the domain's order of kinds."""
        kinds = self.declared.get(stream, Declared()).kinds
        return (kinds.index(kind) if kind in kinds else len(kinds)) - MOST_KINDS * severity_rank(severity)

    def adapting(self, stream: str) -> Sequence[str]:
        """The kinds of a stream whose silence does not mean that it is over."""
        return self.declared.get(stream, Declared()).adapting

    def explaining(self, stream: str) -> Sequence[str]:
        """The kinds of a stream that raise no alarm."""
        return self.declared.get(stream, Declared()).explaining

    def across_scopes(self, stream: str) -> bool:
        """Whether a thing is the same in every scope of a stream."""
        return self.declared.get(stream, Declared()).across_scopes


def moment(given: object) -> Timestamp:
    """ns UTC of a text in RFC 3339. Raises ValueError.

    >>> moment("1970-01-01T00:00:01Z")
    1000000000
    """
    if not isinstance(given, str):
        raise ValueError(f"expected a time in quotes such as '2026-01-31T12:00:00Z', got {given!r}")
    return Timestamp(parse_rfc3339(given))


def severity_rank(severity: Severity) -> int:
    """0 for info, 2 for critical."""
    return SEVERITIES.index(severity)
