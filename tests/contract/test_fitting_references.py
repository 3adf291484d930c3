"""Reference models of an archive are those of the same histograms, read from the messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from opintel.backfill.fitting import fit
from opintel.backfill.stages import Job
from opintel.detector import Message
from opintel.dqm import ReferenceModel
from opintel.dqm.modelled.archived_references import REFERENCES, ReferencesCard, read_references
from opintel.dqm.simulated.simulate import DqmSimulator
from opintel.dqm.wire import DqmWire
from opintel.streams.archive.reader import Archive
from opintel.streams.artefacts import Artefacts
from opintel.streams.records import NEVER, Control

from .archived import live
from .cases import DQM_CASE
from .harness import Case

STORY = DqmSimulator(seed=3, hours=0.35, histograms=12, length=75.0, faults=())


@cache
def messages() -> Sequence[tuple[int, bytes]]:
    return sorted(STORY.messages())


CASE = replace(DQM_CASE, messages=messages, controls=list)


def learned(case: Case, folder: Path) -> tuple[dict[str, object], ReferencesCard]:
    live(case, folder)
    url = str(folder / "archive")
    made = fit(Job(case.stream, case.pipeline, Artefacts([url])), Archive(url))
    assert made.name == REFERENCES
    assert isinstance(made.card, ReferencesCard)
    return read_references(made.data), made.card  # type: ignore[return-value]


def in_messages() -> dict[str, dict[tuple[int, int], np.ndarray]]:
    """Key → (run, lumisection) → counts of one dimension."""
    rows = DqmWire().decode([Message(body) for _, body in messages()]).rows
    found: dict[str, dict[tuple[int, int], np.ndarray]] = {}
    for n in range(len(rows)):
        row, key = rows.row(n).payload, rows.row(n).key
        if row.kind == 0 and row.storage == 0 and not row.cumulative and len(row.values) == row.x > 1:
            found.setdefault(key, {})[row.run, row.lumisection] = np.array(row.values)
    return found


def test_they_are_equal_to_those_of_the_messages(tmp_path: Path) -> None:
    models, card = learned(CASE, tmp_path)
    there = in_messages()
    assert models.keys() == there.keys()
    assert len(models) > 3
    (bins, _), *_ = Counter(len(next(iter(c.values()))) for c in there.values()).most_common()
    keys = sorted(key for key, contents in there.items() if len(next(iter(contents.values()))) == bins)
    places = sorted({place for key in keys for place in there[key]})
    missing = np.full(bins, np.nan)
    references = np.array([[there[key].get(place, missing) for key in keys] for place in places])
    expected = ReferenceModel().fit(references, [run for run, _ in places]).state()
    model, _ = models[keys[0]]  # type: ignore[misc]
    assert [models[key].place for key in keys] == list(range(len(keys)))  # type: ignore[attr-defined]
    for name, array in model.state().items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    assert card.runs == sorted({run for run, _ in places})
    assert card.histograms == len(there)


def test_runs_that_are_banned_are_not_learned(tmp_path: Path) -> None:
    first = min(run for contents in in_messages().values() for run, _ in contents)
    subsystem = min(in_messages()).partition("|")[0]
    ban = [(0, Control("ban", "reference", subsystem, 1, NEVER, {"ban": [first]}))]
    models, _ = learned(replace(CASE, controls=lambda: ban), tmp_path)
    assert models
    assert not any(key.startswith(f"{subsystem}|") for key in models)


@pytest.mark.parametrize("data", [b"", b"\x80", b"no file"])
def test_what_is_no_file_of_references_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="expected a file of references"):
        read_references(data)
