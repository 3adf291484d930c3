"""No mistake in a site's YAML ends otherwise than in problems with their places, and `run` says what `check` says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opintel.cli import invoke
from opintel.site.check import require
from opintel.site.errors import ConfigError
from opintel.site.load import load_site

FULL: dict[str, Any] = {
    "site.yaml": {
        "bus": {"bootstrap": ["127.0.0.1:9"], "tls": True, "ca_file": "ca.pem", "user": "u", "password_file": "word"},
        "replication": 1,
        "checkpoints": "states",
        "store": "sqlite:///store.db",
    },
    "streams/a.yaml": {
        "name": "a",
        "domain": "fts",
        "topic": "a",
        "window": "10m",
        "wire": {"instance": "fts.example.org", "pseudonym_key_file": "../word"},
        "detectors": {"fts.failures": {"emit": -3.0}},
        "stomp": {"host": "127.0.0.1", "destinations": ["/queue/a"], "user": "u", "password_file": "../word"},
    },
    "streams/b.yaml": {
        "name": "b",
        "domain": "fts",
        "topic": "b",
        "kafka": {"bootstrap": ["127.0.0.1:9"], "topics": ["x"], "user": "u", "password_file": "../word"},
    },
    "streams/c.yaml": {
        "name": "c",
        "domain": "health",
        "topic": "c",
        "window": "1m",
        "prometheus": {"url": "https://127.0.0.1:9", "queries": ["up"], "step": "1m", "token_file": "../word"},
        "detectors": {"health.limits": {"limits": [{"metric": "m", "below": 0, "hours": 4}]}},
    },
    "streams/d.yaml": {"name": "d", "domain": "health", "topic": "d", "arrow_dir": {"path": ".", "delay": "1m"}},
    "alerts/budgets.yaml": {
        "default": {"false_alarms_a_week": 0.5},
        "streams": {"a": {"x": {"kinds": ["endpoint", "link"], "unranked_a_week": 3}}},
    },
    "alerts/incidents.yaml": {
        "persistence": {"strong_needed": 1, "weak_margin": 2.0},
        "persistence_of": {"c": {"strong_needed": 1}},
        "grouping": {"entities": {"a": ["endpoint"]}, "link_joins_endpoint": "60m"},
        "reopen": "6h",
    },
    "alerts/routes.yaml": {
        "sinks": {
            "w": {"type": "webhook", "url": "https://127.0.0.1:9", "secret_file": "../secret", "timeout": "5s"},
            "f": {"type": "file", "path": "tickets"},
            "l": {"type": "log"},
        },
        "routes": [{"match": {"streams": ["a"], "kinds": ["link"], "severities": ["critical"]}, "sinks": ["w", "f"]}],
        "delivery": {"longest": "3s", "first": "1s"},
    },
    "alerts/maintenance.yaml": {
        "maintenance": [
            {
                "stream": "a",
                "subject": {"endpoint": "e"},
                "start": "2026-03-01T08:00:00Z",
                "end": "2026-03-01T12:00:00Z",
                "reason": "r",
            }
        ]
    },
}
"""A site that uses all there is."""
ODD = [
    None,
    True,
    0,
    -1,
    10**30,
    1.5,
    float("nan"),
    "",
    "x",
    "nowhere/at/all",
    ".",
    "500ms",
    "\x00",
    "é" * 300,
    [],
    ["x"],
    [[]],
    {},
    {"x": 1},
    {"x": {"y": []}},
]


def paths(data: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested data."""
    if above:
        yield above
    for key, below in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from paths(below, (*above, key))


PLACES = list(paths(FULL))


