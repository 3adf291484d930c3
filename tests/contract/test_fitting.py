"""What is learned of an archive is what stage 1 knew at its end, as one file however many partitions the log had."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from opintel.backfill.fitting import ALL, Days, Fitted, fit, put
from opintel.backfill.stages import Job
from opintel.health.reducer import HealthReducer
from opintel.health.warm_start import BASELINE, WarmStart
from opintel.streams.archive.reader import Archive
from opintel.streams.artefacts import Artefacts
from opintel.streams.urls import Location

from .archived import live
from .cases import HEALTH_CASE, TOY_CASE
from .harness import Case

COLD = replace(HEALTH_CASE, controls=list)
DETECTOR = [HealthReducer.name, HealthReducer.version]


def of(case: Case, folder: Path, days: Days = ALL, behind: Callable[[object], None] = lambda _: None) -> Fitted:
    url = str(folder / "archive")
    job = Job(case.stream._replace(partitions=1), case.pipeline, Artefacts([f"{url}/_artefacts"]))
    return fit(job, Archive(url), days, behind)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cold")
    live(COLD, folder)
    return folder


def test_a_health_baseline_has_all_series_of_all_partitions(archive: Path, tmp_path: Path) -> None:
    read: list[object] = []
    made = of(COLD, archive, behind=read.append)
    assert len(read) > 4
    assert made.name == BASELINE
    warm = WarmStart(made.data, DETECTOR)
    assert (warm.card.series, warm.card.metrics) == (30, 5)
    for n in range(6):
        start = warm.find(f'node|load0{{instance="h{n}",job="node"}}')
        assert start is not None
        assert start.own
    alone = replace(COLD, stream=COLD.stream._replace(partitions=1))
    live(alone, tmp_path)
    assert of(alone, tmp_path).data == made.data


def test_it_lies_where_the_door_looks_with_a_card_beside_it(archive: Path, tmp_path: Path) -> None:
    made = of(COLD, archive)
    put(Location.of(str(tmp_path / "models")), made)
    assert Artefacts([str(tmp_path / "models")])(made.sha256).data == made.data
    assert made.sha256 == sha256(made.data).hexdigest()
    card = json.loads((tmp_path / "models" / f"{made.sha256}.json").read_text())
    assert (card["name"], card["sha256"], card["series"]) == (BASELINE, made.sha256, 30)


def test_only_days_that_are_asked_for_are_read(archive: Path) -> None:
    assert of(COLD, archive, Days("2023-11-14", "2023-11-14")).data != of(COLD, archive).data
    with pytest.raises(ValueError, match="got none among 0"):
        of(COLD, archive, Days("2024-01-01"))


def test_a_domain_of_which_nothing_is_learned_is_named(tmp_path: Path) -> None:
    live(TOY_CASE, tmp_path)
    with pytest.raises(ValueError, match=r"nothing is learned of an archive for toy; expected .*health"):
        of(TOY_CASE, tmp_path)
