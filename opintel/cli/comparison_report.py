"""The report of `opintel dqm compare`: a page with a list of all histograms and pictures of those that differ most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opintel.console.standalone import PageSection, standalone_page
from opintel.dqm.comparing.element_comparison import PairVerdict
from opintel.dqm.elements import BinAxis, MonitorElement
from opintel.evidence import Axis, Evidence, Mark, Region, Table
from opintel.picture import histogram, image

DRAWN, LISTED = 60, 5000
"""Histograms with pictures, and lines of the list."""


def page(a: str, b: str, verdicts: Sequence[PairVerdict]) -> str:
    """HTML."""
    judged = [one for one in verdicts if one.p_value is not None]
    counts = f"{len(verdicts)} histograms, {len(judged)} compared, {len(verdicts) - len(judged)} not."
    lead = f"{counts} Observed: {a}. Expected: {b}, scaled to the observed total. p is not corrected for their number."
    columns = ["histogram", "log10 p", "largest pull (σ)", "regions", "remark"]
    rows: list[list[str | float | int | None]] = [
        [
            one.pair.name,
            None if one.p_value is None else round(one.log10_p, 2),
            one.effect,
            len(one.regions),
            one.remark,
        ]
        for one in verdicts[:LISTED]
    ]
    title = "All histograms" if len(verdicts) <= LISTED else f"The first {LISTED} histograms"
    return standalone_page(
        f"{Path(a).name} compared with {Path(b).name}",
        lead,
        [PageSection("List", "", [Table(title, columns, rows)]), *map(_section, judged[:DRAWN])],
    )


def _section(verdict: PairVerdict) -> PageSection:
    words = [f"log10 p = {verdict.log10_p:.2f}, largest pull {verdict.effect:+.1f} σ"]
    if verdict.regions:
        words.append(f"Bins from 0: {verdict.where(10)}")
    lead = ". ".join([*words, verdict.remark] if verdict.remark else words)
    return PageSection(verdict.pair.name, f"{lead}.", list(_pictures(verdict)))


def _pictures(verdict: PairVerdict) -> Iterator[Evidence]:
    element, pull, expected = verdict.pair.observed, verdict.pull, verdict.expected
    assert element is not None
    assert pull is not None
    assert expected is not None
    inside = (slice(1, -1) if element.flow else slice(None),) * len(element.axes)
    observed = np.where(np.isfinite(element.values[inside]), element.values[inside], np.nan)
    if len(element.axes) == 1:
        yield _overlay(verdict, element, observed, expected, pull)
        yield _ratio(element, observed, expected)
        return
    x, y = (_axis(axis) for axis in element.axes)
    marks = [_mark(region, element.axes) for region in verdict.regions]
    yield image("Pull", pull, x, y, of="pull", unit="σ", diverging=True, pool="extreme", marks=marks)
    yield image("Observed", observed, x, y, of=_counted(element), unit="", marks=marks)
    yield image("Expected", expected, x, y, of=_counted(element), unit="")


def _overlay(
    verdict: PairVerdict,
    element: MonitorElement,
    observed: NDArray[np.float64],
    expected: NDArray[np.float64],
    pull: NDArray[np.float64],
) -> Evidence:
    axis, under, over = element.axes[0], None, None
    if element.flow and element.storage != "mean":
        under, over = (float(end) if np.isfinite(end) else None for end in (element.values[0], element.values[-1]))
    places = [(max(first, 0), min(last, axis.bins - 1), kind) for first, last, kind in verdict.regions]
    regions = [Region(first, last, kind) for first, last, kind in places if first <= last]
    return histogram(
        element.title or element.path,
        observed,
        list(axis.labels) or np.asarray(axis.edges),
        axis=axis.title or "bin",
        unit=axis.unit,
        expected=expected,
        pulls=pull,
        regions=regions,
        counted=_counted(element),
        under=under,
        over=over,
        entries=element.entries,
    )


def _ratio(element: MonitorElement, observed: NDArray[np.float64], expected: NDArray[np.float64]) -> Evidence:
    axis = element.axes[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(expected != 0, observed / expected, np.nan)
    bins = list(axis.labels) or np.asarray(axis.edges)
    return histogram("Observed ÷ expected", ratio, bins, axis=axis.title or "bin", unit=axis.unit, counted="ratio")


def _counted(element: MonitorElement) -> str:
    return "mean" if element.storage == "mean" else "entries"


def _axis(axis: BinAxis) -> Axis:
    """As it is drawn: bins by number where they are not of one width."""
    if axis.labels or not axis.is_regular:
        return Axis(axis.title or "bin", "", 0.0, float(axis.bins))
    return Axis(axis.title or "bin", axis.unit, axis.edges[0], axis.edges[-1])


def _mark(region: tuple[Any, ...], axes: tuple[BinAxis, ...]) -> Mark:
    y0, x0, y1, x1, kind = region
    x, y = (_edges(axis) for axis in axes)
    return Mark(str(kind), x[_within(x0, x)], y[_within(y0, y)], (x[_within(x1, x) + 1], y[_within(y1, y) + 1]))


def _edges(axis: BinAxis) -> list[float]:
    drawn = _axis(axis)
    return [float(edge) for edge in np.linspace(drawn.low, drawn.high, axis.bins + 1)]


def _within(place: int, edges: list[float]) -> int:
    return min(max(place, 0), len(edges) - 2)
