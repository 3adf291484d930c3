"""Downtimes that others announce: GOCDB's XML and calendars, read again when they change, bounded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opintel.alerts.settings import DowntimeFile
from opintel.finding import NS, rfc3339
from opintel.paths import FilePath
from opintel.site import downtimes as module
from opintel.site.check import require
from opintel.site.downtimes import Downtimes, downtimes
from opintel.site.errors import ConfigError
from opintel.site.load import read_site
from opintel.site.shipped import copy_shipped


def gocdb(host: str = "SE01.example.org", severity: str = "OUTAGE", start: str = "1772438400", more: str = "") -> bytes:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<results>
  <DOWNTIME ID="12" PRIMARY_KEY="12G0" CLASSIFICATION="SCHEDULED">
    <PRIMARY_KEY>12G0</PRIMARY_KEY>
    <HOSTNAME>{host}</HOSTNAME>
    <SERVICE_TYPE>webdav</SERVICE_TYPE>
    <ENDPOINT>{host}webdav</ENDPOINT>
    <HOSTED_BY>SITE-A</HOSTED_BY>
    <AFFECTED_ENDPOINTS><ENDPOINT><HOSTNAME>other.example.org</HOSTNAME></ENDPOINT></AFFECTED_ENDPOINTS>
    <SEVERITY>{severity}</SEVERITY>
    <DESCRIPTION>new disks &amp; a
      reboot</DESCRIPTION>
    <START_DATE>{start}</START_DATE>
    <END_DATE>1772445600</END_DATE>
  </DOWNTIME>{more}
</results>""".encode()


def calendar(*lines: str) -> bytes:
    return "\r\n".join(
        ["BEGIN:VCALENDAR", "VERSION:2.0", "BEGIN:VEVENT", *lines, "END:VEVENT", "END:VCALENDAR"]
    ).encode()


def test_an_outage_of_gocdb() -> None:
    [one] = downtimes(gocdb())
    assert one.hosts == ("se01.example.org",)
    assert (rfc3339(one.start), rfc3339(one.end)) == ("2026-03-02T08:00:00Z", "2026-03-02T10:00:00Z")
    assert one.reason == "new disks & a reboot"
    assert downtimes(gocdb(severity="WARNING")) == downtimes(b"<results/>") == []


@pytest.mark.parametrize(
    ("lines", "start", "hours", "hosts"),
    [
        (["DTSTART:20260302T080000Z", "DTEND:20260302T100000Z", "LOCATION:se01.example.org"], 8, 2, ["se01"]),
        (
            ["DTSTART;TZID=Europe/Zurich:20260302T090000", "DURATION:PT1H30M", "LOCATION:SE01.example.org"],
            8,
            1.5,
            ["se01"],
        ),
        (["DTSTART;VALUE=DATE:20260302", "LOCATION:se01.example.org\\, se02.example.org"], 0, 24, ["se01", "se02"]),
        (["DTSTART:20260302T080000", "DURATION:P1D", "SUMMARY:Work on se01.exam", " ple.org (disks)"], 8, 24, ["se01"]),
    ],
)
def test_events_of_a_calendar(lines: list[str], start: int, hours: float, hosts: list[str]) -> None:
    [one] = downtimes(calendar("UID:1", *lines))
    assert rfc3339(one.start) == f"2026-03-02T{start:02d}:00:00Z"
    assert (one.end - one.start) / NS == hours * 3600
    assert one.hosts == tuple(f"{host}.example.org" for host in hosts)


def test_events_that_are_none() -> None:
    when = ("DTSTART:20260302T080000Z", "DURATION:PT1H")
    assert downtimes(calendar(*when, "SUMMARY:Meeting at noon. All")) == []
    assert downtimes(calendar(*when, "LOCATION:se01.example.org", "STATUS:CANCELLED")) == []
    assert downtimes(calendar("DTSTART:20260302T080000Z", "LOCATION:se01.example.org")) == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"nothing of the kind", "expected downtimes as GOCDB's XML or a calendar"),
        (b'<!DOCTYPE r [<!ENTITY a "b">]><results>&a;</results>', "without entities"),
        (gocdb(host="no host"), "HOSTNAME: expected a host name"),
        (gocdb(start="tomorrow"), "START_DATE: expected seconds since 1970, got 'tomorrow'"),
        (calendar("DTSTART:soon", "LOCATION:a.example"), "DTSTART: expected a time"),
        (calendar("DTSTART;TZID=Mars/Olympus:20260302T080000", "LOCATION:a.example"), "DTSTART: expected a time"),
        (calendar("DTSTART:20260302T080000Z", "DURATION:long", "LOCATION:a.example"), "DURATION: expected"),
        (calendar("DTSTART:20260302T080000Z", "RRULE:FREQ=DAILY", "LOCATION:a.example"), "one that recurs"),
    ],
)
def test_what_is_wrong_is_said(body: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        downtimes(body)


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "MOST_DOWNTIMES", 3)
    with pytest.raises(ValueError, match="at most 3 downtimes"):
        downtimes(b"<r>" + b"<DOWNTIME/>" * 5 + b"</r>")
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    (tmp_path / "d.xml").write_bytes(gocdb())
    with pytest.raises(ValueError, match="at most 10 bytes"):
        module.planned(file(tmp_path / "d.xml"))


def file(path: Path) -> DowntimeFile:
    return DowntimeFile(stream="fts", path=FilePath(str(path)))


def test_a_file_that_changes_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "d.xml"
    announced = Downtimes([file(path)])
    assert announced.read() == announced.read() == []
    assert len(caplog.records) == 1  # that it is missing, once
    path.write_bytes(gocdb())
    [first] = announced.read()
    assert (first.stream, first.subject, first.reason) == (
        "fts",
        {"endpoint": "se01.example.org"},
        "new disks & a reboot",
    )
    path.write_bytes(b"<results><DOWNTIME>")
    assert announced.read() == announced.read() == [first]
    assert len(caplog.records) == 2
    path.write_bytes(gocdb(host="se02.example.org"))
    os.utime(path, ns=(1, 1))
    assert [one.subject["endpoint"] for one in announced.read()] == ["se02.example.org"]
    path.unlink()
    assert [one.subject["endpoint"] for one in announced.read()] == ["se02.example.org"]


def test_a_site_s_file_is_beside_its_yaml_and_checked(tmp_path: Path) -> None:
    copy_shipped(tmp_path)
    (tmp_path / "alerts" / "maintenance.yaml").write_text("files:\n- {stream: fts, path: d.xml, label: endpoit}\n")
    site, problems = read_site(tmp_path)
    with pytest.raises(ConfigError) as error:
        require(site, (), known=problems)
    assert "files.0.path: " in str(error.value)
    assert "no label 'endpoit'; did you mean `endpoint`?" in str(error.value)
    (tmp_path / "alerts" / "d.xml").write_bytes(gocdb())
    [planned] = module.planned(site.alerts.calendar.files[0])
    assert planned.subject == {"endpoit": "se01.example.org"}
