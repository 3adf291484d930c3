"""The YAML in `alerts/`: what is accepted, and problems with file, line and key."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from opintel.alerts.settings import AlertSettings, Declared, Grouping, Lifecycle
from opintel.alerts.sinks import SINKS
from opintel.alerts.sinks.file import FileSink
from opintel.alerts.sinks.log import LogSink
from opintel.finding import NS
from opintel.site.errors import ConfigError
from opintel.site.load import load_site
from opintel.site.shipped import shipped_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The `alerts` of a site that watches one stream."""
    (tmp_path / "streams").mkdir()
    (tmp_path / "streams/fts.yaml").write_text("name: fts\ndomain: fts\ntopic: t\n")
    (tmp_path / "alerts").mkdir()
    return tmp_path / "alerts"


def problems(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_site(folder.parent)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def test_the_shipped_files_are_right_and_need_no_outside_system() -> None:
    shipped = load_site(shipped_folder()).alerts
    assert shipped.routes.sinks == {"log": LogSink()}
    assert [r.ticket for r in shipped.routes.routes] == ["propose"]
    assert shipped.budgets.of("fts", "link")[0] == shipped.budgets.of("fts", "endpoint")[0] == "failures"
    assert shipped.budgets.of("fts", "never-heard-of")[0] == "other"
    assert shipped.lifecycle.reopen == 6 * 3600 * NS


def test_an_empty_folder_gives_the_defaults(folder: Path) -> None:
    (folder / "routes.yaml").write_text("# nothing\n")
    assert load_site(folder.parent).alerts == AlertSettings()


@pytest.mark.parametrize(("text", "ns"), [("500ms", NS // 2), ("90s", 90 * NS), ("3650d", 3650 * 86_400 * NS)])
def test_durations_are_those_of_streams(folder: Path, text: str, ns: int) -> None:
    (folder / "incidents.yaml").write_text(f"reopen: {text}\n")
    assert load_site(folder.parent).alerts.lifecycle.reopen == ns


def test_numbers_are_those_of_streams(folder: Path) -> None:
    (folder / "budgets.yaml").write_text("default: {false_alarms_a_week: 25e-2}\n")
    assert load_site(folder.parent).alerts.budgets.default.false_alarms_a_week == 0.25


def test_a_path_is_relative_to_its_file(folder: Path) -> None:
    (folder / "routes.yaml").write_text("sinks: {a: {type: file, path: out/log}}\n")
    assert load_site(folder.parent).alerts.routes.sinks == {"a": FileSink(path=f"{folder}/out/log")}


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("budgets.yaml", "a: [", "budgets.yaml:1: not YAML: "),
        ("budgets.yaml", "[1]", "budgets.yaml:1: expected settings as `key: value` lines"),
        ("budgets.yaml", "budget: 1", "budgets.yaml:1: budget: unknown key; known here: default, streams"),
        (
            "budgets.yaml",
            "streams:\n fts:\n  a: {kinds: [x]}\n  b: {kinds: [y], rate: 2}",
            "budgets.yaml:4: streams.fts.b.rate: unknown key; known here: false_alarms_a_week, kinds, unranked_a_week",
        ),
        (
            "budgets.yaml",
            "streams: {fts: {b: {kinds: [y], false_alarms_a_week: 0}}}",
            "budgets.yaml:1: streams.fts.b.false_alarms_a_week: expected above 0 and at most 1000, got 0",
        ),
        (
            "budgets.yaml",
            "streams: {fts: {a: {kinds: [x]}, b: {kinds: [x]}}}",
            "budgets.yaml:1: streams.fts: kind 'x' stands in two budgets",
        ),
        (
            "budgets.yaml",
            "streams: {fts: {other: {kinds: [x]}}}",
            "budgets.yaml:1: streams.fts: 'other' is the name",
        ),
        (
            "budgets.yaml",
            "default: {}\ndefault: {}",
            "budgets.yaml:2: default: stands twice, first in line 1",
        ),
        ("incidents.yaml", "reopen: 6", "incidents.yaml:1: reopen: expected a duration such as 500ms, 90s"),
        ("incidents.yaml", "reopen: 99999d", "incidents.yaml:1: reopen: expected a duration of at most 3650d"),
        (
            "incidents.yaml",
            "persistence: {weak_needed: 5}",
            "incidents.yaml:1: persistence: 1 <= strong_needed <= weak_needed",
        ),
        (
            "incidents.yaml",
            "persistence: {strong_needed: 2, weak_margin: 0.1, weak_of: 6, clear_after: 4}",
            "incidents.yaml:1: persistence: with strong_needed above 1, clear_after >= weak_of - 1",
        ),
        (
            "incidents.yaml",
            "persistence: {strong_needed: 2}",
            "incidents.yaml:1: persistence: with strong_needed above 1, weak_needed >= strong_needed x 10",
        ),
        (
            "incidents.yaml",
            "persistence: {clear_after: x}",
            "incidents.yaml:1: persistence.clear_after: expected `int`, got `str`",
        ),
        (
            "routes.yaml",
            "routes: [{sinks: [log], ticket: yes}]",
            "routes.yaml:1: routes.0.ticket: expected one of `propose`, `auto`, got True",
        ),
        (
            "routes.yaml",
            "routes: [{sinks: [log], match: {severities: [info, urgent]}}]",
            "routes.yaml:1: routes.0.match.severities.1: expected one of `info`, `warning`, `critical`, got 'urgent'",
        ),
        ("routes.yaml", "sinks: {a: {type: pager}}", "routes.yaml:1: sinks.a.type: no type of sink is 'pager'; known"),
        (
            "routes.yaml",
            "sinks: {a: {type: webhok}}",
            "routes.yaml:1: sinks.a.type: no type of sink is 'webhok'; did",
        ),
        ("routes.yaml", "sinks: {a: {path: x}}", "routes.yaml:1: sinks.a.type: missing; known here: "),
        ("routes.yaml", "sinks: {a: 5}", "routes.yaml:1: sinks.a: expected settings as `key: value` lines, got 5"),
        (
            "routes.yaml",
            "sinks: {a: {type: file, file: x}}",
            "routes.yaml:1: sinks.a.file: unknown key; known here",
        ),
        (
            "routes.yaml",
            "sinks: {a: {type: webhook, url: 'https://x'}}",
            "routes.yaml:1: sinks.a: a webhook needs one of secret_file",
        ),
        (
            "routes.yaml",
            "sinks:\n  a:\n    type: webhook\n    url: x\n    secret_env: S",
            "routes.yaml:4: sinks.a.url: expected https://",
        ),
        (
            "maintenance.yaml",
            "maintenance: [{stream: fts, subject: {}, start: 2020-01-01, end: '', reason: x}]",
            "maintenance.yaml:1: maintenance.0.start: expected a time in quotes such as",
        ),
        ("route.yaml", "routes: []", "route.yaml: nothing reads a file of this name; did you mean `routes.yaml`?"),
    ],
)
def test_a_mistake_has_its_file_line_and_key_and_what_is_expected(
    folder: Path, file: str, text: str, said: str
) -> None:
    (folder / file).write_text(text)
    found = problems(folder)
    assert any(line.startswith(said) for line in found), found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "import no_such_library\n",
            "the module pager cannot be imported: ModuleNotFoundError: No module named 'no_such",
        ),
        ("def\n", "the module pager cannot be imported: SyntaxError: "),
        ("", "expected a class PagerSink in the module pager, got none"),
    ],
)
def test_a_sink_that_cannot_be_imported_is_one_line_with_its_module(
    folder: Path, text: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "pager.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "pager", raising=False)
    monkeypatch.setitem(SINKS, "pager", "pager:PagerSink")
    (folder / "routes.yaml").write_text("sinks:\n  a: {type: pager}\n")
    (problem,) = problems(folder)
    assert problem.startswith(f"routes.yaml:2: sinks.a: {why}")


def test_every_problem_is_found_at_once(folder: Path) -> None:
    (folder / "budgets.yaml").write_text("x: 1\ndefault: 5\n")
    (folder / "routes.yaml").write_text("y: 1\ndelivery: {attempts: many, first: soon}\n")
    (folder.parent / "streams/fts.yaml").write_text("name: fts\ndomain: fts\ntopic: t\nwindow: soon\n")
    (folder.parent / "site.yaml").write_text("replication: 0\n")
    assert [line.rpartition("/")[2].split(": ")[:2] for line in problems(folder)] == [
        ["site.yaml:1", "replication"],
        ["fts.yaml:4", "window"],
        ["budgets.yaml:1", "x"],
        ["budgets.yaml:2", "default"],
        ["routes.yaml:1", "y"],
        ["routes.yaml:2", "delivery.first"],
        ["routes.yaml:2", "delivery.attempts"],
    ]


def test_a_domain_s_labels_hold_where_the_site_names_none() -> None:
    site = AlertSettings(lifecycle=Lifecycle(grouping=Grouping(entities={"b": ["host"]})))
    settings = site.over({"a": Declared(("endpoint", "source")), "b": Declared(("instance",)), "c": Declared()})
    assert settings.lifecycle.grouping.entities == {"a": ["endpoint", "source"], "b": ["host"]}
    assert msgspec.structs.replace(settings, lifecycle=site.lifecycle, declared={}) == site
