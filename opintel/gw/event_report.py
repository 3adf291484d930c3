"""A data-quality report for the time of an event: was the detector observing, what does the strain show, which safe
channels saw something then, and what was not checked.

How likely a channel's trigger near the event is by chance: with n triggers of that SNR or more in T seconds, and the
nearest of them d seconds away, 1 − exp(−2 n d / T) (a Poisson process; d counts as at least the length of its loudest
tile, Q / (√2 π f)). Each channel's smallest is taken as often as it was asked, and all channels share a false
discovery rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from opintel.evidence import Evidence, Image, Mark, Table
from opintel.finding import NS, rfc3339
from opintel.gw.channels.features import is_strain
from opintel.gw.channels.pieces import SLOWEST
from opintel.gw.channels.qscan import qscan
from opintel.gw.engine import TriggerEngine
from opintel.gw.file_triggers import triggers_of
from opintel.gw.files.opened import FileStretch, OpenedFiles
from opintel.gw.gps import utc_from_gps
from opintel.gw.records import TriggerSaid
from opintel.gw.safety import FAMILIES, Safety
from opintel.gw.segments import SegmentFlag, contains
from opintel.stats.fdr import benjamini_hochberg

AROUND = 0.5
"""s from the event within which a trigger may have to do with it."""
SPAN = 512
"""s around it from which a channel's rate and spectrum are learnt."""
BEFORE, AFTER = 3.0, 3.0
"""s that a Q-scan is made of, on either side."""
LEVEL = 0.01
"""Of the false discovery rate among channels."""
SCANS, LISTED = 6, 200
"""Q-scans of auxiliary channels, and rows of a table."""
Cell = str | float | int | None
ReportSection = tuple[str, str, list[Evidence]]
"""Heading, a sentence, what is drawn."""


class _Seen(NamedTuple):
    """What a channel saw near the event."""

    channel: str
    safety: Safety
    p: float
    after: float
    """s from the event to the trigger that is least likely."""
    trigger: Mapping[str, Any]


def event_report(
    gps: float, files: OpenedFiles | None, findings: Sequence[Mapping[str, Any]] | None
) -> tuple[str, str, list[ReportSection]]:
    """(title, what it comes to in a sentence, sections) for an event at GPS seconds; `findings` in JSON form, of the
    time around it. None: not given, and said to be unchecked.
    """
    moment = round(gps * 1e6) * 1000  # a float holds GPS seconds no finer
    title = f"Event at GPS {gps:.4f} ({rfc3339(utc_from_gps(moment))})"
    sections: list[ReportSection] = []
    verdicts: list[str] = []
    unchecked: list[str] = []
    if files is None:
        unchecked.append("Samples: no files were given, so there are no Q-scans and no channel was searched.")
    else:
        covering = [one for one in files.stretches if one.start <= moment < one.end]
        if not covering:
            unchecked.append("Samples: the files that were given do not hold this time.")
        sections += _state(moment, files.flags, verdicts, unchecked)
        near = [_cut(one, moment) for one in covering]
        sections += _strain(gps, near, verdicts, unchecked)
        sections += _witnesses(gps, near, verdicts, unchecked)
        unchecked += [f"Files: {reason}" for reason in files.unread[:LISTED]]
    if findings is None:
        unchecked.append("Findings: no store was given, so what the stream found at the time is not in here.")
    else:
        sections.append(_found(findings))
    unchecked += [
        "Channels that are no part of the files, hardware injections beyond the flags above, and data products "
        "downstream (calibration, cleaned strain).",
    ]
    rows: list[list[Cell]] = [[line] for line in unchecked]
    sections.append(("Not checked", "", [Table("What this report does not say", ["what"], rows)]))
    return title, "; ".join(verdicts) or "nothing could be checked", sections


def _state(moment: int, flags: Sequence[SegmentFlag], verdicts: list[str], unchecked: list[str]) -> list[ReportSection]:
    rows: list[list[Cell]] = []
    at = np.array([moment])
    for flag in flags:
        known, active = bool(contains(flag.known, at)[0]), bool(contains(flag.active, at)[0])
        said = ("active" if active else "not active") if known else "not known"
        rows.append([flag.name, said, _seconds(flag.active, moment) if active else "", len(flag.active)])
        if flag.name.endswith(":DATA") and known:
            verdicts.append(f"{flag.name.partition(':')[0]} gave {'' if active else 'NO '}science data")
    if not rows:
        unchecked.append("Science mode: the files hold no flags of the detector's state.")
        return []
    columns = ["flag", "at the event", "segment, s from the event", "segments in the files"]
    return [("Segments", "", [Table("Flags of the detector's state", columns, rows)])]


