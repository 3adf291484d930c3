"""Settings: what is accepted, what the environment changes, and how problems are shown (file, line, key, remedy)."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opintel.alerts.settings import AlertSettings
from opintel.durations import duration
from opintel.finding import NS
from opintel.fts.judging.cause_rates import CauseSettings
from opintel.fts.judging.failures import LinkSettings
from opintel.site.errors import ConfigError
from opintel.site.load import load_site
from opintel.site.secrets import secrets_of
from opintel.site.settings import Site, SiteSettings
from opintel.site.shipped import shipped_folder
from opintel.site.sources import open_source
from opintel.site.watched import detector_settings, public_key_warning, wire_settings
from opintel.site.yaml_places import read_yaml
from opintel.streams.connectors.kafka import KafkaSourceSettings
from opintel.streams.kafka.settings import KafkaSettings

MINIMAL = "name: fts\ndomain: fts\ntopic: fts.transfers\n"


class Wire:
    def __init__(
        self, *, instance: str = "", pseudonym_key: bytes = b"public", keep_personal: bool = False
    ) -> None: ...


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cap: int = 5
    fdr: float = 0.05


@pytest.fixture
def site_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [v for v in __import__("os").environ if v.startswith("OPINTEL_")]:
        monkeypatch.delenv(name)
    (tmp_path / "streams").mkdir()
    (tmp_path / "alerts").mkdir()
    write(tmp_path, MINIMAL)
    return tmp_path


def write(folder: Path, text: str, name: str = "fts") -> None:
    (folder / "streams" / f"{name}.yaml").write_text(text)


def secrets(site: Site) -> dict[str, str]:
    """Those of the stream's source."""
    kind, settings = site.sources["fts"]
    return secrets_of(site.documents["fts"], (kind,), settings)


def bus_secrets(site: Site) -> dict[str, str]:
    return secrets_of(site.written, ("bus",), site.settings.bus)


def problems(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_site(folder)
    return [str(problem).replace(f"{folder}/streams/", "") for problem in caught.value.problems]


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


def test_wire_settings_are_checked_and_secrets_read(site_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site_folder / "streams" / "key").write_text("from a file\n")
    write(site_folder, MINIMAL + "wire:\n  instance: a.example.org\n  pseudonym_key_file: key\n")
    site = load_site(site_folder)
    assert wire_settings(site, "fts", Wire) == {"instance": "a.example.org", "pseudonym_key": b"from a file"}
    assert public_key_warning(site, {"fts": Wire}) == ""
    assert "from a file" not in repr(site)
    write(site_folder, MINIMAL + "wire:\n  pseudonym_key_env: THE_KEY\n")
    monkeypatch.setenv("THE_KEY", "from outside")
    assert wire_settings(load_site(site_folder), "fts", Wire) == {"pseudonym_key": b"from outside"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("instance: 5", "wire.instance: expected `str`, got `int`"),
        ("instnace: a", "wire.instnace: unknown key; did you mean `instance`?"),
        ("pseudonym_key: abc", "wire.pseudonym_key: a secret is not written in YAML; use `pseudonym_key_file`"),
        (
            "pseudonym_key_file: nowhere",
            "wire.pseudonym_key_file: {site}/streams/nowhere cannot be read: No",
        ),
        ("pseudonym_key_env: NOT_SET", "wire.pseudonym_key_env: the environment variable NOT_SET is not set"),
    ],
)
def test_wrong_wire_settings_are_named(site_folder: Path, line: str, expected: str) -> None:
    write(site_folder, MINIMAL + f"wire:\n  {line}\n")
    site = load_site(site_folder)
    with pytest.raises(ConfigError) as caught:
        wire_settings(site, "fts", Wire)
    assert str(caught.value).startswith(f"{site_folder}/streams/fts.yaml:5: {expected.format(site=site_folder)}")


def test_the_public_key_warns(site_folder: Path) -> None:
    assert "shipped public key" in public_key_warning(load_site(site_folder), {"fts": Wire})
    assert public_key_warning(load_site(site_folder), {"fts": lambda: None}) == ""


