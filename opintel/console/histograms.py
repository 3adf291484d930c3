"""One histogram as its page shows it: the newest evidence with a ratio, and its state over lumisections and runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from opintel.console import drawing
from opintel.console.lumisections import COLUMNS, RunView, span
from opintel.console.mapping import step
from opintel.console.words import odds
from opintel.dqm.quality.advice import TEST
from opintel.dqm.quality.findings import PLACE, SPOKE
from opintel.evidence import Band, Histogram, block_json
from opintel.finding import finding_json
from opintel.store import Store
from opintel.store import schema as t
from opintel.store.queries import read_finding

Json = dict[str, Any]
RUNS_SHOWN = 6
FINDINGS_SHOWN = 60
UNRANKED = 8.0
"""Where a fact without a p-value stands on the scale of −log10 p."""


def findings_about(store: Store, stream: str, subsystem: str, path: str) -> list[Json]:
    """What was found about a histogram, in JSON form with their `stream`; the newest first."""
    table = t.finding.c
    written = f'"histogram":{msgspec.json.encode(path).decode()}'  # a sieve, so that not all contents are read
    query = sa.select(table.content).where(table.stream == stream, table.content.contains(written, autoescape=True))
    query = query.order_by(table.window_end.desc(), table.id).limit(FINDINGS_SHOWN)
    with store.read() as connection:
        found = [read_finding(content) for content in connection.execute(query).scalars()]
    about = [f for f in found if f.subject.get("histogram") == path and f.subject.get("scope") == subsystem]
    return [finding_json(f) | {"stream": stream} for f in about]


def blocks(finding: Json) -> list[Json]:
    """Its evidence ready to draw, and behind each histogram its ratio to what was expected."""
    with_ratios = []
    for block in finding["evidence"]:
        if block["title"] in (PLACE, SPOKE):
            continue  # the page says it
        with_ratios.append(block)
        ratio = _ratio(msgspec.convert(block, Histogram)) if block["type"] == "histogram" else None
        if ratio is not None:
            with_ratios.append(block_json(ratio))
    return drawing.blocks(finding | {"evidence": with_ratios})


def spoke(finding: Json) -> str:
    """Which test spoke, in words: as stage 1 found it, else (of emptiness, manifests, trends) what its kind says."""
    for block in finding["evidence"]:
        if block["title"] == SPOKE and block["type"] == "table":
            return str(block["rows"][0][0])
    return TEST.get(finding["kind"], "")


def history(views: Sequence[RunView], subsystem: str, path: str) -> list[Json]:
    """The runs in which its subsystem was judged, in order of the views: {run, first, last, columns, width, cells [{x,
    step, status, number, words}], words, flagged (lumisections)}. `step` is that of the map's scale, 0 where it was not
    flagged."""
    rows = []
    for view in views:
        flags: dict[int, float] = {}
        kinds: dict[int, str] = {}
        for one in view.run.qualities:
            for flag in one.flags if one.subsystem == subsystem else ():
                if flag.histogram == path:
                    flags[one.lumisection] = UNRANKED if flag.log10_p is None else -flag.log10_p
                    kinds[one.lumisection] = flag.kind
        numbers = sorted({one.lumisection for one in view.run.qualities if one.subsystem == subsystem})
        if not numbers:
            continue
        first, last = min(view.run.windows), max(view.run.windows)
        width = -(-(last - first + 1) // COLUMNS)
        cells: dict[int, Json] = {}
        for number in numbers:
            standing = view.standing(number, subsystem)
            status = "insufficient" if standing is not None and standing.status == "insufficient" else "quiet"
            words = f"lumisection {number}: {status if status != 'quiet' else 'not flagged'}"
            if number in flags:
                words = f"lumisection {number}: {kinds[number]}, {odds(-flags[number])}"
            x, level = (number - first) // width, step(flags[number]) if number in flags else 0
            if x not in cells or level > cells[x]["step"]:
                cells[x] = {"x": x, "number": number, "status": status, "words": words, "step": level}
        flagged = sorted(flags)
        words = f"flagged in {len(flagged)} of {len(numbers)} lumisections"
        words += f", from {span(flagged[0], flagged[-1])}" if flagged else ""
        columns = -(-(last - first + 1) // width)
        place = {"run": view.run.number, "first": first, "last": last, "columns": columns, "width": width}
        rows.append(place | {"cells": list(cells.values()), "words": words, "flagged": len(flagged)})
    return rows


def _ratio(block: Histogram) -> Histogram | None:
    """Observed ÷ expected, with the band as a share of what was expected; None where nothing was expected."""
    expected = block.expected
    if expected is None or not any(one for one in expected):
        return None

    def over(values: Sequence[float | None], empty: float | None) -> list[Any]:
        return [
            value / mean if value is not None and mean else empty for value, mean in zip(values, expected, strict=True)
        ]

    band = block.band
    return Histogram(
        f"{block.title}: ratio",
        block.axis,
        block.unit,
        over(block.observed, None),
        block.edges,
        block.categories,
        expected=[1.0 if mean else None for mean in expected],
        band=Band(over(band.low, 1.0), over(band.high, 1.0), band.coverage) if band else None,
        regions=block.regions,
        log=block.log,
        counted="observed ÷ expected",
        merged=block.merged,
    )