def replaced(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(data) if isinstance(data, dict) else list(data)
    copy[path[0]] = replaced(data[path[0]], path[1:], value)
    return copy


def write(folder: Path, site: dict[str, Any]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("streams", "alerts"):
        (folder / name).mkdir(parents=True)
    (folder / "ca.pem").write_text(CA)
    (folder / "word").write_text("sesame\n")
    (folder / "secret").write_text("whsec_" + "A" * 32)
    for name, content in site.items():
        (folder / name).write_text(yaml.safe_dump(content))
    return folder


def problems(folder: Path) -> list[str]:
    """What is wrong; each with the file it is in."""
    try:
        require(load_site(folder))
    except ConfigError as error:
        found = error.problems
    else:
        return []
    assert found
    assert all(problem.file.startswith(str(folder)) and "sesame" not in str(problem) for problem in found)
    return [str(problem) for problem in found]


CA = Path(__import__("certifi").where()).read_text()


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OPINTEL_")]:
        monkeypatch.delenv(name)


def test_the_whole_site_is_in_order(tmp_path: Path) -> None:
    assert problems(write(tmp_path / "site", FULL)) == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(PLACES), st.sampled_from(ODD))
def test_an_odd_value_anywhere_is_a_problem_or_none(tmp_path: Path, path: tuple[Any, ...], value: Any) -> None:
    problems(write(tmp_path / "site", replaced(FULL, path, value)))


@pytest.mark.parametrize("name", [*FULL, "word", "secret", "ca.pem"])
@pytest.mark.parametrize("how", ["missing", "a folder", "huge", "not UTF-8", "a link to itself"])
def test_a_file_that_cannot_be_read_is_a_problem_or_none(tmp_path: Path, name: str, how: str) -> None:
    file = write(tmp_path / "site", FULL) / name
    file.unlink()
    if how == "a folder":
        file.mkdir()
    elif how == "huge":
        file.write_bytes(b"#" * (2 << 20))
    elif how == "not UTF-8":
        file.write_bytes(b"\xff\xfe\x00")
    elif how == "a link to itself":
        file.symlink_to(file)
    found = problems(tmp_path / "site")
    assert found or (how == "missing" and name not in ("word", "secret", "ca.pem"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("alerts/routes.yaml", "sinks", "w", "secret_file"), "none"),
        (("alerts/routes.yaml", "sinks", "f", "path"), "no/folder/tickets"),
        (("alerts/budgets.yaml", "streams", "a", "x", "kinds"), ["endpont"]),
        (("site.yaml", "bus", "ca_file"), "none"),
        (("site.yaml", "store"), "nonsense"),
        (("streams/a.yaml", "domain"), "fst"),
        (("streams/b.yaml", "kafka", "password_file"), "none"),
        (("streams/c.yaml", "prometheus", "step"), "1h"),
        (("streams/d.yaml", "arrow_dir", "path"), "none"),
        (("streams/a.yaml", "window"), "soon"),
    ],
)
def test_run_says_what_check_says(
    tmp_path: Path, path: tuple[Any, ...], value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "site", replaced(FULL, path, value))
    assert invoke(["check", str(folder)]) == 1
    checked = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
    assert len(checked) == 1
    assert invoke(["run", "--config", str(folder), "--data", str(tmp_path / "data"), "--until-idle"]) == 1
    assert capsys.readouterr().err.splitlines() == checked
    assert not (tmp_path / "data").exists()


def test_a_process_needs_only_the_secrets_of_its_services(tmp_path: Path) -> None:
    folder = write(tmp_path / "site", FULL)
    (folder / "secret").unlink()
    site = load_site(folder)
    require(site, {"ingest", "stage1", "stage2", "alerts", "console"})
    with pytest.raises(ConfigError, match=r"sinks\.w\.secret_file"):
        require(site, {"delivery"})


def test_an_encoder_without_its_extra_is_a_problem_of_the_service_that_clusters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opintel.site.check.find_spec", lambda _: None)
    folder = write(tmp_path / "site", FULL)
    (folder / "site.yaml").write_text("clusters: {encoder: combined}\n")
    require(load_site(folder), {"stage1"})
    with pytest.raises(ConfigError, match=r"clusters\.encoder: needs the extra `nlp`"):
        require(load_site(folder), {"clusters"})


def test_clusters_are_made_after_some_time(tmp_path: Path) -> None:
    folder = write(tmp_path / "site", FULL)
    (folder / "site.yaml").write_text("clusters: {every: 0s}\n")
    with pytest.raises(ConfigError, match=r"clusters\.every: expected longer than 0"):
        load_site(folder)
