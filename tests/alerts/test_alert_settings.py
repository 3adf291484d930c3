from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from opintel.alerts.settings import AlertSettings, Grouping, Lifecycle, load_alerts
from opintel.finding import NS

SHIPPED = Path(__file__).resolve().parents[2] / "alerts"


def test_the_shipped_files_are_right_and_need_no_outside_system() -> None:
    told = load_alerts(SHIPPED)
    assert {s.__class__.__name__ for s in told.routes.sinks.values()} == {"LogSink"}
    assert [r.ticket for r in told.routes.routes] == ["propose"]
    assert told.budgets.of("fts", "link")[0] == told.budgets.of("fts", "endpoint")[0] == "failures"
    assert told.budgets.of("fts", "never-heard-of")[0] == "other"
    assert told.lifecycle.reopen == 6 * 3600 * NS


def test_an_empty_folder_gives_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_text("# nothing\n")
    assert load_alerts(tmp_path) == AlertSettings()


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("budgets.yaml", "a: [", "budgets.yaml: not YAML: "),
        ("budgets.yaml", "[1]", "budgets.yaml: Expected `object`, got `array`"),
        ("budgets.yaml", "budget: 1", "budgets.yaml: .*unknown field `budget`; there are: default, streams"),
        (
            "budgets.yaml",
            "streams: {fts: {a: {kinds: [x]}, b: {kinds: [y], rate: 2}}}",
            "streams.fts.b.rate: .*unknown field `rate`; there are: false_alarms_a_week, unranked_a_week, kinds",
        ),
        ("budgets.yaml", "streams: {fts: {b: {kinds: [y], false_alarms_a_week: 0}}}", "streams.fts.b: .* above 0"),
        ("budgets.yaml", "streams: {fts: {a: {kinds: [x]}, b: {kinds: [x]}}}", "streams.fts: kind 'x' .* two budgets"),
        ("budgets.yaml", "streams: {fts: {other: {kinds: [x]}}}", "streams.fts: 'other' is the name of"),
        ("incidents.yaml", "reopen: 6", "incidents.yaml: reopen: a duration is written as 90s, 30m, 6h or 7d, got 6"),
        ("incidents.yaml", "persistence: {weak_needed: 5}", "persistence: 1 <= strong_needed <= weak_needed"),
        (
            "incidents.yaml",
            "persistence: {strong_needed: 2, weak_margin: 0.1, weak_of: 6, clear_after: 4}",
            "clear_after >= weak_of - 1",
        ),
        ("incidents.yaml", "persistence: {strong_needed: 2}", "weak_needed >= strong_needed x 10"),
        ("incidents.yaml", "persistence: {clear_after: x}", "persistence.clear_after: Expected `int`, got `str`"),
        ("routes.yaml", "routes: [{sinks: [x]}]", r"routes\[0\].sinks: no sink 'x' is configured \(there are: log\)"),
        ("routes.yaml", "routes: [{sinks: [log], ticket: yes}]", r"routes\[0\].ticket: "),
        ("routes.yaml", "sinks: {a: {type: pager}}", "routes.yaml: sinks.a.type: Invalid value 'pager'"),
        (
            "routes.yaml",
            "sinks: {a: {type: log, file: x}}",
            "sinks.a.file: .*unknown field `file`; there are: path, url",
        ),
        ("routes.yaml", "sinks: {a: {type: webhook, url: 'https://x'}}", "sinks.a: a webhook needs one of secret_file"),
        ("routes.yaml", "sinks: {a: {type: webhook, url: x, secret_env: S}}", "sinks.a: url is https://"),
        (
            "maintenance.yaml",
            "maintenance: [{stream: f, subject: {}, start: 2020-01-01, end: '', reason: x}]",
            r"maintenance\[0\].start: a time is written in quotes",
        ),
    ],
)
def test_a_mistake_is_told_with_file_key_and_what_is_right(tmp_path: Path, file: str, text: str, said: str) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=said):
        load_alerts(tmp_path)


def test_every_bad_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "budgets.yaml").write_text("x: 1")
    (tmp_path / "routes.yaml").write_text("y: 1")
    with pytest.raises(ValueError, match=r"budgets.yaml: .*\nroutes.yaml: "):
        load_alerts(tmp_path)


def test_a_domain_s_labels_hold_where_the_site_names_none() -> None:
    site = AlertSettings(lifecycle=Lifecycle(grouping=Grouping(entities={"b": ["host"]})))
    settings = site.over({"a": ("endpoint", "source"), "b": ("instance",), "c": ()})
    assert settings.lifecycle.grouping.entities == {"a": ["endpoint", "source"], "b": ["host"]}
    assert msgspec.structs.replace(settings, lifecycle=site.lifecycle) == site
