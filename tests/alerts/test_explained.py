"""Each type of evidence in words."""

from __future__ import annotations

from typing import get_args

import numpy as np
from alert_story import A_B, finding
from msgspec.structs import replace
from test_ticket import HOSTILE, incident

from opintel.alerts.explained import LINES, lines
from opintel.alerts.ticket import render
from opintel.evidence import Axis, Evidence, Links, Mark, Matrix, Region, Series
from opintel.picture import histogram, image

ETA, PHI = Axis("eta", "", -2.5, 2.5), Axis("phi", "rad", 0.0, 6.0)


def test_every_type_of_evidence_has_words() -> None:
    assert set(LINES) == set(get_args(Evidence))


def test_a_histogram_says_what_is_marked_and_which_bins_are_worst() -> None:
    block = histogram(
        "Charge",
        [8, 4, 0, 0, 8, np.nan],
        [0, 1, 2, 3, 4, 5, 6],
        axis="charge",
        unit="ke",
        expected=[8, 4, 4, 4, 4, 4],
        pulls=[0, 0, -2, -2, 2.5, np.nan],
        regions=[Region(2, 3, "dead")],
        over=3,
        entries=23,
    )
    assert lines(block) == [
        "charge from 0 to 6 ke in 6 bins, 23 entries, 3 above",
        "observed █▅▁▁█·",
        "expected █▅▅▅▅▅",
        "dead: 2 to 4 ke",
        "4 to 5 ke: 8 observed, 4 expected, pull +2.5",
        "2 to 3 ke: 0 observed, 4 expected, pull -2.0",
        "3 to 4 ke: 0 observed, 4 expected, pull -2.0",
    ]


def test_a_histogram_without_pulls_says_where_most_is() -> None:
    block = histogram("Hits", [3, None, 9], ["a", "b", "c"], axis="detector", unit="")
    assert lines(block) == ["detector in 3 bins", "observed ▃·█", "most in c: 9 entries"]


def test_an_image_says_its_marks_and_extremes() -> None:
    values = np.zeros((6, 5))
    values[0, 1], values[5, 4], values[3, 3] = -5, 5, np.nan
    block = image("m", values, ETA, PHI, of="pull", unit="σ", diverging=True, marks=[Mark("hot", 2.0, 5.5, (2.5, 6.0))])
    told = lines(block)
    assert told[:3] == [
        "pull, 5 × 6 cells of eta and phi, 1 without value",
        "hot: eta 2, phi 5.5 rad to eta 2.5, phi 6 rad",
        "highest ≥ 5 σ at eta 2, phi 5.5 rad",
    ]
    assert "lowest ≤ -5 σ at eta -1, phi 0.5 rad" in told


def test_other_blocks_have_their_figures() -> None:
    assert lines(Series("s", [1, 2], [0.0, 0.5], "failed share")) == ["last 50 % failed", "▁█"]
    assert lines(Matrix("m", ["a", "b"], ["c"], [[-3.0], [None]], "σ", "from", "to")) == ["from a, to c: -3 σ"]
    assert lines(Links("l", [("site", "https://example.org")])) == ["site: https://example.org"]


def test_a_ticket_of_the_largest_blocks_is_short_and_harmless() -> None:
    rng = np.random.default_rng(4)
    names = [HOSTILE * 20] * 1000
    blocks = (
        histogram(
            "h",
            rng.random(1000),
            names,
            axis=HOSTILE,
            unit=HOSTILE,
            pulls=rng.normal(size=1000),
            regions=[Region(0, 9, HOSTILE)],
        ),
        image(
            HOSTILE, rng.normal(size=(400, 400)), ETA, PHI, of=HOSTILE, unit=HOSTILE, marks=[Mark(HOSTILE, 0, 0)] * 100
        ),
    )
    ticket = render(incident(), [replace(finding(1, A_B), evidence=blocks)])
    assert len(ticket.text) < 10_000
    assert "<script" not in ticket.markdown
    assert "and 94 more" in ticket.text
