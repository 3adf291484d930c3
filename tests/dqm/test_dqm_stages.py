"""Both stages of DQM on lumisections made by hand: what is found, what is not, and what is never called good."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from opintel.dqm.elements import BinAxis
from opintel.dqm.quality.judge import set_hash
from opintel.dqm.records import HistogramOutcome
from opintel.dqm.rolling.reducer import DqmReducer
from opintel.dqm.wire.encoder import manifests_of, parts_of
from opintel.dqm.wire.heads import Head
from opintel.evidence import Histogram as HistogramBlock
from opintel.finding import Finding

from .lumisections import Stages, element, head, kinds, listing, shape

PATHS = {f"T/h{n}": shape(peak=5.0 + 3 * n) for n in range(6)}


class Detector:
    """Poisson histograms of one seed; `change(number, path, contents)` spoils them."""

    def __init__(self, seed: int = 1, paths: Any = None) -> None:
        self.rng = np.random.default_rng(seed)
        self.paths = PATHS if paths is None else paths

    def __call__(self, number: int, change: Any = None, scale: float = 1.0) -> list[Any]:
        found = []
        for path, mean in self.paths.items():
            contents = self.rng.poisson(scale * mean).astype(float)
            if change is not None:
                contents = change(number, path, contents)
            if contents is not None:
                found.append(element(path, contents))
        return found


@pytest.fixture
def detector() -> Detector:
    return Detector()


@pytest.fixture
def stages(detector: Detector) -> Stages:
    """After ten lumisections of run 5 in which nothing happened."""
    stages = Stages()
    for found in stages.play(5, range(1, 11), detector).values():
        assert kinds(found) == []
    return stages


def states(stages: Stages) -> dict[str, str]:
    """Path → state of the histograms of the last lumisection."""
    return {r.key.split("|")[3]: r.payload.state for r in stages.records if isinstance(r.payload, HistogramOutcome)}


def quality(findings: list[Finding]) -> str:
    """The state of the subsystem, of the last lumisection."""
    return [f.summary for f in findings if f.kind == "quality"][-1].split(": ")[1].split(",")[0]


def test_nothing_is_judged_before_it_has_references(detector: Detector) -> None:
    found = Stages().play(5, range(1, 8), detector)
    assert [quality(found[n]) for n in (1, 5, 6)] == ["insufficient", "insufficient", "good"]
    assert [f.kind for n in range(1, 8) for f in found[n] if f.kind != "quality"] == ["insufficient", "insufficient"]


def test_a_dead_region_is_located_and_explained(stages: Stages, detector: Detector) -> None:
    def dead(number: int, path: str, contents: Any) -> Any:
        if path == "T/h3":
            contents[12:16] = 0
        return contents

    for n in range(11, 31):  # it never becomes the reference
        (found,) = stages.play(5, [n], lambda n: detector(n, dead)).values()
        assert kinds(found) == [("dead", "T/h3")], n
        assert quality(found) == "bad"
    finding = found[0]
    assert "dead at charge 24 to 32 ke" in finding.summary
    assert finding.log10_p is not None
    assert finding.log10_p < -30
    (block,) = [b for b in finding.evidence if isinstance(b, HistogramBlock)]
    assert [(r.first, r.last, r.kind) for r in block.regions] == [(12, 15, "dead")]


def test_an_empty_histogram_is_dead_where_its_siblings_are_not(stages: Stages, detector: Detector) -> None:
    (found,) = stages.play(5, [11], lambda n: detector(n, lambda _, p, c: 0 * c if p == "T/h2" else c)).values()
    assert kinds(found) == [("dead", "T/h2")]
    assert "by 5 other histograms" in found[0].summary


def test_when_all_stops_nothing_follows(stages: Stages, detector: Detector) -> None:
    """No luminosity is known: nobody says whether there was beam."""
    found = stages.play(5, [11, 12, 13], lambda n: detector(n, lambda _, p, c: 0 * c))
    assert [kinds(found[n]) for n in found] == [[], [], []]
    assert [quality(found[n]) for n in found] == ["insufficient"] * 3
    assert [f.kind for n in found for f in found[n]].count("insufficient") == 1


def test_a_subsystem_that_stops_in_full_beam_is_dead(detector: Detector) -> None:
    stages = Stages()
    beam = {"listing": lambda n: listing(luminosity=100.0 - n)}
    stages.play(5, range(1, 11), detector, **beam)
    (found,) = stages.play(5, [11], lambda n: detector(n, lambda _, p, c: 0 * c), **beam).values()
    assert sorted(kinds(found)) == [("dead", f"T/h{n}") for n in range(6)]
    assert all("by luminosity" in f.summary for f in found if f.kind == "dead")


@pytest.mark.parametrize("off", [{"stable_beams": False}, {"high_voltage": False}])
def test_conditions_explain_empty_histograms(detector: Detector, off: dict[str, bool]) -> None:
    stages = Stages()
    stages.play(5, range(1, 11), detector, listing=lambda n: listing(luminosity=100.0))
    conditions = {"listing": lambda n: listing(luminosity=100.0, **off)}
    (found,) = stages.play(5, [11], lambda n: detector(n, lambda _, p, c: 0 * c), **conditions).values()
    assert kinds(found) == ([("tripped", "")] if "high_voltage" in off else [])
    assert quality(found) == "insufficient"


def test_a_short_lumisection_has_fewer_entries_and_no_fault(stages: Stages, detector: Detector) -> None:
    (found,) = stages.play(5, [11], lambda n: detector(n, scale=3 / 23.31), seconds=3.0).values()
    assert kinds(found) == []


def test_what_the_manifest_lists_and_does_not_come_is_missing(stages: Stages, detector: Detector) -> None:
    def without(number: int, path: str, contents: Any) -> Any:
        return None if path == "T/h1" else contents

    by_name = {"listing": lambda n: listing(paths=list(PATHS))}
    (found,) = stages.play(5, [11], lambda n: detector(n, without), **by_name).values()
    assert kinds(found) == [("missing", "T/h1")]
    by_number = {"listing": lambda n: listing(histograms=6)}
    assert kinds(stages.play(5, [12], detector, **by_number)[12]) == []
    (found,) = stages.play(5, [13], lambda n: detector(n, without), **by_number).values()
    assert kinds(found) == [("missing", "T/h1")]


def test_a_manifest_of_which_nothing_came(stages: Stages) -> None:
    found = stages.close(list(manifests_of(head(5, 11), listing(paths=["T/h1", "T/h2"]))))
    assert kinds(found) == [("missing", "T/h1"), ("missing", "T/h2")]


def test_lumisections_that_nobody_lists_are_not_missing(stages: Stages, detector: Detector) -> None:
    """Numbers 12 and 13 do not exist."""
    manifest = {"listing": lambda n: listing(paths=list(PATHS))}
    found = stages.play(5, [11, 14], detector, **manifest)
    assert [kinds(found[n]) for n in found] == [[], []]


@pytest.mark.parametrize("value", [np.nan, np.inf, -3.0])
def test_content_that_is_no_count_is_insufficient(stages: Stages, detector: Detector, value: float) -> None:
    """Its neighbours are judged as if nothing had been."""

    def spoil(number: int, path: str, contents: Any) -> Any:
        if path == "T/h2":
            contents[7] = value
        return contents

    before = stages.reducer.state()
    twin = Stages()
    twin.reducer = DqmReducer()
    twin.reducer.restore(before)
    state = detector.rng.bit_generator.state
    found = stages.play(5, [11], lambda n: detector(n, spoil))[11]
    detector.rng.bit_generator.state = state
    twin.play(5, [11], detector)
    assert kinds(found) == []
    assert [f.summary for f in found if f.kind == "insufficient"] == [
        "run 5 lumisection 11: 1 of 6 histograms cannot be judged: 1 with contents that are no counts"
    ]
    assert states(stages)["T/h2"] == "content"
    others = [r for r in stages.records if "T/h2" not in r.key]
    assert others == [r for r in twin.records if "T/h2" not in r.key]


def test_new_bins_wait_for_new_references(stages: Stages, detector: Detector) -> None:
    def rebinned(n: int) -> list[Any]:
        wide = BinAxis.regular(20, 0.0, 80.0, "charge", "ke")
        return [
            element(p, detector.rng.poisson(20.0, 20) if p == "T/h1" else c.values, wide if p == "T/h1" else c.axes[0])
            for c in detector(n)
            for p in [c.path]
        ]

    found = stages.play(5, range(11, 18), rebinned)
    assert [kinds(f) for f in found.values()] == [[]] * 7
    stages.play(5, [18], rebinned)
    assert states(stages)["T/h1"] == "judged"


def test_thin_histograms_are_judged_together() -> None:
    """Ten entries a lumisection: ten of them are one test."""
    mean = np.full(40, 0.25)
    detector = Detector(paths={"T/thin": mean, **PATHS})
    stages = Stages()
    found = stages.play(5, range(1, 120), detector)
    assert [k for f in found.values() for k in kinds(f)] == []
    since = set()
    for n in range(120, 142):
        stages.play(5, [n], lambda n: detector(n, lambda _, p, c: np.roll(c, 0) if p != "T/thin" else c))
        (outcome,) = [r.payload for r in stages.records if r.key.endswith("T/thin")]
        if outcome.state == "judged":
            since.add(outcome.lumisection - outcome.since)
    assert since
    assert min(since) >= 4


def test_cumulative_histograms_are_judged_by_increments(detector: Detector) -> None:
    stages, total = Stages(), dict.fromkeys(PATHS, 0.0)

    def so_far(n: int, dead: bool = False) -> list[Any]:
        found = []
        for one in detector(n):
            contents = one.values.copy()
            if dead and one.path == "T/h3":
                contents[12:16] = 0
            total[one.path] = total[one.path] + contents
            found.append(element(one.path, total[one.path]))
        return found

    found = stages.play(5, range(1, 41), so_far, cumulative=True)
    assert [k for f in found.values() for k in kinds(f)] == []
    (found_41,) = stages.play(5, [41], lambda n: so_far(n, dead=True), cumulative=True).values()
    assert kinds(found_41) == [("dead", "T/h3")]  # one lumisection of 41: lost in the sum


def test_the_highest_revision_counts(stages: Stages, detector: Detector) -> None:
    whole = detector(11)
    part = [element(e.path, np.floor(0.4 * e.values)) for e in whole]
    halves = [element(e.path, np.where(np.arange(40) < 20, e.values, 0)) for e in whole]
    messages = [
        *parts_of(head(5, 11, revision=2), whole),
        *parts_of(head(5, 11, revision=1), halves),
        *parts_of(head(5, 11, revision=1), part),
    ]
    assert kinds(stages.close(messages)) == []
    outcomes = [r.payload for r in stages.records if isinstance(r.payload, HistogramOutcome)]
    assert {o.superseded for o in outcomes} == {2}


def test_datasets_and_runs_are_apart(stages: Stages, detector: Detector) -> None:
    """The same path from another dataset has no references yet; two runs at one time are two lumisections."""
    found = stages.play(5, [11], detector, dataset="express")[11]
    assert quality(found) == "insufficient"
    one, other = head(5, 12), head(5, 12)._replace(run=6, lumisection=1)
    found = stages.close([*parts_of(one, detector(12)), *parts_of(other, detector(12))])
    assert [f.summary[:20] for f in found if f.kind == "quality"] == ["run 5 lumisection 12", "run 6 lumisection 1:"]


def test_a_published_set_is_in_force_once_it_is_whole(stages: Stages, detector: Detector) -> None:
    reference = [element(path, np.round(50 * mean)) for path, mean in PATHS.items()]
    stages.close(list(parts_of(Head(4, 0, head(5, 11).start, head(5, 11).end, "Calo", reference="gold"), reference)))
    checksums = {r.key.partition("|")[2]: r.payload.checksum for r in stages.records}
    assert len(checksums) == 6
    control = {"set": "gold", "n": 6, "hash": set_hash(checksums.items())}
    moved = {path: np.roll(mean, 4) for path, mean in PATHS.items()}
    other = Detector(3, moved)
    found = stages.play(5, [12], other)[12]
    assert len(kinds(found)) == 6  # the rolling ones do not know it
    gold = {"subject": ("reference", "Calo")}
    found = stages.close(list(parts_of(head(5, 13), detector(13))), {gold["subject"]: (1, control)})
    assert kinds(found) == []
    assert quality(found) == "good"
    found = stages.close(list(parts_of(head(5, 14), other(14))), {gold["subject"]: (1, control | {"n": 7})})
    assert quality(found) == "insufficient"
    assert kinds(found) == []


def test_a_run_may_be_banned_and_references_started_over(stages: Stages, detector: Detector) -> None:
    ban = {("reference", "Calo"): (1, {"ban": [5]})}
    assert quality(stages.close(list(parts_of(head(6, 1), detector(1))), ban)) == "insufficient"
    fresh = {("reference", "Calo"): (2, {"fresh": True})}
    found = stages.close(list(parts_of(head(6, 2), detector(2))), fresh)
    assert quality(found) == "insufficient"
    for n in range(3, 9):
        found = stages.close(list(parts_of(head(6, n), detector(n))), fresh)
    assert quality(found) == "good"


def test_runs_of_another_class_are_no_references(stages: Stages, detector: Detector) -> None:
    cosmics = {("run", "6"): (1, {"run_type": "cosmics"})}
    assert quality(stages.close(list(parts_of(head(6, 1), detector(1))), cosmics)) == "insufficient"
    assert quality(stages.close(list(parts_of(head(7, 1), detector(1))), cosmics)) == "good"


def test_a_restored_state_goes_on_alike(stages: Stages, detector: Detector) -> None:
    twin = Stages()
    twin.reducer.restore(stages.reducer.state())
    twin.judges["Calo"] = type(stages.judges["Calo"])()
    twin.judges["Calo"].restore(stages.judges["Calo"].state())
    messages = list(parts_of(head(5, 11), detector(11)))
    assert twin.close(messages) == stages.close(messages)
    assert twin.reducer.state() == stages.reducer.state()


def test_a_split_of_the_keys_changes_nothing(stages: Stages, detector: Detector) -> None:
    """Careful mode gives a reducer some of the keys at a time."""
    twin = Stages()
    twin.reducer.restore(stages.reducer.state())
    elements = detector(11)
    stages.close(list(parts_of(head(5, 11), elements)))
    together = stages.records
    apart = []
    for one in elements:
        twin.close(list(parts_of(head(5, 11), [one])))
        apart += twin.records
    assert apart == together
    assert twin.reducer.state() == stages.reducer.state()


def profile(rng: np.random.Generator, path: str, mean: Any, spread: float = 5.0, entries: int = 100) -> Any:
    """Means of 40 bins with the variances of the means."""
    contents = mean + spread / np.sqrt(entries) * rng.standard_normal(40)
    variances = np.full(40, spread**2 / entries)
    return element(path, contents, storage="mean", variances=variances, entries=40.0 * entries)


def test_profiles_are_judged_on_their_means() -> None:
    rng, stages, mean = np.random.default_rng(5), Stages(), np.linspace(50.0, 90.0, 40)
    found = stages.play(5, range(1, 21), lambda n: [profile(rng, "T/p", mean, entries=100 + n)])
    assert [k for f in found.values() for k in kinds(f)] == []
    up = mean.copy()
    up[7] += 5.0  # ten errors of the mean
    assert kinds(stages.play(5, [21], lambda n: [profile(rng, "T/p", up)])[21]) == [("high", "T/p")]


def test_sums_of_weights_are_judged_by_their_variances() -> None:
    rng, stages = np.random.default_rng(6), Stages()

    def weighted(n: int, factor: float = 1.0) -> Any:
        counts = rng.poisson(shape() * np.where(np.arange(40) == 12, factor, 1.0))
        return [element("T/w", 2.5 * counts, storage="weighted", variances=6.25 * counts)]

    found = stages.play(5, range(1, 31), weighted)
    assert [k for f in found.values() for k in kinds(f)] == []
    assert kinds(stages.play(5, [31], lambda n: weighted(n, 3.0))[31]) == [("hot", "T/w")]


def test_what_is_not_glaring_takes_two_of_three_lumisections(stages: Stages, detector: Detector) -> None:
    def low(number: int, path: str, contents: Any) -> Any:
        if path == "T/h3" and number in (12, 14, 18):
            contents[13] = np.floor(0.6 * contents[13])
        return contents

    found = stages.play(5, range(11, 22), lambda n: detector(n, low))
    about = {n: [f.severity for f in found[n] if f.kind == "low"] for n in found}
    assert {n: severity for n, severity in about.items() if severity} == {14: ["warning"]}


def test_references_are_those_of_the_same_conditions(detector: Detector) -> None:
    """Another menu, beams that are not stable, half the pile-up: as if there were none."""
    stages = Stages()
    usual = {"listing": lambda n: listing(menu="v1", pileup=50.0 - n / 10, stable_beams=True)}
    stages.play(5, range(1, 11), detector, **usual)
    others: list[dict[str, Any]] = [
        {"menu": "v2", "pileup": 49.0, "stable_beams": True},
        {"menu": "v1", "pileup": 30.0, "stable_beams": True},
        {"menu": "v1", "pileup": 49.0, "stable_beams": False},
    ]
    for n, other in enumerate(others, 11):
        conditions = {"listing": lambda n, other=other: listing(**other)}
        assert quality(stages.play(5, [n], detector, **conditions)[n]) == "insufficient"
    assert quality(stages.play(5, [20], detector, **usual)[20]) == "good"


def test_what_follows_the_pileup_is_no_fault() -> None:
    """A multiplicity whose mean falls with the pile-up by .4 % a lumisection; a dead bin is still one."""
    rng, stages = np.random.default_rng(9), Stages()
    axis = BinAxis.regular(50, 0.0, 100.0, "vertices")

    def vertices(n: int, dead: bool = False) -> Any:
        mean = 60.0 * 0.996**n
        contents = np.histogram(rng.normal(mean, 8.0, 4000), axis.edges)[0]
        contents[30] *= not dead
        return [element("T/vertices", contents, axis)]

    conditions = {"listing": lambda n: listing(pileup=60.0 * 0.996**n)}
    found = stages.play(5, range(1, 61), vertices, **conditions)
    assert [k for f in found.values() for k in kinds(f)] == []
    assert kinds(stages.play(5, [61], lambda n: vertices(n, dead=True), **conditions)[61]) == [("dead", "T/vertices")]


def test_operators_answers_make_a_histogram_less_surprising_and_no_other(detector: Detector) -> None:
    """A bin at six tenths in two lumisections: found, and with three decades of feedback found with a larger p."""

    def low(number: int, path: str, contents: Any) -> Any:
        if path in ("T/h3", "T/h4"):
            contents[13] = np.floor(0.4 * contents[13])
        return contents

    said = {("feedback", "Calo||T/h3"): (1, {"decades": 3})}
    p: list[dict[str, float]] = []
    for controls in (None, said):
        stages = Stages()
        same = Detector()
        stages.play(5, range(1, 11), same)
        for n in (11, 12):
            found = stages.close(list(parts_of(head(5, n), same(n, low))), controls)
        p.append({f.subject["histogram"]: f.log10_p for f in found if "histogram" in f.subject and f.log10_p})
        last = [f for f in found if f.subject.get("histogram") == "T/h3"]
    assert p[0]["T/h4"] == p[1]["T/h4"]
    assert p[1]["T/h3"] == pytest.approx(p[0]["T/h3"] + 3.0)
    titles = [block.title for f in last for block in f.evidence]
    assert "Feedback" in titles
    assert "Which test spoke" in titles