def _seconds(active: np.ndarray[Any, Any], moment: int) -> str:
    here = active[(active[:, 0] <= moment) & (moment < active[:, 1])][0]
    return f"{(here[0] - moment) / NS:+.1f} to {(here[1] - moment) / NS:+.1f}"


def _cut(stretch: FileStretch, moment: int) -> FileStretch:
    """What lies within `SPAN` of the event."""
    step = NS / stretch.rate
    first = max(0, int((moment - stretch.start - SPAN * NS) / step))
    last = min(len(stretch.samples), int((moment - stretch.start + SPAN * NS) / step) + 1)
    return stretch._replace(start=stretch.start + round(first * step), samples=stretch.samples[first:last])


def _strain(gps: float, near: Sequence[FileStretch], verdicts: list[str], unchecked: list[str]) -> list[ReportSection]:
    sections: list[ReportSection] = []
    strain = [one for one in near if is_strain(one.channel, one.unit)]
    if not strain:
        unchecked.append("Strain: the files hold none at this time.")
    for one in strain:
        table = triggers_of([one])
        rows = sorted((row for row in table.to_pylist() if abs(row["t_peak"] - gps) <= 10), key=lambda row: -row["snr"])
        here = [row for row in rows if abs(row["t_peak"] - gps) <= AROUND]
        loudest = here[0] if here else None
        what = f"SNR {loudest['snr']:.1f} at {loudest['f_peak']:.0f} Hz" if loudest else "no trigger"
        verdicts.append(f"{one.channel}: {what} within {AROUND:g} s")
        cells: list[list[Cell]] = [
            [round(row["t_peak"] - gps, 4), *(round(row[k], 1) for k in ("snr", "f_peak", "f_low", "f_high", "q"))]
            for row in rows[:LISTED]
        ]
        columns = ["s from the event", "SNR", "Hz", "from", "to", "Q"]
        blocks: list[Evidence] = [Table("Triggers within 10 s, the loudest first", columns, cells)]
        picture = _scan(one, gps, loudest)
        if picture is None:
            unchecked.append(f"{one.channel}: its spectrum is not known, or the time lies in or beside a gap.")
        blocks += [picture] if picture is not None else []
        sections.append((one.channel, f"Triggers of SNR 5.5 and more in {_span(one):.0f} s: {table.num_rows}.", blocks))
    return sections


def _witnesses(
    gps: float, near: Sequence[FileStretch], verdicts: list[str], unchecked: list[str]
) -> list[ReportSection]:
    others = [one for one in near if not is_strain(one.channel, one.unit)]
    slow = sorted(one.channel for one in others if one.rate < SLOWEST)
    searched = [one for one in others if one.rate >= SLOWEST]
    if slow:
        unchecked.append(f"Slow channels (below {SLOWEST:g} Hz), which have no Q-transform: {_named(slow)}.")
    if not searched:
        unchecked.append("Auxiliary channels: the files hold none at this time.")
        return []
    table = triggers_of(searched, snr=6.0)
    spans = {one.channel: _span(one) for one in searched}
    dead = sorted(name for name, span in spans.items() if span <= 0)
    if dead:
        unchecked.append(f"Auxiliary channels without a good sample: {_named(dead)}.")
    seen = [one for name in sorted(spans) if spans[name] > 0 for one in _seen(gps, name, table, spans[name])]
    safe = [one for one in seen if one.safety is Safety.SAFE]
    asked = sum(FAMILIES.judge(name) is Safety.SAFE for name in spans)
    p = np.ones(asked)
    p[: len(safe)] = [one.p for one in safe]
    flagged = benjamini_hochberg(p, LEVEL)[: len(safe)] if asked else np.zeros(0, bool)
    witnesses = sorted((one for one, bad in zip(safe, flagged.tolist(), strict=True) if bad), key=lambda one: one.p)
    if witnesses:
        verdicts.append(f"{len(witnesses)} of {asked} safe channels witness it, first of all {witnesses[0].channel}")
    else:
        verdicts.append(f"none of {asked} safe channels witnesses it" if asked else "no safe channel was searched")
    unsafe = sorted(name for name in spans if FAMILIES.judge(name) is not Safety.SAFE)
    if unsafe:
        unchecked.append(
            "As witnesses, since they carry the signal or are not known not to (families of their names): "
            f"{_named(unsafe)}."
        )
    ranked = sorted(seen, key=lambda one: (one.safety is not Safety.SAFE, one.p, one.channel))
    rows: list[list[Cell]] = [
        [
            one.channel,
            one.safety.value,
            f"{one.p:.2g}",
            "yes" if one in witnesses else "",
            round(one.after, 3),
            round(one.trigger["snr"], 1),
            round(one.trigger["f_peak"], 1),
        ]
        for one in ranked[:LISTED]
    ]
    columns = ["channel", "safe", "by chance", f"witness (FDR {LEVEL:g})", "s from the event", "SNR", "Hz"]
    blocks: list[Evidence] = [Table(f"Triggers within {AROUND:g} s of the event", columns, rows)]
    by_name = {one.channel: one for one in searched}
    scans = [_scan(by_name[one.channel], gps, one.trigger) for one in (witnesses or ranked)[:SCANS]]
    blocks += [picture for picture in scans if picture is not None]
    lead = f"Channels that were searched: {len(searched)}; safe ones among them: {asked}."
    return [("Auxiliary channels", lead, blocks)]


