"""The words and drawings of the console's pages."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seed import make_app
from starlette.testclient import TestClient

from opintel.console import drawing, mapping, words
from opintel.console.names import Names
from opintel.console.past import Thing
from opintel.evidence import Axis, Evidence, Matrix, Region, Series
from opintel.finding import parse_rfc3339
from opintel.fts.pipeline import PIPELINE as FTS
from opintel.health.pipeline import PIPELINE as HEALTH
from opintel.picture import histogram, image
from opintel.store import Store, queries


@pytest.mark.parametrize("module", [words, drawing, mapping])
def test_examples(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


@given(st.text())
def test_what_is_shown_can_be_seen(text: str) -> None:
    shown = words.visible(text)
    assert all(c.isprintable() or c in "\n\t" for c in shown)
    assert shown == text or not text.isprintable()


@given(st.floats(-400, 0))
def test_odds_never_overstate(log10_p: float) -> None:
    told = words.odds(log10_p).removeprefix("1 in ")
    powers = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
    exact = 10.0**-log10_p if log10_p > -300 else None
    if told[2:].translate(powers) != told[2:]:
        assert int(told[2:].translate(powers)) <= -log10_p
    else:
        assert exact is not None
        assert int(told.replace(",", "")) <= max(1.0, exact * (1 + 1e-9))


@given(st.lists(st.none() | st.floats(-1e12, 1e12), max_size=30), st.booleans())
def test_a_sparkline_stays_in_its_box(values: list[float | None], marked: bool) -> None:
    times = list(range(0, 10 * len(values), 10))
    span = (times[-1], times[-1] + 10) if marked and times else None
    drawn = drawing.spark(Series("s", times, values, "files", None, span))
    if drawn is None:
        assert sum(v is not None for v in values) < 2
        return
    points = [point.split(",") for line in drawn.lines for point in line.split()]
    assert len(points) == sum(v is not None for v in values)
    assert all(0 <= float(x) <= drawing.SPARK_WIDTH and 0 <= float(y) <= drawing.SPARK_HEIGHT for x, y in points)


def test_a_heat_map_of_shares_goes_to_all_of_it() -> None:
    matrix = Matrix("m", ["a.x.example", "b.x.example"], ["c.x.example"], [[0.5], [None]], "failed share")
    drawn = drawing.heat(matrix, {"b.x.example"})
    assert [row["label"] for row in drawn["rows"]] == ["a", "b"]
    assert [row["own"] for row in drawn["rows"]] == [False, True]
    assert drawn["rows"][0]["cells"] == [drawing.Heat(5, "50", "a.x.example, c.x.example: 50 % failed")]
    assert drawn["rows"][1]["cells"][0].step is None
    assert drawn["most"] == "100 % failed"


def test_a_heat_map_of_counts_goes_to_its_most() -> None:
    drawn = drawing.heat(Matrix("m", ["a"], ["b", "c", "d"], [[200.0, 50.0, -3.0]], "files"), set())
    assert [cell.step for cell in drawn["rows"][0]["cells"]] == [10, 2, 0]


def test_a_series_is_drawn_as_far_as_it_is_known() -> None:
    def told(last: int, kind: str = "series") -> drawing.Json:
        band = {"low": [0.0] * last, "high": [1.0] * last, "coverage": 0.98}
        block = {"type": kind, "title": "t", "times": [*range(last)], "values": [0.5] * last, "unit": "share"}
        return {"subject": {}, "evidence": [block | {"expected": band, "marked": (last - 1, last)}]}

    [block] = drawing.blocks(told(5), [told(4), told(9), told(7)])
    assert len(block["times"]) == 9
    assert tuple(block["marked"]) == (3, 9)
    assert block["draw"]["words"] == "t: last 50 %, expected 0 % to 100 %"


def test_a_chart_without_values_has_words() -> None:
    series = Series("t", [1], [None], "files")
    assert drawing.chart(series)["words"] == "t: no value"


def test_every_type_of_evidence_is_drawn() -> None:
    assert set(drawing.DRAWERS) == set(get_args(Evidence))
    templates = {path.stem for path in (Path(drawing.__file__).parent / "templates" / "evidence").glob("*.html")}
    assert templates == {kind.__struct_config__.tag for kind in drawing.DRAWERS}


def test_a_map_of_100_by_100_is_a_small_page() -> None:
    values = np.random.default_rng(5).normal(size=(100, 100))
    axis = Axis("x", "", 0.0, 1.0)
    drawn = drawing.picture(image("m", values, axis, axis, of="pull", unit="σ", diverging=True))
    assert len(drawn["data"]) + len(drawn["words"]) < 14_500
    assert drawn["words"].startswith("m: pull, 100 × 100 cells of x and x; highest")


def test_texts_on_a_canvas_are_short_and_can_be_seen() -> None:
    block = histogram("h", [1.0], ["\u202e" + "c" * 500], axis="a" * 500, unit="\x1b", regions=[Region(0, 0, "\u200b")])
    data = json.loads(drawing.bars(block)["data"])
    assert data["categories"] == ["[U+202E]" + "c" * 71 + "…"]
    assert (len(data["axis"]), data["unit"], data["regions"][0]["kind"]) == (drawing.LABEL, "[U+001B]", "[U+200B]")


def test_a_stream_speaks_its_domain_s_words_and_an_unknown_one_plain_ones() -> None:
    names = Names({"fts": FTS.naming, "health": HEALTH.naming})
    link = {"scope": "s", "source": "a.x.example", "destination": "b.x.example"}
    assert names.subject(link, "fts") == "a.x.example → b.x.example"
    assert names.subject(link, "gone") == "source a.x.example, destination b.x.example"
    assert names.subject({"scope": "job", "instance": "h", "metric": "load"}, "health") == "instance h, metric load"
    about = tuple(link.values())[1:]
    assert names.called(Thing("fts", "s", about), ".x.example") == "a → b"
    assert names.called(Thing("gone", "s", about)) == "a.x.example, b.x.example"
    assert names.called(Thing("fts", "s", ())) == "all of s"


def test_a_finding_s_page_says_what_its_domain_calls_the_window(store: Store) -> None:
    naming = FTS.naming._replace(times=lambda finding: {"GPS": f"<{finding.window.start}>"})
    [finding] = queries.findings(store, limit=1)
    page = TestClient(make_app(store, naming=naming), "http://127.0.0.1").get(f"/findings/{finding['id']}")
    start = parse_rfc3339(finding["window"]["start"])
    assert f"GPS <bdi>&lt;{start}&gt;</bdi>" in page.text
