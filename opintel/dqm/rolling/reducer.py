"""Stage 1 of DQM: each histogram of a lumisection against its references, 10^5 of them in a few passes over arrays.

A histogram's references are what it looked like in the blocks of lumisections before (`histories`), of runs of the same
class; or the set that the control `reference` pins. What is too thin to be judged waits for the next lumisections of
its run; cumulative contents are judged by their increments. What stands out never becomes a reference, unless it stands
out for long and always alike (`epochs`, `changes`).
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from itertools import compress, groupby
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.detector import Controls, Emit, Record, Reduced, Reducer, WindowRows
from opintel.dqm.elements import STORAGES
from opintel.dqm.histograms import HISTOGRAM, MANIFEST, REFERENCE, Histograms, Listing
from opintel.dqm.records import DqmRecord, ManifestListed, ReferencePublished, run_key
from opintel.dqm.rolling.changes import Changes
from opintel.dqm.rolling.epochs import judged
from opintel.dqm.rolling.groups import HistogramGroup, entries_of, groups_of, planes
from opintel.dqm.rolling.histories import BlockMarks, Histories, Ints
from opintel.dqm.rolling.labels import places_by_label
from opintel.dqm.rolling.lots import Lot
from opintel.dqm.rolling.outcomes import outcomes
from opintel.dqm.rolling.published import PublishedSets
from opintel.dqm.rolling.reference_controls import reference_controls, run_class
from opintel.finding import NS
from opintel.rows import Batch

SLOTS, BLOCK = 4, 4
"""References that are kept, and lumisections of each: with the block in progress up to 20 lumisections, 8 minutes at
CMS. Longer ones know more and are further behind what drifts."""
FEWEST = 20
"""Entries below which nothing is judged."""
TEST = "contents"
"""What hypotheses are counted under."""
_listing = msgspec.json.Decoder(Listing)
Count = Annotated[int, msgspec.Meta(ge=1, le=100_000)]


class DqmReducerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of `DqmReducer`."""

    emit: Emit = -4.0
    """A histogram whose log10 p is at most this is explained with pictures."""
    adopt: Emit = -4.0
    """A lumisection whose log10 p is at most this never becomes a reference."""
    least: Count = 5
    """Lumisections that a histogram's references must have before it is judged."""
    entries: Count = 100
    """A histogram with fewer waits for the next lumisections of its run …"""
    patience: Count = 10
    """… but no longer than so many, if it has 20 by then."""
    pileup: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.15
    """References are those whose pile-up differs by at most this share, where it is known."""
    runs: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.05
    """Relative difference of a bin between runs that is no fault: as long as a run has no references of its own."""
    settle: Count = 40
    """Lumisections that stand out like those before, less those that stand out otherwise, after which the histogram is
    compared with them (15 minutes at CMS); it counts as bad until an operator accepts that."""
    floor: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.02
    """Relative systematic error of a bin, as long as it has not been learned from the histogram itself."""
    elements: dict[str, dict[str, list[float]]] = {}
    """Pattern of paths → name of a detector element → where it lies: x from, x to and of maps y from, y to, in units of
    the axes (of labels, in bins from 0). A finding names those that it touches."""

    def __post_init__(self) -> None:
        for pattern, elements in self.elements.items():
            for name, at in elements.items():
                if len(at) not in (2, 4):
                    raise ValueError(
                        f"elements: expected 2 numbers, or 4 of a map, for {name!r} of {pattern!r}, got {len(at)}"
                    )