def _seen(gps: float, channel: str, table: pa.Table, span: float) -> list[_Seen]:
    """What a channel saw; nothing where no trigger lies near."""
    rows = table.filter(pa.compute.equal(table["channel"], channel)).to_pylist()
    snrs = np.array([row["snr"] for row in rows])
    near = [row for row in rows if abs(row["t_peak"] - gps) <= AROUND]
    if not near:
        return []
    found = []
    for row in near:
        away = max(abs(row["t_peak"] - gps), row["q"] / (math.sqrt(2.0) * math.pi * row["f_peak"]))
        louder = int((snrs >= row["snr"]).sum())
        found.append((-math.expm1(-2.0 * louder * away / span), row))
    p, row = min(found, key=lambda one: one[0])
    return [_Seen(channel, FAMILIES.judge(channel), min(1.0, p * len(near)), row["t_peak"] - gps, row)]


def _scan(stretch: FileStretch, gps: float, trigger: Mapping[str, Any] | None) -> Image | None:
    """The Q-scan of a channel around an event; None where it cannot be had."""
    engine = TriggerEngine(stretch.rate, 2.0, BEFORE, AFTER)
    at = gps if trigger is None else trigger["t_peak"]
    begin = round(at * NS) - NS
    first = round((begin - round(BEFORE * NS) - stretch.start) * stretch.rate / NS)
    if first < 0 or first + engine.samples > len(stretch.samples):
        return None
    state = engine.learnt(stretch.samples[None], engine.fresh(1))
    data = stretch.samples[None, first : first + engine.samples]
    if not state.spectrum.weight[0] or np.isnan(data[0, engine.samples // 2]):
        return None
    low, high = engine.band
    middle, q = (math.sqrt(low * high), 12.0) if trigger is None else (trigger["f_peak"], trigger["q"])
    snr = 0.0 if trigger is None else trigger["snr"]
    peak = utc_from_gps(round(at * NS))
    said = TriggerSaid(peak, peak, peak, middle, middle, middle, q, snr)
    picture = qscan(engine, stretch.channel, data, utc_from_gps(begin), state, said)
    if trigger is None:
        axis = msgspec.structs.replace(picture.x, title="time after the event")
        return msgspec.structs.replace(picture, x=axis, marks=[Mark("event", 0.0, middle)])
    return picture


def _found(findings: Sequence[Mapping[str, Any]]) -> ReportSection:
    rows: list[list[Cell]] = [
        [one["window"]["start"], one["kind"], one["severity"], one["summary"]] for one in findings[:LISTED]
    ]
    lead = f"{len(findings)} findings lie around it." if findings else "The stream found nothing around it."
    return ("Findings of the stream", lead, [Table("Findings", ["window", "kind", "severity", "what"], rows)])


def _span(stretch: FileStretch) -> float:
    """s of good samples."""
    return float(np.isfinite(stretch.samples).sum()) / stretch.rate


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
