"""Settings: what is accepted, what the environment changes, and how problems are shown (file, line, key, remedy)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from site_yaml import MINIMAL, bus_secrets, problems, secrets, write

from opintel.alerts.settings import AlertSettings
from opintel.durations import duration
from opintel.finding import NS
from opintel.site.errors import ConfigError
from opintel.site.load import load_site
from opintel.site.settings import SiteSettings
from opintel.site.shipped import shipped_folder
from opintel.site.yaml_places import read_yaml
from opintel.streams.connectors.kafka import KafkaSourceSettings
from opintel.streams.kafka.settings import KafkaSettings


def test_shipped_settings_load_and_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    site = load_site()
    fts = site.streams["fts"]
    assert (fts.window, fts.lateness, fts.partitions) == (600 * NS, 300 * NS, 4)
    assert site.alerts.lifecycle.reopen == 6 * 3600 * NS


def test_defaults_are_those_of_the_streaming_path(site_folder: Path) -> None:
    from opintel.streams.stream import Stream

    settings, stream = load_site(site_folder).streams["fts"], Stream("fts", "fts.transfers")
    for field in set(Stream._fields) - {"ahead"}:  # given by what reads the site
        assert getattr(settings, field) == getattr(stream, field), field


def test_folder_comes_from_the_environment(site_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(site_folder, MINIMAL + "window: 20m\n")
    monkeypatch.setenv("OPINTEL_CONFIG", str(site_folder))
    assert load_site().streams["fts"].window == 1200 * NS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("windwo: 5m", "fts.yaml:4: windwo: unknown key; did you mean `window`?"),
        ("window: 10", "fts.yaml:4: window: expected a duration such as 500ms, 90s, 10m, 6h or 30d, got 10"),
        ("window: 0s", "fts.yaml:4: window: longer than 0"),
        ("partitions: four", "fts.yaml:4: partitions: expected `int`, got `str`"),
        ("partitions: 0", "fts.yaml:4: partitions: expected `int` >= 1, got 0"),
        ("shards: 2", "fts.yaml:1: partitions: at most `shards` (2)"),
        ("retention_bytes: 300", "fts.yaml:4: retention_bytes: expected a size such as 500MB, 300GB or 2TB, got 300"),
        ("retention_bytes: 500MB", "fts.yaml:4: retention_bytes: at least 1GB for each of its 4 partitions"),
        ("interval: 11m", "fts.yaml:4: interval: longer than 0, at most `window`"),
        ("topic: other", "fts.yaml:4: topic: stands twice, first in line 3; keep one"),
        ("wire: 5", "fts.yaml:4: wire: expected `key: value` lines, got `int`"),
        ("detectors:\n  fts.links: 7", "fts.yaml:5: detectors.fts.links: expected `key: value` lines, got `int`"),
        ("stomp:\n  hots: x\n  destinations: [/queue/a]", "fts.yaml:5: stomp.hots: unknown key; did you mean `host`?"),
        (
            "stomp:\n  host: x\n  destinations: [a]",
            "fts.yaml:6: stomp.destinations: expected /queue/NAME or /topic/NAME, at least one",
        ),
        (
            "stomp: {host: x, destinations: [/queue/a]}\nkafka: {bootstrap: ['k:1'], topics: [a]}",
            "fts.yaml:5: kafka: a stream has one source, got `stomp` and `kafka`",
        ),
        ("kafka: {bootstrap: ['k:1']}", "fts.yaml:4: kafka.topics: missing"),
        ("kafka: {bootstrap: [k], topics: [a]}", "fts.yaml:4: kafka.bootstrap: expected `host:port`, got 'k'"),
        (
            "kafka: {bootstrap: ['k:1'], topics: [a]}\nprometheus: {url: 'http://h', queries: [up]}",
            "fts.yaml:5: prometheus: a stream has one source, got `kafka` and `prometheus`",
        ),
        ("prometheus:\n  url: http://h\n  querys: [up]", "fts.yaml:6: prometheus.querys: unknown key; did you mean"),
        ("prometheus:\n  url: http://h", "fts.yaml:4: prometheus.queries: missing"),
        ("prometheus:\n  url: http://h\n  queries: [5]", "fts.yaml:6: prometheus.queries.0: expected `str`, got `int`"),
        (
            "prometheus:\n  url: http://h\n  queries: [up]\n  step: 15",
            "fts.yaml:7: prometheus.step: expected a duration such as",
        ),
        ("ttl: [", "fts.yaml:5: not YAML: expected the node content, but found '<stream end>'"),
        ("name: !!python/object:os.system {}", "fts.yaml:4: name: stands twice, first in line 1; keep one"),
        ("window: !!python/name:os.system x", "fts.yaml:4: window: not a plain value"),
    ],
)
def test_a_problem_names_file_line_key_and_what_is_right(site_folder: Path, text: str, expected: str) -> None:
    write(site_folder, MINIMAL + text + "\n")
    assert any(line.startswith(expected) for line in problems(site_folder)), problems(site_folder)


def test_large_numbers_may_be_written_with_an_exponent(tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text("below: 300e9\nabove: -1.5E+3\nname: e9\n")
    document, problems = read_yaml(tmp_path / "limits.yaml", "limits.yaml")
    assert problems == []
    assert document.data == {"below": 300e9, "above": -1500.0, "name": "e9"}


def test_every_problem_is_told(site_folder: Path) -> None:
    write(site_folder, "name: fts\ndomain: fts\nwindwo: 5m\npartitions: no\nlateness: soon\n")
    write(site_folder, "just text\n", "other")
    assert [line.split(": ")[0:2] for line in problems(site_folder)] == [
        ["other.yaml:1", "expected settings as `key"],
        ["fts.yaml:3", "windwo"],
        ["fts.yaml:1", "topic"],
        ["fts.yaml:4", "partitions"],
        ["fts.yaml:5", "lateness"],
    ]


def test_names_and_topics_are_not_shared(site_folder: Path) -> None:
    write(site_folder, MINIMAL, "second")
    assert problems(site_folder) == [
        "second.yaml:1: name: is 'fts'; a stream is named as its file, 'second'",
        "second.yaml:3: topic: 'fts.transfers' is the topic of stream 'fts' already",
    ]


def test_missing_folders_are_one_line(tmp_path: Path) -> None:
    assert problems(tmp_path / "nowhere") == [f"{tmp_path}/nowhere: no such folder; `opintel init DIR` makes one"]
    assert problems(tmp_path) == [f"{tmp_path}: has no folder `streams`", f"{tmp_path}: has no folder `alerts`"]


def test_environment_overrides_files(site_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(site_folder, MINIMAL + "wire:\n  instance: a.example.org\ndetectors:\n  fts.silent-links: {cap: 5}\n")
    monkeypatch.setenv("OPINTEL_STREAMS__FTS__WINDOW", "5m")
    monkeypatch.setenv("OPINTEL_STREAMS__FTS__MAX_KEYS", "9")
    monkeypatch.setenv("OPINTEL_STREAMS__FTS__WIRE__INSTANCE", "b.example.org")
    monkeypatch.setenv("OPINTEL_STREAMS__FTS__DETECTORS__FTS_SILENT_LINKS__CAP", "7")
    fts = load_site(site_folder).streams["fts"]
    assert (fts.window, fts.max_keys) == (300 * NS, 9)
    assert fts.wire == {"instance": "b.example.org"}
    assert fts.detectors == {"fts.silent-links": {"cap": 7}}


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("OPINTEL_STREAMS__FTS__WINDOW", "soon", "OPINTEL_STREAMS__FTS__WINDOW: window: expected a duration"),
        ("OPINTEL_STREAMS__FST__WINDOW", "5m", "OPINTEL_STREAMS__FST__WINDOW: is no setting; expected"),
        ("OPINTEL_STREAMS__FTS", "5m", "OPINTEL_STREAMS__FTS: is no setting; expected"),
        ("OPINTEL_STREAMS__FTS__TOPIC__X", "1", "OPINTEL_STREAMS__FTS__TOPIC__X: topic.x: topic holds no settings"),
        ("OPINTEL_STREAMS__FTS__WINDWO", "5m", "OPINTEL_STREAMS__FTS__WINDWO: windwo: unknown key; did you mean"),
    ],
)
def test_a_wrong_variable_is_named(
    site_folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert [line[: len(expected)] for line in problems(site_folder)] == [expected]


def test_a_site_without_its_file_has_the_embedded_log(site_folder: Path) -> None:
    assert load_site(site_folder).settings == SiteSettings()
    assert load_site(site_folder).alerts == AlertSettings()


def test_site_settings_come_from_the_file_and_the_environment(
    site_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site_folder / "site.yaml").write_text(
        "bus:\n  bootstrap: ['a:1', '[::1]:2']\n  tls: true\n  ca_file: ca.pem\n  user: u\n  password_file: word\n"
        "checkpoints: s3://b/c\n"
    )
    (site_folder / "ca.pem").touch()
    (site_folder / "word").write_text("open sesame\n")
    site = load_site(site_folder)
    assert site.settings.bus is not None
    assert site.settings.bus.bootstrap == ["a:1", "[::1]:2"]
    assert site.settings.bus.ca_file == str(site_folder / "ca.pem")
    assert (site.settings.replication, site.settings.checkpoints, site.settings.store) == (1, "s3://b/c", None)
    assert bus_secrets(site) == {"password": "open sesame"}
    monkeypatch.setenv("OPINTEL_SITE__BUS__BOOTSTRAP", "b:3, c:4")
    monkeypatch.setenv("OPINTEL_SITE__BUS__USER", "v")
    monkeypatch.setenv("OPINTEL_SITE__REPLICATION", "3")
    monkeypatch.setenv("OPINTEL_SITE__STORE", "postgresql://h/d")
    settings = load_site(site_folder).settings
    assert settings.bus is not None
    assert (settings.bus.bootstrap, settings.bus.user) == (["b:3", "c:4"], "v")
    assert (settings.replication, settings.store) == (3, "postgresql://h/d")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("states", "{site}/states"),
        ("../states", "{site}/../states"),
        ("/srv/states", "/srv/states"),
        ("~/states", "{home}/states"),
        ("file:///srv/states", "file:///srv/states"),
        ("file:states", "file:states"),
        ("s3://b/c", "s3://b/c"),
        ("simplecache::s3://b/c", "simplecache::s3://b/c"),
    ],
)
def test_checkpoints_are_relative_to_the_sites_folder(
    site_folder: Path, monkeypatch: pytest.MonkeyPatch, written: str, meant: str
) -> None:
    monkeypatch.setenv("HOME", "/home/of")
    (site_folder / "site.yaml").write_text(f"checkpoints: {written}\n")
    assert load_site(site_folder).settings.checkpoints == meant.format(site=site_folder, home="/home/of")


def test_without_a_site_checkpoints_are_where_the_process_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPINTEL_CONFIG", raising=False)
    monkeypatch.setenv("OPINTEL_SITE__CHECKPOINTS", "states")
    assert load_site().settings.checkpoints == "states"


@pytest.mark.parametrize("text", ["", "\n\n", "# replication: 3\n", "  # a\n\n# b"])
def test_an_empty_file_of_the_site_leaves_all_out(
    site_folder: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (site_folder / "site.yaml").write_text(text)
    assert load_site(site_folder).settings == SiteSettings()
    monkeypatch.setenv("OPINTEL_SITE__REPLICATION", "3")
    assert load_site(site_folder).settings.replication == 3


def test_a_folder_in_the_place_of_the_sites_file_is_a_problem(site_folder: Path) -> None:
    (site_folder / "site.yaml").mkdir()
    assert problems(site_folder) == [f"{site_folder}/site.yaml: cannot be read: Is a directory"]


def test_the_environment_alone_names_a_cluster(site_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPINTEL_SITE__BUS__BOOTSTRAP", "127.0.0.1:9092")
    monkeypatch.setenv("OPINTEL_STREAMS__FTS__KAFKA__BOOTSTRAP", "127.0.0.1:9095")
    monkeypatch.setenv("OPINTEL_STREAMS__FTS__KAFKA__TOPICS", "[a, b]")
    site = load_site(site_folder)
    assert site.settings.bus == KafkaSettings(bootstrap=["127.0.0.1:9092"])
    source = KafkaSourceSettings(bootstrap=["127.0.0.1:9095"], topics=["a", "b"])
    assert site.sources["fts"] == ("kafka", source)
    assert secrets(site) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("replicas: 3", "site.yaml:1: replicas: unknown key; did you mean `replication`?"),
        ("replication: 0", "site.yaml:1: replication: expected `int` >= 1, got 0"),
        ("bus: kafka-1:9092", "site.yaml:1: bus: expected settings as `key: value` lines, got 'kafka-1:9092'"),
        ("bus:\n  bootstrap: []", "site.yaml:2: bus.bootstrap: expected `host:port` of one broker or more"),
        ("bus:\n  bootstrap: 'kafka'", "site.yaml:2: bus.bootstrap: expected `host:port`, got 'kafka'"),
        ("bus:\n  bootstrap: ['k:1']\n  password: x", "site.yaml:3: bus.password: unknown key"),
        (
            "bus:\n  bootstrap: ['k:1']\n  mechanism: PLAIN",
            "site.yaml:3: bus.mechanism: expected one of `SCRAM-SHA-512`, `SCRAM-SHA-256`, got 'PLAIN'",
        ),
        ("bus:\n  bootstrap: ['k:1']\n  ca_file: a", "site.yaml:1: bus: certificates need `tls: true`"),
        ("bus:\n  bootstrap: ['k:1']\n  password_env: A", "site.yaml:1: bus: a password needs a `user`"),
        ("- replication", "site.yaml:1: expected settings as `key: value` lines"),
    ],
)
def test_a_problem_of_the_site_is_told_as_a_streams(site_folder: Path, text: str, expected: str) -> None:
    (site_folder / "site.yaml").write_text(text + "\n")
    found = [line.replace(f"{site_folder}/", "") for line in problems(site_folder)]
    assert any(line.startswith(expected) for line in found), found


def test_a_wrong_variable_of_the_site_is_named(site_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPINTEL_SITE__REPLICATON", "3")
    assert problems(site_folder)[0].startswith(
        "OPINTEL_SITE__REPLICATON: replicaton: unknown key; did you mean `replication`?"
    )


@pytest.mark.parametrize("text", ["", "10", "10 m", "m", "-5m", "1e3s", "5m5s", "4000d", None, 5, True, "١m"])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration(text)


@given(st.integers(0, 3000), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_durations_add_up(n: int, unit: str) -> None:
    assert duration(f"{n}{unit}") == n * duration(f"1{unit}")


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_reader(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("site")
    (folder / "alerts").mkdir()
    shutil.copytree(shipped_folder() / "streams", folder / "streams")
    (folder / "streams" / "x.yaml").write_bytes(content)
    with pytest.raises(ConfigError):
        load_site(folder)