class DqmReducer(Reducer[Histograms]):
    """Rows of a lumisection → what is said of each histogram."""

    name = "dqm.histograms"
    version = 3
    controls: tuple[str, ...] = ("reference", "run")
    Settings = DqmReducerSettings

    def __init__(self) -> None:
        self._histories: dict[tuple[str, str], Histories] = {}
        """(axes, storage) → histories."""
        self._changes: dict[tuple[str, str], Changes] = {}
        """The same → what is of them and stands out for some time."""
        self._where: dict[str, tuple[str, str]] = {}
        self._published = PublishedSets()

    def scope(self, key: str) -> str:
        """The subsystem."""
        return key.partition("|")[0]

    def close(self, closing: WindowRows[Histograms]) -> Reduced:
        """What is said of each histogram, manifest and reference of a lumisection."""
        rows, payload = closing.rows, closing.rows.payload
        window, seconds = closing.window, (closing.window.end - closing.window.start) / NS
        order = np.lexsort((rows.id, payload.revision, payload.run, payload.kind, rows.key.code))
        code, kind, run = rows.key.code[order], payload.kind[order], payload.run[order]
        last = np.ones(len(order), dtype=bool)
        last[:-1] = (code[1:] != code[:-1]) | (kind[1:] != kind[:-1]) | (run[1:] != run[:-1])
        ends = np.flatnonzero(last)
        superseded = np.diff(np.r_[-1, ends]) - 1
        newest, kinds = order[ends], kind[ends]
        said: list[Record[DqmRecord]] = []
        tested: dict[str, dict[str, int]] = {}
        for at in _latest_references(rows, order[kind == REFERENCE]):
            said.append(self._reference(closing, at))
        for n in np.flatnonzero(kinds == MANIFEST).tolist():
            said.append(self._manifest(closing, order[ends[n] - superseded[n] : ends[n] + 1]))
        chosen = kinds == HISTOGRAM
        groups = groups_of(closing, newest[chosen], superseded[chosen])
        for _, of_turn in groupby(groups, key=lambda group: group.turn):
            lots = [self._prepared(closing, group) for group in of_turn]
            for lot, answer in zip(lots, judged(lots, closing.settings, closing.controls), strict=True):
                scopes, its = list(map(self.scope, lot.group.keys)), outcomes(lot, answer, seconds)
                for key, scope, outcome in zip(lot.group.keys, scopes, its, strict=True):
                    said.append(Record(window, "outcome", run_key(outcome.run, key), scope, outcome))
                tests = [outcome.log10_p is not None for outcome in its]
                for scope, many in Counter(compress(scopes, tests)).items():
                    counts = tested.setdefault(scope, {TEST: 0})
                    counts[TEST] += many
        said.sort(key=lambda one: one.key)
        return Reduced(said, tested)

    def _manifest(self, closing: WindowRows[Histograms], places: Ints) -> Record[DqmRecord]:
        """A run's manifest from its rows, in order of revision; those of the highest together are the manifest."""
        rows, payload = closing.rows, closing.rows.payload
        at = int(places[-1])
        latest = places[payload.revision[places] == payload.revision[at]]
        parts = [_listing.decode(payload.about.values[payload.about.code[n]]) for n in latest.tolist()]
        listing = parts[-1]
        if any(part.paths is not None for part in parts):
            listing = msgspec.structs.replace(listing, paths=sorted({p for part in parts for p in part.paths or ()}))
        key, run = rows.key.values[rows.key.code[at]], int(payload.run[at])
        listed = ManifestListed(run, int(payload.lumisection[at]), listing)
        return Record(closing.window, "listed", run_key(run, key), self.scope(key), listed)

    def _reference(self, closing: WindowRows[Histograms], at: int) -> Record[DqmRecord]:
        rows, payload = closing.rows, closing.rows.payload
        key, name = rows.key.values[rows.key.code[at]], payload.about.values[payload.about.code[at]]
        storage = STORAGES[int(payload.storage[at])]
        sums, _ = planes(storage, payload.values.at(at)[None], payload.variances.at(at)[None])
        axes = payload.axes.values[payload.axes.code[at]]
        self._published.add(key, name, axes, storage, sums[:, 0])
        checksum = zlib.crc32(payload.values.at(at).tobytes())
        published = ReferencePublished(name, checksum)
        return Record(closing.window, "published", f"{name}|{key}", self.scope(key), published)

    def _prepared(self, closing: WindowRows[Histograms], group: HistogramGroup) -> Lot:
        """Adds up what has to be."""
        settings, controls = closing.settings, closing.controls
        seconds = (closing.window.end - closing.window.start) / NS
        past, rows, moved = self._at(group)
        changes = self._changes[group.axes, group.storage]
        self._start_over(past, rows, group.keys, changes, controls)
        sums, first, sound = group.sums, group.lumisection, group.sound
        if group.cumulative:
            sums, after = past.increments(rows, sums, group.run, group.lumisection, sound)
            sound = sound & np.isfinite(sums[0]).all(axis=-1)
            sound &= (group.storage != "count") | (sums[0] >= 0).all(axis=-1)
            first = after + 1
        if not sound.all():
            sums = np.where(sound[None, :, None], sums, 0)
        entries = entries_of(group, sums)
        ready = sound & ~(entries == 0)
        total, spans = entries.copy(), np.ones(len(rows))
        thin = np.flatnonzero(ready & ((entries < settings.entries) | past.waits(rows, group.run)))
        if len(thin):
            together, since, waited = past.wait(rows[thin], sums[:, thin], group.run[thin], first[thin])
            sums, first = sums.copy(), first.copy()
            sums[:, thin], first[thin], spans[thin] = together, since, waited
            total[thin] = entries_of(group, sums)[thin] if group.storage != "mean" else settings.entries
            enough = (total[thin] >= settings.entries) | ((waited >= settings.patience) & (total[thin] >= FEWEST))
            ready[thin] = enough
            past.waited(rows[thin[enough]])

        category = _categories(group, controls)
        pinned = self._published.in_force(group.keys, group.axes, group.storage, controls)
        many, whole = spans.astype(np.int64), np.where(np.isfinite(total), total, 0.0)
        marks = BlockMarks(group.run, category, group.pileup, first, group.lumisection, many, spans * seconds, whole)
        return Lot(group, past, rows, changes, moved, sums, first, entries, sound, ready, pinned, marks)

    def _at(self, group: HistogramGroup) -> tuple[Histories, Ints, NDArray[np.bool_]]:
        """The histories of a group, the rows of its histograms, and which of these had other bins until now."""
        form = (group.axes, group.storage)
        past = self._histories.get(form)
        if past is None:
            past, _ = self._begin(form, group.sums.shape[2], group.sums.shape[0])
        moved = np.zeros(len(group.keys), dtype=bool)
        for n, key in enumerate(group.keys):
            before = self._where.get(key)
            if before == form:
                continue
            if before is not None:
                places = places_by_label(before[0], group.axes) if before[1] == group.storage else None
                if places is not None:
                    past.carry_over(key, self._histories[before], places)
                self._forget(key)
                moved[n] = True
            self._where[key] = form
        return past, past.rows_of(group.keys), moved

    def _begin(self, form: tuple[str, str], size: int, many: int) -> tuple[Histories, Changes]:
        past = self._histories[form] = Histories(size, many, SLOTS, BLOCK)
        changes = self._changes[form] = Changes(size, many, SLOTS, BLOCK)
        return past, changes

    def _start_over(
        self, past: Histories, rows: Ints, keys: Sequence[str], changes: Changes, controls: Controls
    ) -> None:
        """References that an operator declared old are forgotten, or replaced by the state that has settled since: once
        for each version of the control."""
        fresh = {subject for subject, said in reference_controls(controls).items() if said.fresh}
        if not fresh:
            return
        versions = {subject: version for _, subject, version in controls.versions(["reference"]) if subject in fresh}
        for row, key in zip(rows.tolist(), keys, strict=True):
            for subject in (key, self.scope(key)):
                version = versions.get(subject, 0)
                if version > past.fresh[row]:
                    past.start_over(np.array([row]))
                    if key in changes.since:
                        past.take_over([key], changes.settled)
                    changes.drop(key)
                    past.fresh[row] = version

    def drop(self, key: str) -> None:
        """Forgets a histogram and its references."""
        self._forget(key)
        self._published.drop(key)

    def _forget(self, key: str) -> None:
        """Its references that roll; those that were published may be of its new bins."""
        form = self._where.pop(key, None)
        if form is not None:
            self._histories[form].drop(key)
            self._changes[form].drop(key)
            if not len(self._histories[form]):
                del self._histories[form], self._changes[form]

    def state(self) -> Any:
        """Plain data: the histories as they are, in order of their bins, and the published references."""
        return [
            [
                [*form, past.size, past.planes, past.state(), self._changes[form].state()]
                for form, past in sorted(self._histories.items())
            ],
            self._published.state(),
        ]

    def restore(self, state: Any) -> None:
        """The inverse of `state`, on a fresh reducer."""
        histories, published = state
        for axes, storage, size, many, kept, changed in histories:
            past, changes = self._begin((axes, storage), size, many)
            past.restore(kept)
            changes.restore(changed)
            self._where |= dict.fromkeys(past.row, (axes, storage))
        self._published.restore(published)


def _latest_references(rows: Batch[Histograms], places: Ints) -> list[int]:
    """Of published references, in order of key and revision, the last of each key and set."""
    about = rows.payload.about
    last = {(int(rows.key.code[at]), about.values[about.code[at]]): at for at in places.tolist()}
    return list(last.values())


def _categories(group: HistogramGroup, controls: Controls) -> Ints:
    """(histograms,) the class of each: what it was taken under, and what the control `run` says of its run. References
    are those of one class; 0 where nothing is known.
    """
    known: dict[tuple[str, int], int] = {}
    found = []
    for about in zip(group.category, group.run.tolist(), strict=True):
        if about not in known:
            known[about] = run_class(controls, about[1], about[0])
        found.append(known[about])
    return np.array(found, dtype=np.int64)
