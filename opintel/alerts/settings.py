"""Who is told what: the typed form of `alerts/*.yaml`.

`load_alerts` reads the four files of a folder; the alert service, the sinks and the console take the result. Every
field is described where it stands; a field that is left out keeps the default shown here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import yaml

from opintel.finding import NS, SEVERITIES, Severity, parse_rfc3339
from opintel.yaml_places import refuse_aliases

T = TypeVar("T")

_UNITS = {"s": NS, "m": 60 * NS, "h": 3600 * NS, "d": 86_400 * NS}


class Duration(int):
    """A span of time in ns, written as `90s`, `30m`, `6h` or `7d`."""


class Moment(int):
    """A moment in ns UTC, written in RFC 3339."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all settings: a misspelt key is an error."""


class Rate(Settings, frozen=True, kw_only=True):
    """How often a scope may be told in vain."""

    false_alarms_a_week: float = 1.0
    unranked_a_week: int = 0
    """Alarms a week from findings that have no p-value (a missing histogram). 0: they only explain other alarms."""

    def __post_init__(self) -> None:
        if not 0 < self.false_alarms_a_week <= 1000:
            raise ValueError("false_alarms_a_week lies above 0 and is at most 1000")
        if not 0 <= self.unranked_a_week <= 1000:
            raise ValueError("unranked_a_week lies between 0 and 1000")


class Budget(Rate, frozen=True, kw_only=True):
    """A rate that the tests of some kinds of finding share."""

    kinds: list[str]


class Budgets(Settings, frozen=True, kw_only=True):
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


class Persistence(Settings, frozen=True, kw_only=True):
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
            raise ValueError("weak_margin lies between 0 and 4 decades")
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


class Grouping(Settings, frozen=True, kw_only=True):
    """Which alerts are one incident."""

    entities: dict[str, list[str]] = {}
    """Stream → the labels that name what an incident can be about, where they are not those of its domain. A subject
    with one of them is about a thing, an endpoint; one with two is about what lies between two, a link."""
    link_joins_endpoint: Duration = Duration(3600 * NS)
    """A link's alert joins an incident about one of its endpoints that was last seen at most so long ago."""
    endpoint_absorbs_links: Duration = Duration(1800 * NS)
    """An endpoint's alert takes over incidents about its links that began at most so long before."""


class Lifecycle(Settings, frozen=True, kw_only=True):
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


class LogSink(Settings, frozen=True, kw_only=True, tag_field="type", tag="log"):
    """One JSON line a message."""

    path: str = ""
    """A file to append to; empty: standard error."""


class WebhookSink(Settings, frozen=True, kw_only=True, tag_field="type", tag="webhook"):
    """A signed HTTPS POST a message (Standard Webhooks). Plain http goes to this machine only."""

    url: str
    secret_file: str = ""
    secret_env: str = ""
    """A file or an environment variable with the secret, `whsec_` and base64."""
    timeout: Duration = Duration(10 * NS)

    def __post_init__(self) -> None:
        if bool(self.secret_file) == bool(self.secret_env):
            raise ValueError("a webhook needs one of secret_file and secret_env")
        if not self.url.startswith(("https://", "http://")):
            raise ValueError(f"url is https://… (http:// to this machine only), got {self.url!r}")


Sink = LogSink | WebhookSink


class Match(Settings, frozen=True, kw_only=True):
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


class Route(Settings, frozen=True, kw_only=True):
    """Incidents that match → sinks. The first route that matches decides."""

    sinks: list[str]
    match: Match = Match()
    ticket: Literal["propose", "auto"] = "propose"
    """`propose`: an operator sends the ticket with one click; `auto`: it goes by itself."""


class Delivery(Settings, frozen=True, kw_only=True):
    """How hard a message is tried."""

    attempts: int = 12
    first: Duration = Duration(NS)
    """Wait after the first failure; it doubles each time, with jitter, up to `longest`."""
    longest: Duration = Duration(300 * NS)

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= 1000:
            raise ValueError("attempts lies between 1 and 1000")


class Routes(Settings, frozen=True, kw_only=True):
    """`routes.yaml`."""

    sinks: dict[str, Sink] = msgspec.field(default_factory=lambda: {"log": LogSink()})
    routes: list[Route] = []
    delivery: Delivery = Delivery()

    def __post_init__(self) -> None:
        for index, route in enumerate(self.routes):
            for sink in route.sinks:
                if sink not in self.sinks:
                    known = ", ".join(sorted(self.sinks)) or "none"
                    raise ValueError(f"routes[{index}].sinks: no sink {sink!r} is configured (there are: {known})")


class Maintenance(Settings, frozen=True, kw_only=True):
    """A planned time in which a stream's matching subjects open no incident."""

    stream: str
    subject: dict[str, str]
    """Labels that must agree; empty: the whole stream."""
    start: Moment
    end: Moment
    reason: str

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise ValueError("maintenance ends after it starts")


class Calendar(Settings, frozen=True, kw_only=True):
    """`maintenance.yaml`."""

    maintenance: list[Maintenance] = []