def test_detectors_have_their_settings(site_folder: Path) -> None:
    write(site_folder, MINIMAL + "detectors:\n  fts.links: {cap: 7}\n")
    known = {"fts.links": Settings, "fts.other": Settings}
    found = detector_settings(load_site(site_folder), "fts", known)
    assert found == {"fts.links": Settings(cap=7), "fts.other": Settings()}


@pytest.mark.parametrize("value", [".nan", "-.inf", f"[{'1000000, ' * 9000}1]"])
def test_settings_that_cannot_travel_are_told(site_folder: Path, value: str) -> None:
    class Loose(msgspec.Struct):
        cap: float | list[int] = 0.0

    write(site_folder, MINIMAL + f"detectors:\n  fts.loose: {{cap: {value}}}\n")
    with pytest.raises(ConfigError, match="travels as a control"):
        detector_settings(load_site(site_folder), "fts", {"fts.loose": Loose})


@pytest.mark.parametrize("line", ["emit: -.inf", "emit: .nan", f"max_findings: {10**30}", "max_findings: -1"])
def test_no_setting_of_a_judge_is_beyond_all_measure(site_folder: Path, line: str) -> None:
    write(site_folder, MINIMAL + f"detectors:\n  fts.links:\n    {line}\n")
    with pytest.raises(ConfigError, match=rf"fts.yaml:6: detectors.fts.links.{line.split(':')[0]}: "):
        detector_settings(load_site(site_folder), "fts", {"fts.links": LinkSettings})


def test_wrong_detectors_are_named(site_folder: Path) -> None:
    write(site_folder, MINIMAL + "detectors:\n  fts.link: {}\n  fts.other:\n    cap: many\n    fdrr: 1\n")
    with pytest.raises(ConfigError) as caught:
        detector_settings(load_site(site_folder), "fts", {"fts.links": Settings, "fts.other": Settings})
    assert [str(problem).partition("fts.yaml:")[2] for problem in caught.value.problems] == [
        "5: detectors.fts.link: unknown detector; did you mean `fts.links`?",
        "7: detectors.fts.other.cap: expected `int`, got `str`",
        "8: detectors.fts.other.fdrr: unknown key; did you mean `fdr`?",
    ]


def test_a_part_stands_in_a_file_of_its_own_and_its_problems_name_that(site_folder: Path) -> None:
    write(site_folder, MINIMAL + "detectors:\n  fts.links: {include: ../models/limits.yaml}\n")
    (site_folder / "models").mkdir()
    limits = site_folder / "models/limits.yaml"
    limits.write_text("# ours\ncap: 7\n")
    assert detector_settings(load_site(site_folder), "fts", {"fts.links": Settings}) == {"fts.links": Settings(cap=7)}
    limits.write_text("# ours\ncap: many\n")
    with pytest.raises(ConfigError, match=r"models/limits.yaml:2: detectors.fts.links.cap: expected `int`, got `str`"):
        detector_settings(load_site(site_folder), "fts", {"fts.links": Settings})
    limits.write_text("cap: {include: limits.yaml}\n")
    with pytest.raises(ConfigError, match=r"limits.yaml:1: detectors.fts.links.cap: expected `int`, got `object`"):
        detector_settings(load_site(site_folder), "fts", {"fts.links": Settings})
    limits.unlink()
    assert "limits.yaml: cannot be read" in problems(site_folder)[0]


def test_a_site_without_the_shipped_part_has_the_shipped_one(site_folder: Path) -> None:
    write(site_folder, MINIMAL + "detectors:\n  fts.causes: {include: ../models/fts-causes.yaml}\n")
    found = detector_settings(load_site(site_folder), "fts", {"fts.causes": CauseSettings})["fts.causes"]
    assert len(found.families) > 20


