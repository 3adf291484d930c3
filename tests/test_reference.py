"""Every setting, detector, kind of finding, metric, command and option is in the reference as the code has it.

What should be there is collected from the code; nothing may be left out.
"""

from __future__ import annotations

import copy
import inspect
import re
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import click
import msgspec
import pytest
import sqlalchemy as sa
import yaml
from contract.cases import TOY_CASE, TOY_STREAM
from contract.harness import LOGS, feed
from pages import REPOSITORY, fences, sections, spans, tables

from opintel.alerts.settings import Budgets, Calendar, Lifecycle, Routes, SiteTopology, Timestamp
from opintel.alerts.sink_metrics import sink_metrics
from opintel.alerts.sinks import SINKS, SinkSettings
from opintel.cli import group
from opintel.durations import Duration
from opintel.extras import install
from opintel.finding import NS
from opintel.paths import FilePath
from opintel.site.domains import DOMAINS, pipeline_of
from opintel.site.load import load_site
from opintel.site.reading import registered, struct
from opintel.site.settings import SiteSettings, StreamSettings
from opintel.site.yaml_places import Document, Loader, Problem, YamlPlace
from opintel.sizes import Size
from opintel.store import Store
from opintel.store.queries import SinkStanding
from opintel.streams.connectors import SOURCES
from opintel.streams.kafka.settings import Servers
from opintel.streams.settings import settings_types
from opintel.streams.vitals import Stored, Vitals

