"""Flags of segments as LIGO_LW tables and as the JSON of the segment database (DQSEGDB).

Of the tables `segment_definer` names the flags, `segment_summary` holds what is known, `segment` what is active.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from opintel.finding import NS
from opintel.gw.exports.bursts import gps_columns, process
from opintel.gw.exports.ligolw_writer import document
from opintel.gw.segments import OPEN, SegmentFlag, Segments

_NAME = re.compile(r"(?P<ifo>[A-Z]\d):(?P<name>.+?)(?::(?P<version>\d{1,9}))?", re.S)


def flags_ligolw(flags: Sequence[SegmentFlag]) -> bytes:
    """A LIGO_LW document of flags named IFO:NAME:VERSION (version 1 where there is none).

    Raises ValueError for another name and for an open end: the format has none, `segments.until` closes it.
    """
    named = [_split(flag.name) for flag in flags]
    numbers = np.arange(len(flags), dtype=np.int64)
    definer = pa.table(
        {
            "process:process_id": pa.array(np.zeros_like(numbers)),
            "segment_def_id": pa.array(numbers),
            "ifos": pa.array([ifo for ifo, _, _ in named], pa.string()),
            "name": pa.array([name for _, name, _ in named], pa.string()),
            "version": pa.array([version for _, _, version in named], pa.int32()),
            "comment": pa.array([None] * len(named), pa.string()),
        }
    )
    tables = {
        "process": process(),
        "segment_definer": definer,
        "segment_summary": _rows("segment_sum_id", [flag.known for flag in flags]),
        "segment": _rows("segment_id", [flag.active for flag in flags]),
    }
    return document(tables)


def flag_json(flag: SegmentFlag) -> str:
    """`{"ifo", "name", "version", "known": [[start, end], …], "active": […]}`, GPS seconds; an open end is refused."""
    ifo, name, version = _split(flag.name)
    listed = {
        key: [[_number(t) for t in row] for row in _closed(getattr(flag, key)).tolist()] for key in ("known", "active")
    }
    return json.dumps({"ifo": ifo, "name": name, "version": version, **listed})


def _rows(identifier: str, segments: Sequence[Segments]) -> pa.Table:
    """Segments of several flags, one below another."""
    joined = np.concatenate([np.zeros((0, 2), dtype=np.int64), *map(_closed, segments)])
    of = np.repeat(np.arange(len(segments), dtype=np.int64), [len(s) for s in segments])
    columns = {
        "process:process_id": pa.array(np.zeros(len(of), dtype=np.int64)),
        identifier: pa.array(np.arange(len(of))),
    }
    for name, time in zip(("start", "end"), joined.T, strict=True):
        columns |= gps_columns(name, time)
    return pa.table({**columns, "segment_definer:segment_def_id": pa.array(of)})


def _closed(segments: Segments) -> Segments:
    if len(segments) and segments[-1, 1] == OPEN:
        raise ValueError("expected closed segments, got an open end: close it by until()")
    return segments


def _number(time: int) -> int | float:
    return time // NS if time % NS == 0 else time / NS


def _split(name: str) -> tuple[str, str, int]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"flag: expected a name like H1:DMT-ANALYSIS_READY:1, got {name[:100]!r}")
    return match["ifo"], match["name"], int(match["version"] or 1)