def test_the_brokers_password_stays_outside(site_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER", "s3cret")
    broker = "stomp:\n  host: h\n  destinations: [/queue/a]\n  password_env: BROKER\n"
    write(site_folder, MINIMAL + broker)
    site = load_site(site_folder)
    assert secrets(site) == {"password": "s3cret"}
    assert "s3cret" not in repr(site)
    write(site_folder, MINIMAL + broker.replace("_env: BROKER", ": s3cret"))
    assert "fts.yaml:7: stomp.password: unknown key" in problems(site_folder)[0]


PROMETHEUS = "prometheus:\n  url: https://h/p\n  queries: [up, 'a > 1']\n"


def test_a_prometheus_has_its_settings_and_its_secret_stays_outside(
    site_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(site_folder, MINIMAL + PROMETHEUS)
    asked = load_site(site_folder).sources["fts"].settings
    assert (asked.queries, asked.step, asked.delay, asked.history) == (["up", "a > 1"], 60 * NS, 60 * NS, 0)
    assert secrets(load_site(site_folder)) == {}
    (site_folder / "streams" / "word").write_text("open sesame\n")
    (site_folder / "streams" / "ca.pem").touch()
    more = "  step: 15s\n  history: 6h\n  user: u\n  password_file: word\n  ca_file: ca.pem\n"
    write(site_folder, MINIMAL + PROMETHEUS + more)
    site = load_site(site_folder)
    asked = site.sources["fts"].settings
    assert (asked.step, asked.history) == (15 * NS, 21_600 * NS)
    assert asked.ca_file == str(site_folder / "streams" / "ca.pem")
    assert secrets(site) == {"password": "open sesame"}
    assert "open sesame" not in repr(site)
    monkeypatch.setenv("OPINTEL_STREAMS__FTS__PROMETHEUS__QUERIES", "[down]")
    asked = load_site(site_folder).sources["fts"].settings
    assert asked.queries == ["down"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("https://h/p", "h:9090", ".url: expected http://HOST:PORT or https://HOST"),
        ("https://h/p", "ftp://h", ".url: expected http://HOST:PORT or https://HOST"),
        ("https://h/p", "http://h:99999", ".url: expected http://HOST:PORT or https://HOST"),
        ("https://h/p", "http://h?a=b", ".url: expected http://HOST:PORT or https://HOST"),
        ("https://h/p", "http://999.1.1.1", ".url: expected http://HOST:PORT or https://HOST"),
        ("https://h/p", "http://u:w@h", ": url holds a user or password; use `user`"),
        ("[up, 'a > 1']", "[]", ".queries: expected one or more"),
        ("[up, 'a > 1']", "[up, up]", ".queries: expected one or more, each of them once"),
        ("\n  queries", "\n  step: 500ms\n  queries", ".step: expected at least 1s"),
        ("\n  queries", "\n  user: u\n  queries", ": a `user` has a password_file or password_env"),
        ("\n  queries", "\n  password_env: P\n  queries", ": a `user` has a password_file or password_env"),
        (
            "\n  queries",
            "\n  user: u\n  password_env: P\n  token_env: T\n  queries",
            ": expected one of password_",
        ),
        ("https://h/p", "http://h\n  token_env: T", ".url: a password or token over http:// can be read on its way"),
        ("https://h/p", "http://h\n  ca_file: a", ".ca_file: needs https://"),
    ],
)
def test_a_prometheus_that_cannot_be_asked_is_a_problem(site_folder: Path, old: str, new: str, expected: str) -> None:
    write(site_folder, MINIMAL + PROMETHEUS.replace(old, new))
    (found,) = problems(site_folder)
    assert f": prometheus{expected}" in found
    assert "u:w" not in found


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            "  token_file: nowhere\n",
            "7: prometheus.token_file: {site}/streams/nowhere cannot be read: No",
        ),
        ("  token_file: word\n", "7: prometheus.token_file: expected one line of ASCII"),
        ("  user: u\n  password_env: NOT_SET\n", "8: prometheus.password_env: the environment variable NOT_SET"),
        ("  ca_file: nowhere\n", "7: prometheus.ca_file: {site}/streams/nowhere cannot be read: No such file"),
        ("  ca_file: .\n", "7: prometheus.ca_file: {site}/streams cannot be read: Is a directory"),
        ("  step: 1h\n", "7: prometheus.step: expected at most `window`: else most windows have no sample"),
    ],
)
def test_what_a_prometheus_needs_and_cannot_be_read_is_named(site_folder: Path, lines: str, expected: str) -> None:
    (site_folder / "streams" / "word").write_text("two\nlines\n")
    write(site_folder, MINIMAL + PROMETHEUS + lines)
    with pytest.raises(ConfigError) as caught:
        open_source(load_site(site_folder), "fts")
    assert str(caught.value).partition("fts.yaml:")[2].startswith(expected.format(site=site_folder))


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
