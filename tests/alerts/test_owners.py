"""Whose a host is, and that incidents and tickets say so."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from alert_story import END_A, finding, play, settings, windows

from opintel.alerts.owners import owner
from opintel.alerts.settings import AlertSettings, GridSite, SiteTopology
from opintel.alerts.ticket import render
from opintel.site.grid_sites import hosts_by_site, with_files
from opintel.store import Store, queries

LINK = {"source": "a.example", "destination": "se.physik.hu.de"}


def located(**sites: GridSite) -> AlertSettings:
    return msgspec.structs.replace(settings(), topology=SiteTopology(sites=sites))


def test_an_incident_and_its_ticket_name_the_site_and_its_support_unit(store: Store) -> None:
    how = located(**{"SITE-A": GridSite(hosts=["a.example"], support_unit="NGI_A")})
    play(store, windows({3: [finding(3, END_A, kind="endpoint")]}, 5), how)
    [incident] = queries.incidents(store)
    assert incident["sites"] == [{"host": "a.example", "site": "SITE-A", "support_unit": "NGI_A"}]
    assert "Site: SITE-A (a.example, GGUS support unit NGI_A)" in render(incident, []).text


def test_both_ends_of_a_link_are_named_and_the_unknown_by_its_domain(store: Store) -> None:
    how = located(**{"SITE-A": GridSite(hosts=["a.example"])})
    play(store, windows({3: [finding(3, LINK)]}, 5), how)
    [incident] = queries.incidents(store)
    assert [one["site"] for one in incident["sites"]] == ["SITE-A", "hu.de"]
    assert "Site: hu.de (se.physik.hu.de)" in render(incident, []).text


def test_an_endpoint_that_takes_over_a_link_s_incident_is_the_one_to_ask(store: Store) -> None:
    found = {3: [finding(3, LINK)], 4: [finding(4, END_A, kind="endpoint")]}
    play(store, windows(found, 6), located(**{"SITE-B": GridSite(hosts=["b.example"])}))
    [incident] = queries.incidents(store)
    assert [one["host"] for one in incident["sites"]] == ["a.example"]


def test_a_site_without_a_topology_names_none(store: Store) -> None:
    play(store, windows({3: [finding(3, LINK)]}, 5), settings())
    assert [incident["sites"] for incident in queries.incidents(store)] == [[]]


@pytest.mark.parametrize("name", ["L1:GDS-CALIB_STRAIN", "2001:db8::1", "Tracker", "192.0.2.7", "a b.example", ""])
def test_what_is_no_host_has_no_owner(name: str) -> None:
    assert owner(SiteTopology(), name) is None


CRIC = """{"a-se": {"rcsite": "SITE-A", "endpoint": "davs://SE1.a.example:2880/x", "protocols": {
    "1": {"endpoint": "root://se2.a.example:1094"}, "2": {"endpoint": null}, "3": "?"}, "country": "A"},
    "b-se": {"endpoint": "se1.b.example:8443", "rcsite": null}}"""
GROUPED = """{"SITE-A": [{"endpoint": "https://se1.a.example", "protocols": []}, {"endpoint": "https://[x/"}]}"""
PLAIN = "SITE-A: [se1.a.example, 'se2.a.example:1094']\nSITE-B: [se1.b.example]\n"


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        (CRIC, {"SITE-A": {"se1.a.example", "se2.a.example"}, "b-se": {"se1.b.example"}}),
        (GROUPED, {"SITE-A": {"se1.a.example"}}),
        (PLAIN, {"SITE-A": {"se1.a.example", "se2.a.example"}, "SITE-B": {"se1.b.example"}}),
    ],
)
def test_hosts_come_from_cric_or_yaml(tmp_path: Path, text: str, hosts: dict[str, set[str]]) -> None:
    path = tmp_path / "sites"
    path.write_text(text)
    assert hosts_by_site(str(path)) == hosts
    known = {"SITE-A": GridSite(hosts=["old.a.example"], support_unit="NGI_A")}
    both = with_files(SiteTopology(sites=known, files=[str(path)]))  # type: ignore[list-item]
    found = owner(both, "se1.a.example")
    assert found is not None
    assert found.support_unit == "NGI_A"
    assert owner(both, "old.a.example") == ("old.a.example", "SITE-A", "NGI_A")


@pytest.mark.parametrize("text", ["", "[1, 2]", "{}", "{", "a: [b", '{"a": 5}', "[" * 3000])
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sites"
    path.write_text(text)
    with pytest.raises(ValueError, match="sites: expected"):
        hosts_by_site(str(path))
