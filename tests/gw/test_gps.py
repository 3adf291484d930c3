"""GPS and UTC, to the nanosecond, across leap seconds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opintel.finding import NS, parse_rfc3339, rfc3339
from opintel.gw.gps import EPOCH, gps_from_utc, utc_from_gps

LEAP = 1_167_264_017
"""GPS s at which 2016-12-31T23:59:60 began."""


@pytest.mark.parametrize(
    ("gps", "utc"),
    [
        (0, "1980-01-06T00:00:00Z"),
        (46_828_799, "1981-06-30T23:59:59Z"),
        (46_828_801, "1981-07-01T00:00:00Z"),
        (1_126_259_462, "2015-09-14T09:50:45Z"),  # GW150914
        (LEAP - 1, "2016-12-31T23:59:59Z"),
        (LEAP + 1, "2017-01-01T00:00:00Z"),
        (1_187_008_882, "2017-08-17T12:41:04Z"),  # GW170817
    ],
)
def test_known_seconds(gps: int, utc: str) -> None:
    assert rfc3339(utc_from_gps(gps * NS)) == utc
    assert gps_from_utc(parse_rfc3339(utc)) == gps * NS


def test_since_the_last_leap_second_they_differ_by_18_s() -> None:
    for day in ("2017-01-01T00:00:00Z", "2026-03-02T06:00:00Z"):
        utc = parse_rfc3339(day)
        assert gps_from_utc(utc) - (utc - EPOCH) == 18 * NS
    before = parse_rfc3339("2016-12-31T23:59:59.999999999Z")
    assert gps_from_utc(before) - (before - EPOCH) == 17 * NS


def test_a_leap_second_stays_in_its_day() -> None:
    inside = np.array([LEAP * NS - 1, LEAP * NS, LEAP * NS + NS // 2, (LEAP + 1) * NS - 1, (LEAP + 1) * NS])
    found = utc_from_gps(inside)
    last = parse_rfc3339("2016-12-31T23:59:59.999999999Z")
    assert found.tolist() == [last, last, last, last, last + 1]
    assert gps_from_utc(last) == LEAP * NS - 1


@given(st.lists(st.integers(-(10**18), 3 * 10**18), min_size=1))
def test_there_and_back(times: list[int]) -> None:
    """All but the nanoseconds of leap seconds come back; order is kept; arrays and numbers give the same."""
    gps = np.array(sorted(times), dtype=np.int64)
    utc = utc_from_gps(gps)
    assert (np.diff(utc) >= 0).all()
    assert utc.tolist() == [utc_from_gps(int(time)) for time in gps]
    back = gps_from_utc(utc)
    assert back.tolist() == [gps_from_utc(int(time)) for time in utc]
    assert (utc_from_gps(back) == utc).all()
    lost = back != gps
    assert ((utc[lost] + 1) % (86_400 * NS) == 0).all()
    assert ((gps - back)[lost] <= NS).all()