REFERENCE = sections((REPOSITORY / "docs" / "reference.md").read_text())
OPERATIONS = sections((REPOSITORY / "docs" / "operations.md").read_text())
PIPELINES = {name: pipeline_of(name) for name in DOMAINS}
ALERTS: dict[str, type[msgspec.Struct]] = {
    "budgets": Budgets,
    "incidents": Lifecycle,
    "routes": Routes,
    "maintenance": Calendar,
    "topology": SiteTopology,
}
SETTINGS: dict[str, type[msgspec.Struct]] = {
    "streams/STREAM.yaml": StreamSettings,
    "site.yaml": SiteSettings,
    **{f"alerts/{name}.yaml": kind for name, kind in ALERTS.items()},
    **{f"{name}:": registered(SOURCES, name) for name in SOURCES},
    **{f"type: {name}": registered(SINKS, name) for name in SINKS},
    **{name: kind for p in PIPELINES.values() for name, kind in settings_types(p).items() if kind.__struct_fields__},
}
"""Heading in the reference → the settings below it."""
NUMBERS = {int: "whole number", float: "number"}
WORDS = {
    **NUMBERS,
    str: "text",
    bool: "`true`, `false`",
    Duration: "duration",
    Size: "size",
    Timestamp: "time",
    FilePath: "path",
    Servers: "list of texts",
    Any: "anything",
}
UNITS = {"d": 86_400 * NS, "h": 3600 * NS, "m": 60 * NS, "s": NS, "ms": NS // 1000}
RANGE = re.compile(r"(above )?(-?[\d.]+) to (-?[\d.]+)|at least (-?[\d.]+)")


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """The commands of a group and of the groups in it."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, f"{path} {name}")
    else:
        yield path, command


COMMANDS = dict(commands(group, "opintel"))


class Key(NamedTuple):
    """A dotted key; `*` stands for a name that the site chooses, `[]` for an item of a list."""

    path: str
    value: str
    default: str


def test_the_files_of_alerts_are_those_that_are_loaded() -> None:
    assert load_site().alert_documents.keys() == ALERTS.keys()


@pytest.mark.parametrize("heading", SETTINGS)
def test_every_setting_is_documented_with_its_default(heading: str) -> None:
    there, wanted = documented(heading), {key.path: key for key in keys(SETTINGS[heading])}
    assert there.keys() == wanted.keys()
    assert {p: key.default for p, key in there.items()} == {p: key.default for p, key in wanted.items()}
    for path, key in wanted.items():
        ranged = key.value in NUMBERS.values() and RANGE.fullmatch(there[path].value)
        assert ranged or there[path].value == key.value, path


@pytest.mark.parametrize("heading", SETTINGS)
def test_a_range_ends_where_the_reference_says(heading: str) -> None:
    example = example_of(heading)
    assert problems(heading, example) == []
    whole = {key.path for key in keys(SETTINGS[heading]) if key.value == NUMBERS[int]}
    for key in documented(heading).values():
        if match := RANGE.fullmatch(key.value):
            number, step = (int, 1) if key.path in whole else (float, 1e-6)
            low = number(match[2] or match[4])
            inside, outside = (low + step, low) if match[1] else (low, low - step)
            assert problems(heading, changed(example, key.path, inside)) == [], key
            assert problems(heading, changed(example, key.path, outside)) != [], key
            if match[3]:
                assert problems(heading, changed(example, key.path, number(match[3]))) == [], key
                assert problems(heading, changed(example, key.path, number(match[3]) + step)) != [], key


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_keyword_of_a_wire_is_documented(domain: str) -> None:
    wire = PIPELINES[domain].wire
    hints = get_type_hints(wire.__init__ if inspect.isclass(wire) else wire)
    wanted = []
    for name, parameter in inspect.signature(wire).parameters.items():
        if hints[name] is bytes:
            wanted += [Key(f"{name}_file", "path", "–"), Key(f"{name}_env", "text", "–")]
        elif is_struct(hints[name]):
            wanted += keys(hints[name], f"{name}.")
        else:
            wanted.append(Key(name, value_of(hints[name]), default_of(parameter.default)))
    assert list(documented(f"wire: of {domain}").values()) == wanted


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_detector_and_kind_of_finding_is_documented(domain: str) -> None:
    pipeline = PIPELINES[domain]
    detectors, kinds = tables(REFERENCE[f"Detectors of {domain}"])
    assert [bare(row["detector"]) for row in detectors] == list(settings_types(pipeline))
    assert [row["stage"] for row in detectors] == ["1", *["2"] * len(pipeline.judges)]
    labels = {bare(row["kind"]): {bare(label) for label in row["labels"].split(", ")} for row in kinds}
    assert labels == {kind: set(names) for kind, names in pipeline.kinds.items()}
    judges = {make().name for make in pipeline.judges}
    assert {bare(name) for row in kinds for name in row["detector"].split(", ")} == judges


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_is_documented_with_its_default(command: str) -> None:
    wanted = dict(map(option, COMMANDS[command].params))
    rows = [row for table in tables(REFERENCE[command]) for row in table]
    assert {bare(row["option"]).split()[0]: row["default"] for row in rows} == wanted


def test_every_command_is_documented() -> None:
    assert {heading for heading in REFERENCE if heading.startswith("opintel ")} == COMMANDS.keys()


def test_every_metric_is_documented_with_its_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opintel.alerts.sink_metrics.outbox", lambda _: {"log": SinkStanding(1, 0, 5, 2, 7)})
    bus = LOGS["sqlite"](tmp_path)
    for _ in feed(bus, TOY_CASE):
        pass
    vitals = Vitals(
        bus,
        [TOY_STREAM],
        now=time.time_ns,
        stalled=lambda: False,
        stored=lambda: Stored(
            {("toy", "total"): 5},
            {("toy", "open"): 1},
            list(sink_metrics(Store(sa.create_engine("sqlite://")), time.time_ns)),
        ),
        parts=lambda: {"alerts": (2, False)},
        archived=True,
    )
    wanted: dict[str, set[str]] = {}
    for line in vitals.text().decode().splitlines():
        if line.startswith("# TYPE "):
            wanted.setdefault(line.split()[2], set())
        elif not line.startswith("#"):
            name, _, labels = line.partition(" ")[0].partition("{")
            wanted[name] = set(re.findall(r"(\w+)=", labels))
    there = {}
    for table in tables(OPERATIONS["Watch"]):
        for span in spans("\n".join(row["metric"] for row in table)):
            name, _, labels = span.partition("{")
            there[name] = set(re.findall(r"\w+", labels))
    assert there == wanted


def test_every_variable_of_the_environment_is_documented() -> None:
    sources = (path.read_text() for path in (REPOSITORY / "opintel").rglob("*.py"))
    read = {name for text in sources for name in re.findall(r"\"(OPINTEL_[A-Z_]+)\"", text)}
    (table,) = tables(REFERENCE["Environment"])
    there = {bare(row["variable"]) for row in table}
    assert {name for name in read if not any(span.startswith(name) for span in there)} == set()


def test_every_extra_that_a_site_may_need_is_documented() -> None:
    offered = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (table,) = tables(REFERENCE["Extras"])
    assert {bare(row["extra"]) for row in table} == offered.keys() - {"heavy", "test"}
    first, second = install("stomp").split(" in a checkout, or ")
    assert {first, second.split(" with ")[0]} <= set(spans(REFERENCE["Extras"]))


def keys(kind: type[msgspec.Struct], prefix: str = "", seen: dict[Any, str] | None = None) -> Iterator[Key]:
    """The keys of settings and of what is nested in them; settings that stand twice are given once."""
    seen = {} if seen is None else seen
    for field in msgspec.structs.fields(kind):
        made = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
        default = "required" if made is msgspec.NODEFAULT else default_of(made, plain(field.type))
        yield from _nested(prefix + field.encode_name, field.type, default, seen)


def _nested(path: str, kind: Any, default: str, seen: dict[Any, str]) -> Iterator[Key]:
    kind = plain(kind)
    inner = [plain(argument) for argument in get_args(kind)]
    if kind is SinkSettings:
        yield Key(f"{path}.type", value_of(Literal[tuple(SINKS)]), "required")
    elif is_struct(kind) and kind in seen:
        yield Key(path, f"as `{seen[kind]}`", "–")
    elif is_struct(kind):
        seen[kind] = path
        yield from keys(kind, f"{path}.", seen)
    elif get_origin(kind) is dict and holds_settings(inner[1]):
        yield from _nested(f"{path}.*", inner[1], default, seen)
    elif get_origin(kind) in (list, tuple) and is_struct(inner[0]):
        yield from _nested(f"{path}[]", inner[0], default, seen)
    else:
        yield Key(path, value_of(kind), default)


def plain(kind: Any) -> Any:
    """A type without its bounds and without None."""
    if get_origin(kind) is Annotated:
        return plain(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (option for option in get_args(kind) if option is not NoneType)
        return plain(kind)
    return kind


def holds_settings(kind: Any) -> bool:
    kind = plain(kind)
    return is_struct(kind) or kind is SinkSettings or (get_origin(kind) is dict and holds_settings(get_args(kind)[1]))


def is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def value_of(kind: Any) -> str:
    """What a key may hold, as the reference says it."""
    kind = plain(kind)
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    if get_origin(kind) is dict:
        return "mapping"
    if get_origin(kind) in (list, tuple):
        item = value_of(get_args(kind)[0])
        return "list of texts" if item == "text" else f"list of {item}"
    return WORDS[kind]


def default_of(value: Any, kind: Any = None) -> str:
    """A default as it would stand in YAML; – where there is none."""
    if kind is Duration:
        unit = next(u for u in UNITS if value % UNITS[u] == 0 and (value or u == "s"))
        return f"`{value // UNITS[unit]}{unit}`"
    if value in (None, "", b"", [], (), {}) or (kind is Size and not value):
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def option(parameter: click.Parameter) -> tuple[str, str]:
    """An option or argument as it is written, and its default."""
    context = click.Context(click.Command("any"))
    shown = parameter.opts[0] if isinstance(parameter, click.Option) else parameter.make_metavar(context).strip("[].")
    default = parameter.to_info_dict()["default"]
    flag = isinstance(parameter, click.Option) and parameter.is_flag
    return shown, "required" if parameter.required else "–" if flag else default_of(default)


def documented(heading: str) -> dict[str, Key]:
    """The keys in the tables below a heading, by path."""
    found = {}
    for row in (row for table in tables(REFERENCE[heading]) for row in table):
        assert row["means"], row
        path = re.sub(r"\b[A-Z]+\b", "*", bare(row["key"]))
        found[path] = Key(path, row["value"], row["default"])
    return found


def example_of(heading: str) -> dict[str, Any]:
    """The YAML that stands below a heading, from the key on that the heading is about."""
    code = next((fence.code for fence in fences(REFERENCE[heading]) if fence.language == "yaml"), "{}")
    data: dict[str, Any] = yaml.load(code, Loader)  # noqa: S506
    if heading.startswith("type: ") and data:
        (sink,) = data["sinks"].values()
        assert heading == f"type: {sink.pop('type')}"
        return sink
    data = data.get("detectors", data)
    return data.get(heading.strip(":"), data)


def problems(heading: str, data: dict[str, Any]) -> list[Problem]:
    """What the loader says to such settings."""
    found: list[Problem] = []
    struct(Document(data, {(): YamlPlace("example", 0)}), (), data, SETTINGS[heading], found)
    return found


def changed(data: Any, path: str, value: Any) -> Any:
    """A copy of the settings with another value at a path; a name that the site chooses is the example's first."""
    data = copy.deepcopy(data)
    *above, last = re.findall(r"[^.\[\]]+|\[\]", path)
    level = data
    for step in above:
        name = next(iter(level)) if step == "*" else step
        level = level[0] if step == "[]" else level.setdefault(name, {})
    level[last] = value
    return data


def bare(cell: str) -> str:
    return cell.strip("`")