class AlertSettings(Settings, frozen=True, kw_only=True):
    """All of `alerts/`."""

    budgets: Budgets = Budgets()
    lifecycle: Lifecycle = Lifecycle()
    routes: Routes = Routes()
    calendar: Calendar = Calendar()

    def over(self, entities: Mapping[str, Sequence[str]]) -> AlertSettings:
        """These settings over the labels that each stream's domain declares, which hold where `grouping` names none."""
        grouping = self.lifecycle.grouping
        named = {stream: list(labels) for stream, labels in entities.items() if labels} | grouping.entities
        lifecycle = msgspec.structs.replace(self.lifecycle, grouping=msgspec.structs.replace(grouping, entities=named))
        return msgspec.structs.replace(self, lifecycle=lifecycle)


def load_alerts(directory: Path) -> AlertSettings:
    """The settings of a folder; a file that is missing keeps its defaults.

    Raises ValueError with a line for each bad file, `FILE: KEY: what is wrong and what would be right`; KEY is a
    path such as `streams.fts.failures` or `routes[0].match`.
    """
    parts = {"budgets": Budgets, "lifecycle": Lifecycle, "routes": Routes, "calendar": Calendar}
    loaded: dict[str, Any] = {}
    problems = []
    for name, kind in parts.items():
        file = {"lifecycle": "incidents", "calendar": "maintenance"}.get(name, name)
        try:
            loaded[name] = _load(directory / f"{file}.yaml", kind)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))
    return AlertSettings(**loaded)


def severity_rank(severity: Severity) -> int:
    """0 for info, 2 for critical."""
    return SEVERITIES.index(severity)


def labels_agree(wanted: Mapping[str, str], subject: Mapping[str, str]) -> bool:
    """Whether `subject` carries every label of `wanted`."""
    return all(subject.get(label) == text for label, text in wanted.items())


def _load(path: Path, kind: Callable[..., T]) -> T:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return kind()
    try:
        refuse_aliases(text.decode())
        plain = msgspec.yaml.decode(text)
    except (msgspec.DecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name}: not YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ValueError(f"{path.name}: nested too deeply") from error
    plain = {} if plain is None else plain
    try:
        return _convert(plain, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{path.name}: {_explain(error, plain, kind)}") from error


def _convert(plain: Any, kind: Callable[..., T]) -> T:
    return msgspec.convert(plain, kind, dec_hook=_from_text)  # type: ignore[no-any-return]


def _explain(error: msgspec.ValidationError, plain: Any, kind: Callable[..., Any]) -> str:
    """msgspec's message with the key in front, and the keys that exist where one does not."""
    what, _, where = str(error).partition(" - at `")
    steps = re.findall(r"[^.\[\]]+|\[[^\]]*\]", where.rstrip("`").removeprefix("$"))
    if "unknown field" in what and (fields := _fields(kind, steps)):
        what += f"; there are: {', '.join(fields)}"
    path = ""
    for depth, step in enumerate(steps):
        if step == "[...]":
            step = _culprit(error, plain, kind, steps[:depth])
            steps[depth] = step
        path += step if step.startswith("[") else f".{step}"
    if unknown := re.search(r"unknown field `([^`]+)`", what):
        path += f".{unknown[1]}"
    return f"{path.removeprefix('.')}: {what}" if path else what


def _culprit(error: msgspec.ValidationError, plain: Any, kind: Callable[..., Any], steps: list[str]) -> str:
    """msgspec does not say which key of a mapping it means: the one that alone gives the same error."""
    node = plain
    for step in steps:
        node = node[int(step[1:-1])] if step.startswith("[") else node[step]
    everything = dict(node)
    for key in everything:
        node.clear()
        node[key] = everything[key]
        try:
            _convert(plain, kind)
        except msgspec.ValidationError as again:
            if str(again) == str(error):
                node.clear()
                node.update(everything)
                return str(key)
    node.update(everything)
    return "[...]"


def _fields(kind: Any, steps: list[str]) -> list[str]:
    """The keys that exist at a path."""
    node = msgspec.inspect.type_info(kind)
    for step in steps:
        if isinstance(node, msgspec.inspect.StructType):
            node = next(f.type for f in node.fields if f.encode_name == step)
        elif isinstance(node, msgspec.inspect.DictType):
            node = node.value_type
        elif isinstance(node, msgspec.inspect.ListType):
            node = node.item_type
    structs = node.types if isinstance(node, msgspec.inspect.UnionType) else [node]
    names = [f.encode_name for s in structs if isinstance(s, msgspec.inspect.StructType) for f in s.fields]
    return list(dict.fromkeys(names))


def _from_text(kind: type, value: Any) -> Any:
    if kind is Duration:
        match = re.fullmatch(r"([0-9]{1,9})([smhd])", value) if isinstance(value, str) else None
        if match is None:
            raise ValueError(f"a duration is written as 90s, 30m, 6h or 7d, got {value!r}")
        return Duration(int(match[1]) * _UNITS[match[2]])
    if kind is Moment:
        if not isinstance(value, str):
            raise ValueError(f"a time is written in quotes as '2026-01-31T12:00:00Z', got {value!r}")
        return Moment(parse_rfc3339(value))
    raise NotImplementedError(kind)
