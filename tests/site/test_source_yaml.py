"""The sources that a stream's YAML names: what they are asked, and their secrets, which stay outside."""

from __future__ import annotations

from pathlib import Path

import pytest
from site_yaml import MINIMAL, problems, secrets, write

from opintel.finding import NS
from opintel.site.errors import ConfigError
from opintel.site.load import load_site
from opintel.site.sources import open_source


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
