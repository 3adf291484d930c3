"""Reference models of an archive: the histograms of archived lumisections, as stage 1 gets them, through
`ReferenceModel.fit`, and what that learned as one file of plain arrays.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.detector import Reduced, WindowRows
from opintel.dqm.elements import STORAGES
from opintel.dqm.histograms import HISTOGRAM, Histograms
from opintel.dqm.modelled.reference_model import NEEDED, ReferenceModel
from opintel.dqm.rolling.reducer import DqmReducer
from opintel.dqm.rolling.reference_controls import NOTHING_SAID, reference_controls
from opintel.stats.counts import Floats

REFERENCES: Final = "dqm.references"
"""Name of the artefact."""
FORMAT: Final = 1


class RunLumisection(NamedTuple):
    """Where a histogram comes from."""

    run: int
    number: int


class ArchivedHistogram(NamedTuple):
    """What there is of a histogram as long as its axes stay as they are."""

    axes: str
    contents: dict[RunLumisection, NDArray[np.float32]]
    """(B,) each, flow bins included."""


Collected = dict[str, ArchivedHistogram]
"""By key."""


class ReferenceCollector(DqmReducer):
    """Stage 1 that judges nothing and keeps the histograms: of a lumisection the last revision, counts of one
    dimension, of runs that no control bans. It cannot raise, so there is no state to go back to.
    """

    def __init__(self) -> None:
        super().__init__()
        self.collected: Collected = {}

    def close(self, closing: WindowRows[Histograms]) -> Reduced:
        """Keeps what is there, and says nothing."""
        rows, payload = closing.rows, closing.rows.payload
        banned = reference_controls(closing.controls)
        for n in np.lexsort((rows.id, payload.revision, rows.key.code)).tolist():
            key, run = rows.key.values[int(rows.key.code[n])], int(payload.run[n])
            values = payload.values.at(n)
            counts = payload.kind[n] == HISTOGRAM and STORAGES[int(payload.storage[n])] == "count"
            plain = counts and not payload.cumulative[n] and len(values) == payload.x[n] > 1
            if plain and run not in banned.get(self.scope(key), NOTHING_SAID).ban:
                axes, place = (
                    payload.axes.values[int(payload.axes.code[n])],
                    RunLumisection(run, payload.lumisection.item(n)),
                )
                _add(self.collected, key, ArchivedHistogram(axes, {place: np.array(values, dtype=np.float32)}))
        return Reduced([])

    def drop(self, key: str) -> None:
        """Keeps what there was: it is of the past either way."""

    def state(self) -> Any:
        """None."""
        return None

    def restore(self, state: Any) -> None:
        """Nothing to do."""


def _add(collected: Collected, key: str, more: ArchivedHistogram) -> None:
    """Adds what came later: under other axes it is another histogram, and the one before is forgotten."""
    known = collected.get(key)
    if known is None or known.axes != more.axes:
        collected[key] = ArchivedHistogram(more.axes, dict(more.contents))
    else:
        known.contents.update(more.contents)


class ReferencesCard(msgspec.Struct, frozen=True, kw_only=True):
    """What an artefact was made of."""

    stream: str
    detector: list[Any]
    """What restores it, and the format."""
    runs: list[int]
    lumisections: int
    histograms: int
    insufficient: int
    """Histograms of too few good references to be judged."""


class _Group(msgspec.Struct, frozen=True):
    keys: list[str]
    arrays: dict[str, tuple[list[int], str, bytes]]


class _ReferencesFile(msgspec.Struct, frozen=True):
    format: int
    card: ReferencesCard
    groups: list[_Group]


class MadeReferences(NamedTuple):
    """The artefact, and its card."""

    data: bytes
    card: ReferencesCard


class ModelOfHistogram(NamedTuple):
    """The model that knows a histogram, and its place in it."""

    model: ReferenceModel
    place: int


def references_of(collected: Collected) -> tuple[Floats, list[int]]:
    """What histograms of B bins give `ReferenceModel.fit`: contents (R, H, B) in order of lumisection and key, NaN
    where one is missing, and the run (R,) of each reference."""
    places = sorted({place for one in collected.values() for place in one.contents})
    row = {place: n for n, place in enumerate(places)}
    bins = {len(values) for one in collected.values() for values in one.contents.values()}
    found = np.full((len(places), len(collected), max(bins)), np.nan)
    for n, key in enumerate(sorted(collected)):
        for place, values in collected[key].contents.items():
            found[row[place], n] = values
    return found, [place.run for place in places]


def fitted_references(parts: Iterable[Collected], stream: str) -> MadeReferences:
    """One model for all histograms of a number of bins. Raises ValueError where no histogram has the references that a
    model needs."""
    every, of_bins = Collected(), dict[int, Collected]()
    for part in parts:
        for key, one in part.items():
            _add(every, key, one)
    for key, one in every.items():
        of_bins.setdefault(len(next(iter(one.contents.values()))), {})[key] = one
    groups, known, places = list[_Group](), 0, set[RunLumisection]()
    for _, collected in sorted(of_bins.items()):
        references, runs = references_of(collected)
        if len(references) < NEEDED:
            continue
        model = ReferenceModel().fit(references, runs)
        known += int((model.given >= NEEDED).sum())
        places |= {place for one in collected.values() for place in one.contents}
        arrays = {n: ([*a.shape], a.dtype.str, a.tobytes()) for n, a in sorted(model.state().items())}
        groups.append(_Group(sorted(collected), arrays))
    if not known:
        raise ValueError(f"expected {NEEDED} or more good lumisections of a histogram, got fewer of all {len(every)}")
    card = ReferencesCard(
        stream=stream,
        detector=[ReferenceModel.__name__, FORMAT],
        runs=sorted({place.run for place in places}),
        lumisections=len(places),
        histograms=sum(len(group.keys) for group in groups),
        insufficient=sum(len(group.keys) for group in groups) - known,
    )
    data = msgspec.msgpack.encode(_ReferencesFile(FORMAT, card, groups), order="deterministic")
    return MadeReferences(data, card)


def read_references(data: bytes) -> dict[str, ModelOfHistogram]:
    """Key → the model that knows it. ValueError where it is no file of `fitted_references`."""
    try:
        file = msgspec.msgpack.decode(data, type=_ReferencesFile)
        if file.format != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {file.format}")
        found: dict[str, ModelOfHistogram] = {}
        for group in file.groups:
            state = {name: _array(*array) for name, array in group.arrays.items()}
            model = ReferenceModel().restore(state)
            found |= {key: ModelOfHistogram(model, n) for n, key in enumerate(group.keys)}
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise ValueError(f"expected a file of references that `opintel fit` made: {error}") from error
    return found


def _array(shape: list[int], kind: str, body: bytes) -> NDArray[np.generic]:
    dtype = np.dtype(kind)
    if dtype.kind not in "fi":
        raise ValueError(f"expected an array of numbers, got {kind}")
    return np.frombuffer(body, dtype=dtype).reshape(shape)
