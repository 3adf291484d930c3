"""Both stages of DQM on what operators and senders get wrong: it costs what it is about, and nothing beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from opintel.detector import Closing, Controls
from opintel.dqm.elements import BinAxis
from opintel.dqm.quality.judge import DqmJudge, DqmJudgeSettings, set_hash
from opintel.dqm.records import HistogramOutcome, ReferencePublished
from opintel.dqm.wire.encoder import parts_of
from opintel.dqm.wire.heads import Head
from opintel.finding import Finding

from .live import PATHS, detector, emptied
from .lumisections import Stages, element, head, kinds, shape

WIDE = BinAxis.regular(20, 0.0, 80.0, "charge", "ke")


@pytest.fixture
def stages() -> Stages:
    """After ten healthy lumisections of run 5."""
    stages = Stages()
    stages.play(5, range(1, 11), detector)
    return stages


def outcomes(stages: Stages) -> dict[str, HistogramOutcome]:
    """Path → what stage 1 said of it last."""
    return {r.key.split("|", 3)[3]: r.payload for r in stages.records if isinstance(r.payload, HistogramOutcome)}


def status(findings: list[Finding]) -> str:
    return [f.summary for f in findings if f.kind == "quality"][-1].split(": ")[1].split(",")[0]


@pytest.mark.parametrize("value", ["x", 5, None, [1], {"ban": ["x"]}, {"set": 5}, {"fresh": "yes"}, {"ban": [2**70]}])
def test_a_control_that_is_not_understood_says_nothing(stages: Stages, value: Any) -> None:
    said = {("reference", "Calo"): (1, value), ("run", "5"): (1, value), ("reference", "Calo||T/h1"): (2, value)}
    found = stages.close(list(parts_of(head(5, 11), emptied(detector(11), "T/h1", 9, 14))), said)
    assert kinds(found) == [("dead", "T/h1")]


def published(stages: Stages, name: str, elements: list[Any], **about: Any) -> dict[str, int]:
    """Key → checksum of references that are published now."""
    stages.close(
        list(parts_of(Head(4, 0, head(5, 11).start, head(5, 11).end, "Calo", reference=name, **about), elements))
    )
    published = [(r.key, r.payload) for r in stages.records if isinstance(r.payload, ReferencePublished)]
    assert len({key for key, _ in published}) == len(published)
    return {key.partition("|")[2]: said.checksum for key, said in published}


def test_references_that_were_published_for_new_bins_are_in_force_when_these_come(stages: Stages) -> None:
    gold = published(stages, "gold", [element("T/h1", 50 * shape(20, peak=6.0), WIDE)])
    pin = {("reference", "Calo"): (1, {"set": "gold", "n": 1, "hash": set_hash(gold.items())})}
    rng = np.random.default_rng(3)
    found = stages.close(list(parts_of(head(5, 12), [element("T/h1", rng.poisson(shape(20, peak=6.0)), WIDE)])), pin)
    assert (outcomes(stages)["T/h1"].state, status(found)) == ("judged", "good")


def test_of_revisions_of_a_reference_the_highest_is_published(stages: Stages) -> None:
    first, second = ([element("T/h1", factor * PATHS["T/h1"])] for factor in (1.0, 2.0))
    at = Head(4, 0, head(5, 11).start, head(5, 11).end, "Calo", reference="gold")
    messages = [*parts_of(at._replace(revision=2), second), *parts_of(at, first)]
    stages.close(messages)
    (record,) = stages.records
    assert record.payload.checksum == published(Stages(), "gold", second)["Calo||T/h1"]


def test_a_judge_may_emit_more_than_stage_1_explains(stages: Stages) -> None:
    """Its setting is another one; what it then finds has no region."""
    messages = list(parts_of(head(5, 11), detector(11)))
    stages.close(messages)
    settings = DqmJudgeSettings(emit=-0.0, at_once=-0.0)
    window, scope, in_force = stages.records[0].window, "Calo", Controls()
    found = DqmJudge().judge(Closing(window, scope, stages.records, in_force, settings, "m", True))
    assert [f.kind for f in found if f.kind != "quality"] == ["changed"] * 4


def test_what_waited_and_is_empty_now_is_one_finding() -> None:
    """Thin contents that were judged together with those before: dead in a region, and without an entry at last."""
    rng, stages = np.random.default_rng(8), Stages()
    second_half = 1.0 * (np.arange(40) >= 20)
    stages.play(5, range(1, 31), lambda n: [*detector(n), element("T/thin", rng.poisson(1.25, 40))])
    few = {1: 5 * second_half[:39], 2: second_half * (np.arange(40) > 34)}
    few[1] = np.append(few[1], 0.0)
    found = stages.play(6, (1, 2), lambda n: [*detector(n), element("T/thin", few[n])])
    assert outcomes(stages)["T/thin"].since == 1
    assert outcomes(stages)["T/thin"].log10_p is not None
    its = [f for f in found[2] if f.subject.get("histogram") == "T/thin"]
    assert [f.kind for f in its] == ["dead"]
    assert "is dead: 5 entries, about 49 expected" in its[0].summary


@pytest.mark.parametrize("entries", [-5.0, np.nan, np.inf])
def test_entries_that_are_no_count_are_not_known(entries: float) -> None:
    rng, stages = np.random.default_rng(5), Stages()

    def profile(n: int) -> list[Any]:
        about = {"storage": "mean", "variances": np.full(40, 0.25), "entries": entries if n > 8 else 4000.0}
        return [*detector(n), element("T/p", 50 + 0.5 * rng.standard_normal(40), **about)]

    found = stages.play(5, range(1, 12), profile)
    assert [k for these in found.values() for k in kinds(these)] == []
    assert outcomes(stages)["T/p"].entries is None
    assert outcomes(stages)["T/p"].state == "judged"


def test_why_histograms_are_not_judged_is_said_once_of_each_of_two_runs(stages: Stages) -> None:
    cosmics = {("run", "6"): (1, {"run_type": "cosmics"})}
    said = []
    for n in range(1, 4):
        other = head(5, 10 + n)._replace(run=6, lumisection=n)
        messages = [*parts_of(head(5, 10 + n), detector(10 + n)), *parts_of(other, detector(n, 6))]
        said += [f.summary for f in stages.close(messages, cosmics) if f.kind == "insufficient"]
    assert said == ["run 6 lumisection 1: 4 of 4 histograms cannot be judged: 4 without references"]
