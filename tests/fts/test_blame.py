"""Whose fault failed files are, and that a user's are counted apart from a site's in the hours of traffic."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from opintel.console.transfers import Files, added
from opintel.detector import Closing, Controls, Record
from opintel.evidence import Matrix, Table
from opintel.finding import NS, Finding, Window
from opintel.fts.causes.blame import apportioned, blame
from opintel.fts.judging.cause_rates import CauseSettings
from opintel.fts.judging.traffic import TrafficJudge, TrafficSettings
from opintel.fts.link_windows import LINK, LinkWindow
from opintel.fts.texts.masking import mask
from opintel.fts.traffic import SITES_USER, traffic_of
from opintel.site.load import load_site

A, B = "se01.a.example", "se01.b.example"
TOKEN, FULL = "token of atlas expired", "no space left on device"


@pytest.fixture(scope="module")
def shipped() -> TrafficSettings:
    settings = msgspec.convert(load_site().documents["fts"].data["detectors"]["fts.causes"], CauseSettings)
    return TrafficSettings(settings.families)


@pytest.mark.parametrize(
    ("text", "whose"),
    [
        ("SOURCE proxy of the user has expired", "user"),
        (f"login to {B} refused: user not found in gridmap", "user"),
        ("DESTINATION HTTP 403 : Permission refused", "user"),
        ("Operation canceled by the user", "user"),
        ("destination file exists and overwrite is not enabled", "user"),
        (f"TLS handshake with {B} failed: certificate verify failed", "destination"),
        (f"SOURCE TLS handshake with {B} failed", "source"),
        ("disk quota exceeded", "destination"),
        ("SOURCE disk quota exceeded", "source"),
        ("HTTP 404 : File not found", "source"),
        (f"connection to {A}:443 refused", "source"),
        (f"connection from {A} to {B} refused", "link"),
        ("transfer timed out", "link"),
        ("a pipe organ out of tune", "link"),
    ],
)
def test_whose_fault_it_is(shipped: TrafficSettings, text: str, whose: str) -> None:
    assert blame(mask(text), text, A, B, shipped.families) == whose


@pytest.mark.parametrize("files", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("errors", [{}, {"user": 1}, {"user": 1, "link": 1}, {"user": 3, "source": 5, "link": 1}])
def test_files_are_divided_without_loss(files: int, errors: dict[Any, int]) -> None:
    found = apportioned(files, errors)
    assert sum(found) == files
    total = sum(errors.values())
    for whose, count in errors.items():
        assert abs(getattr(found, whose) - files * count / total) < 1


def finding_of(settings: TrafficSettings, forms: dict[str, int], failed: int) -> Finding:
    """One hour of a link with `failed` failed files and 100 that arrived."""
    made = [(text, mask(text), count, text) for text, count in forms.items()]
    link = LinkWindow(A, B, 100, failed, 0, 100 + failed, 1000, [], (0, 0.0, 0.0), made)
    window = Window(0, 3600 * NS)
    records = [Record(window, LINK, "a|b", "fts1", link)]
    [found] = TrafficJudge().judge(Closing(window, "fts1", records, Controls(), settings, "", complete=True))
    return found


def test_users_faults_are_no_site_s(shipped: TrafficSettings) -> None:
    finding = finding_of(shipped, {TOKEN: 90, FULL: 30}, 40)
    assert finding.summary.endswith("29 % failed, 30 of them by users' fault")
    hour = traffic_of(finding)
    assert hour is not None
    assert (hour.total.failed, hour.total.user) == (40, 30)
    [link] = hour.links
    assert (link.failed, link.by_user, link.by_source, link.by_destination) == (40, 30, 0, 10)
    traffic = added([hour, hour], {})
    files = Files(200, 80, 2000, 60)
    assert traffic.links[A, B] == traffic.pairs["a.example", "b.example"] == files
    assert (traffic.endpoints[A].out, traffic.endpoints[B].into) == (files, files)
    assert files.share == pytest.approx(20 / 220)
    assert traffic.total.user == 60


def test_only_users_failed(shipped: TrafficSettings) -> None:
    hour = traffic_of(finding_of(shipped, {TOKEN: 3}, 3))
    assert hour is not None
    assert added([hour], {}).links[A, B].share == 0.0
    assert Files(0, 3, 0, 3).share is None


def test_an_hour_of_an_earlier_version(shipped: TrafficSettings) -> None:
    """Its tables have fewer columns, and it has no matrix of users' faults."""
    finding, earlier = finding_of(shipped, {TOKEN: 4}, 4), list[Any]()
    for block in finding.evidence:
        if isinstance(block, Table):
            kept = [n for n, name in enumerate(block.columns) if "user" not in name and not name.startswith("by_")]
            rows = [[row[n] for n in kept] for row in block.rows]
            earlier.append(Table(block.title, [block.columns[n] for n in kept], rows))
        elif not (isinstance(block, Matrix) and block.title == SITES_USER):
            earlier.append(block)
    hour = traffic_of(msgspec.structs.replace(finding, evidence=tuple(earlier)))
    assert hour is not None
    assert (hour.total.user, hour.links[0].by_user, hour.user) == (0, 0, [[None, 0.0], [None, None]])
    assert added([hour], {}).links[A, B] == Files(100, 4, 1000)
