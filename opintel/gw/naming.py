"""What GW's subjects and times are called: interferometers and channels; GPS seconds beside UTC."""

from __future__ import annotations

from collections.abc import Mapping

from opintel.finding import NS, Finding
from opintel.gw.gps import gps_from_utc
from opintel.naming import Naming, TimeScale


def subject_of(subject: Mapping[str, str]) -> str:
    """A subject in one line.

    >>> subject_of({"scope": "L1", "channel": "L1:GDS-CALIB_STRAIN", "witness": "L1:PEM-EY_MIC_VEA_DQ"})
    'L1:GDS-CALIB_STRAIN, witnessed by L1:PEM-EY_MIC_VEA_DQ'
    >>> subject_of({"scope": "L1", "quantity": "range"})
    'range of L1'
    """
    whole = " ".join(subject[label] for label in ("state", "quantity") if label in subject)
    channel, witness = subject.get("channel", f"{whole} of {subject.get('scope')}"), subject.get("witness")
    return f"{channel}, witnessed by {witness}" if witness else channel


def gps_seconds(utc: int) -> float:
    """GPS seconds of ns UTC: exact to less than a microsecond, and whole seconds exactly.

    >>> gps_seconds(1_442_224_245 * NS)
    1126259462.0
    """
    whole, rest = divmod(gps_from_utc(utc), NS)
    return round(whole + rest / NS, 6)


def times_of(finding: Finding) -> dict[str, str]:
    """GPS seconds of a finding: its own time where it has one, and its window."""
    window = finding.window
    span = f"{gps_seconds(window.start):.10g} to {gps_seconds(window.end):.10g}"
    return {"GPS": span if finding.onset is None else f"{gps_seconds(finding.onset):.3f}"}


NAMING = Naming(
    entities=("state", "quantity", "channel", "witness"),
    between=", witness ",
    subject=subject_of,
    times=times_of,
    scale=TimeScale("gps", gps_seconds),
)
