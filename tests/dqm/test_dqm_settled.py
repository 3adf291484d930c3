"""A histogram that has changed for good: one change, said once, bad until somebody accepts it or it is as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from opintel.alerts.service import AlertService
from opintel.alerts.settings import Declared
from opintel.dqm.pipeline import PIPELINE
from opintel.dqm.quality.certify import certified, quality_of
from opintel.dqm.quality.findings import UNCONFIRMED
from opintel.dqm.wire.encoder import parts_of
from opintel.evidence import Table
from opintel.finding import Finding
from opintel.site.load import load_site
from opintel.store import open_store, queries, sqlite_url
from opintel.streams.findings import Found, Judged

from .lumisections import Stages, element, head, shape

SETTLE = 6
PATHS = {f"T/h{n}": shape(peak=5.0 + 3 * n) for n in range(5)}
HISTOGRAM = "T/h3"
Controls = dict[tuple[str, str], tuple[int, Any]]


class Shift:
    """Lumisections of one detector, one after the other; what was found in each."""

    def __init__(self, seed: int = 1) -> None:
        self.stages, self.rng = Stages(settle=SETTLE), np.random.default_rng(seed)
        self.found: dict[int, list[Finding]] = {}
        self.judged: list[Any] = []

    def go(self, count: int, dead: slice | None = None, run: int = 5, controls: Controls | None = None) -> None:
        """So many more, in which these bins of one histogram are empty."""
        for number in range(len(self.found) + 1, len(self.found) + count + 1):
            elements = []
            for path, mean in PATHS.items():
                contents = self.rng.poisson(mean).astype(float)
                if path == HISTOGRAM and dead is not None:
                    contents[dead] = 0
                elements.append(element(path, contents))
            found = self.stages.close(list(parts_of(head(run, number), elements)), controls)
            self.found[number] = found
            tests = self.stages.judges["Calo"].tests
            self.judged += [*(Found("dqm", f) for f in found), Judged("dqm", "Calo", found[-1].window, tests, True)]

    def warned(self) -> list[int]:
        """The lumisections with a warning; all of them are about one histogram."""
        its = {n: [f for f in found if f.severity != "info"] for n, found in self.found.items()}
        assert {f.subject["histogram"] for found in its.values() for f in found} <= {HISTOGRAM}
        return [n for n, found in its.items() if found]

    def said(self, kind: str) -> dict[int, str]:
        """Number → words of the findings of severity `info` of a kind."""
        return {
            n: f.summary for n, found in self.found.items() for f in found if (f.kind, f.severity) == (kind, "info")
        }

    def certified(self) -> list[list[int]]:
        """The golden JSON of the run."""
        qualities = [quality_of(f) for found in self.found.values() for f in found if f.kind == "quality"]
        return certified(qualities)["5"]

    def incidents(self, folder: Path) -> list[str]:
        """The state of each incident, under the shipped rules, as of the last lumisection."""
        store = open_store(sqlite_url(folder / "store.db"))
        declared = Declared(PIPELINE.naming.entities, tuple(PIPELINE.kinds), PIPELINE.adapting)
        service = AlertService(store, load_site(Path(__file__).parents[2]).alerts.over({"dqm": declared}))
        service.consume(service.position(), self.judged, service.position() + len(self.judged))
        states = [one["state"] for one in queries.incidents(store)]
        store.close()
        return states


@pytest.fixture
def shift() -> Shift:
    """After ten calm lumisections, a region is dead in twelve."""
    shift = Shift()
    shift.go(10)
    shift.go(12, slice(12, 16))
    return shift


def test_a_change_that_stays_is_said_once_and_stays_bad(shift: Shift) -> None:
    shift.go(30, slice(12, 16))
    settled = 11 + SETTLE
    assert shift.warned() == list(range(11, settled + 1))
    assert shift.said("settled") == {
        settled: f"run 5 lumisection {settled}: {HISTOGRAM} is dead since run 5 lumisection 11 and stays so: compared "
        "with that from here on, and bad until an operator accepts it"
    }
    assert shift.certified() == [[6, 10]]
    (last,) = [f for f in shift.found[52] if f.kind == "quality"]
    assert last.summary.endswith("bad, 5 of 5 judged, 1 bad, 1 of them changed for good and not confirmed")
    (table,) = [b for b in last.evidence if isinstance(b, Table) and b.title == UNCONFIRMED]
    assert table.rows == [[HISTOGRAM, "dead", 5, 11]]


def test_it_is_one_incident_mitigated_until_it_is_as_it_was(shift: Shift, tmp_path: Path) -> None:
    shift.go(30, slice(12, 16))
    for state in ("mitigated", "resolved"):
        folder = tmp_path / state
        folder.mkdir()
        assert shift.incidents(folder) == [state]
        shift.go(10)


def test_what_is_as_it_was_is_good_at_once(shift: Shift) -> None:
    shift.go(4)
    assert shift.warned() == list(range(11, 12 + SETTLE))
    assert list(shift.said("dead")) == [24]
    assert shift.certified() == [[6, 10], [23, 26]]


def test_an_operator_accepts_it_and_it_is_what_is_compared_with(shift: Shift) -> None:
    fresh: Controls = {("reference", f"Calo||{HISTOGRAM}"): (1, {"fresh": True})}
    shift.go(4, slice(12, 16), controls=fresh)
    assert shift.certified() == [[6, 10], [23, 26]]
    shift.go(1, controls=fresh)
    assert shift.warned()[-1] == 27  # now it is the old state that is none
    assert shift.certified() == [[6, 10], [23, 26]]


@pytest.mark.parametrize("before", [0, SETTLE + 2])
def test_what_operators_call_a_false_alarm_is_not_bad_when_it_settles(before: int) -> None:
    """Said as soon as it is found, or when it has settled; another change on top of it is bad, and so is it again where
    the answer is taken back."""
    called: Controls = {("feedback", f"Calo||{HISTOGRAM}"): (1, {"decades": 1})}
    shift = Shift()
    shift.go(10)
    shift.go(4 + before, slice(12, 16))
    shift.go(2 * SETTLE, slice(12, 16), controls=called)
    last = 14 + before + 2 * SETTLE
    assert list(shift.said("settled")) == ([11 + SETTLE] if before else [])
    assert shift.certified() == [[6, 10], [max(12 + SETTLE, 15 + before), last]]
    shift.go(2 * SETTLE, slice(10, 20), controls=called)
    assert list(shift.said("settled"))[-1] == last + 1 + SETTLE
    assert shift.certified()[-1][-1] == last
    shift.go(2, slice(12, 16))
    assert shift.certified()[-1][-1] == last


def test_another_fault_on_top_of_it_is_found(shift: Shift) -> None:
    shift.go(3, slice(10, 20))
    assert shift.warned()[-3:] == [23, 24, 25]
    shift.go(SETTLE, slice(10, 20))
    assert list(shift.said("settled")) == [11 + SETTLE, 23 + SETTLE]
    shift.go(5)
    assert shift.certified() == [[6, 10], [32, 36]]


def test_what_is_other_each_time_never_settles() -> None:
    shift = Shift()
    shift.go(10)
    for n in range(30):
        shift.go(1, slice(2 * n % 36, 2 * n % 36 + 4))
    assert not shift.said("settled")
    for n in range(30):
        shift.go(1, slice(4 + 10 * (n % 2), 8 + 10 * (n % 2)))
    assert not shift.said("settled")


def test_a_pinned_set_is_what_counts(shift: Shift) -> None:
    """What has settled is forgotten where an operator says what a histogram is to be like."""
    published = [element(path, np.round(50 * mean)) for path, mean in PATHS.items()]
    at = head(5, 23)
    shift.stages.close(list(parts_of(at._replace(run=4, lumisection=0, reference="gold"), published)))
    pin: Controls = {("reference", "Calo"): (1, {"set": "gold", "n": 0, "hash": ""})}
    shift.go(3, slice(12, 16), controls=pin)
    outcomes = [r.payload for r in shift.stages.records if r.key.endswith(HISTOGRAM)]
    assert [one.settled for one in outcomes] == [None]
    assert outcomes[0].log10_p < -30


def test_it_settles_over_a_change_of_runs(shift: Shift) -> None:
    """A run that begins so is like the candidate; the accepted references are those of the run before."""
    other = Shift(2)
    other.go(10)
    other.go(3, slice(12, 16))
    other.go(20, slice(12, 16), run=6)
    assert list(other.said("settled")) == [11 + SETTLE]
    other.go(4, run=6)
    assert not other.said("quality")[37].endswith("not confirmed")


def test_it_is_as_it_was_though_no_reference_of_what_settled_may_be_used() -> None:
    """The run in which it settled is banned; so it is with a menu under which it was never other."""
    shift = Shift(3)
    shift.go(10)
    shift.go(2 + SETTLE, slice(12, 16), run=6)
    assert shift.said("settled")
    ban: Controls = {("reference", "Calo"): (1, {"ban": [6]})}
    shift.go(5, run=7, controls=ban)
    assert shift.warned()[-1] == 11 + SETTLE
    assert not any("not confirmed" in shift.said("quality")[n] for n in range(13 + SETTLE, 18 + SETTLE))
    assert shift.said("dead")


def test_many_histograms_that_change_and_come_back_make_few_findings() -> None:
    """Of 400 histograms, at most 200 a lumisection are said to be odd, or to be over; what settles is one finding."""
    rng, stages = np.random.default_rng(5), Stages(settle=3)
    said: list[list[tuple[str, str]]] = []
    odd: set[str] = set()
    paths = [f"T/h{n}" for n in range(400)]
    for number in range(1, 18):
        mean = shape(peak=30.0 if 8 <= number < 13 else 12.0)
        found = stages.close(list(parts_of(head(5, number), [element(path, rng.poisson(mean)) for path in paths])))
        odd |= {f.subject["histogram"] for f in found if f.severity != "info"}
        said.append([(f.kind, f.severity) for f in found if f.kind not in ("quality", "insufficient")])
    assert max(map(len, said)) <= 201
    assert [one for found in said for one in found].count(("settled", "info")) == 1
    over = [sum(severity == "info" for _, severity in found) for found in said[12:]]
    assert over == [0, 200, len(odd) - 200, 0, 0]


@hypothesis_settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([None, 4, 12]), st.integers(1, 5)), min_size=1, max_size=8), st.integers(0, 40)
)
def test_a_restored_state_goes_on_alike_and_a_split_changes_nothing(
    some: list[tuple[int | None, int]], cut: int
) -> None:
    """Whatever comes and goes: a worker that starts again, and one that sees a histogram at a time."""
    rng = np.random.default_rng(4)
    whole, again, apart = (Stages(settle=2, least=2) for _ in range(3))
    number = 0
    for first, many in [(None, 4), *some]:
        for _ in range(many):
            number += 1
            elements = []
            for path in list(PATHS)[:2]:
                contents = rng.poisson(PATHS[path]).astype(float)
                if first is not None:
                    contents[first : first + 4] = 0
                elements.append(element(path, contents))
            if number == cut:
                old, again = again, Stages(settle=2, least=2)
                again.reducer.restore(old.reducer.state())
                for scope, judge in old.judges.items():
                    again.judges[scope] = type(judge)()
                    again.judges[scope].restore(judge.state())
            message = list(parts_of(head(5, number), elements))
            assert again.close(message) == whole.close(message)
            for one in elements:
                apart.close(list(parts_of(head(5, number), [one])))
    assert again.reducer.state() == whole.reducer.state() == apart.reducer.state()


def test_all_kinds_of_contents_end_with_words() -> None:
    assert set(PIPELINE.adapting) < set(PIPELINE.kinds)
    assert {"missing", "tripped", "settled"}.isdisjoint(PIPELINE.adapting)
