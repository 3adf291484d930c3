"""GPS time and UTC, both as whole nanoseconds: GPS since 1980-01-06T00:00:00Z, UTC since 1970 without leap seconds.

GPS time counts every second, UTC (as POSIX counts it) has no number for a leap second. So the nanoseconds of a leap
second are all the last nanosecond before it: order is kept, nothing moves into the next day, and only they do not come
back from UTC as they were. The table is that of IERS Bulletin C, as in https://data.iana.org/time-zones/data/leap-seconds.list
(TAI − UTC there; GPS = TAI − 19 s). UTC = GPS − 18 s since 2017; a further leap second needs a new row here.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import overload

import numpy as np
from numpy.typing import NDArray

from opintel.finding import NS, parse_rfc3339

EPOCH = parse_rfc3339("1980-01-06T00:00:00Z")
"""ns UTC of GPS 0."""
_SINCE = (
    *("1981-07-01", "1982-07-01", "1983-07-01", "1985-07-01", "1988-01-01", "1990-01-01", "1991-01-01", "1992-07-01"),
    *("1993-07-01", "1994-07-01", "1996-01-01", "1997-07-01", "1999-01-01", "2006-01-01", "2009-01-01", "2012-07-01"),
    *("2015-07-01", "2017-01-01"),
)
"""Days before which a second was added: from the first on GPS − UTC is 1 s."""
_UTC = np.array([parse_rfc3339(f"{day}T00:00:00Z") for day in _SINCE], dtype=np.int64)
_COUNT = np.arange(1, len(_SINCE) + 1, dtype=np.int64)
_GPS = _UTC - EPOCH + _COUNT * NS
"""The same moments, ns GPS; a leap second is the second before one."""
_BEFORE = np.append(_UTC - 1, np.iinfo(np.int64).max)
"""The last ns UTC before the next moment."""
_UTC_LIST, _GPS_LIST = _UTC.tolist(), _GPS.tolist()


@overload
def utc_from_gps(gps: int) -> int: ...
@overload
def utc_from_gps(gps: NDArray[np.int64]) -> NDArray[np.int64]: ...
def utc_from_gps(gps: int | NDArray[np.int64]) -> int | NDArray[np.int64]:
    """ns UTC of ns GPS. Before 1980, when there was no GPS time, it is UTC.

    >>> utc_from_gps(1_167_264_018 * NS) == parse_rfc3339("2017-01-01T00:00:00Z")
    True
    """
    if isinstance(gps, np.ndarray):
        place = np.searchsorted(_GPS, gps, side="right")
        found: NDArray[np.int64] = np.minimum(gps + EPOCH - place * NS, _BEFORE[place])
        return found
    n = bisect_right(_GPS_LIST, gps)
    return min(gps + EPOCH - n * NS, int(_BEFORE[n]))


@overload
def gps_from_utc(utc: int) -> int: ...
@overload
def gps_from_utc(utc: NDArray[np.int64]) -> NDArray[np.int64]: ...
def gps_from_utc(utc: int | NDArray[np.int64]) -> int | NDArray[np.int64]:
    """ns GPS of ns UTC.

    >>> gps_from_utc(parse_rfc3339("2015-09-14T09:50:45Z")) // NS
    1126259462
    """
    if isinstance(utc, np.ndarray):
        return utc - EPOCH + np.searchsorted(_UTC, utc, side="right") * NS
    return utc - EPOCH + bisect_right(_UTC_LIST, utc) * NS
