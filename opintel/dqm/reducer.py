"""Stage 1 of DQM: each histogram of a lumisection against its references, 10^5 of them in a few passes over arrays.

A histogram's references are what it looked like in the blocks of lumisections before (`histories`), of runs of the same
class; or the set that the control `reference` pins. What is too thin to be judged waits for the next lumisections of
its run; cumulative contents are judged by their increments. What stands out never becomes a reference.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.detector import Controls, Emit, Record, Reduced, Reducer, WindowRows
from opintel.dqm.against_references import Compared, compared
from opintel.dqm.elements import STORAGES, Storage
from opintel.dqm.histograms import HISTOGRAM, MANIFEST, REFERENCE, Histograms, Listing
from opintel.dqm.histories import BlockMarks, Floats, Histories, Ints
from opintel.dqm.published import PublishedSets
from opintel.dqm.records import DqmRecord, HistogramOutcome, ManifestListed, ReferencePublished, run_key
from opintel.finding import NS

SLOTS, BLOCK = 4, 10
"""References that are kept, and lumisections of each: with the block in progress up to 50 lumisections, 20 minutes."""
FEWEST = 20
"""Entries below which nothing is judged."""
MEMORY = 30
"""Lumisections over which the systematic error of a histogram is averaged."""
SURE = 5
"""Lumisections after which that average is believed."""
TEST = "contents"
"""What hypotheses are counted under."""
KINDS = {HistogramOutcome: "outcome", ManifestListed: "listed", ReferencePublished: "published"}
"""Of records."""
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
    floor: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.02
    """Relative systematic error of a bin, as long as it has not been learned from the histogram itself."""


class _Group(NamedTuple):
    """Histograms of one window with equal axes and storage, at most one of a key."""

    keys: list[str]
    run: Ints
    lumisection: Ints
    superseded: Ints
    axes: str
    storage: Storage
    x: int
    cumulative: bool
    entries: NDArray[np.float64]
    """As the source says."""
    sums: Floats
    """(planes, histograms, size)."""
    sound: NDArray[np.bool_]


class DqmReducer(Reducer[Histograms]):
    """Rows of a lumisection → what is said of each histogram."""

    name = "dqm.histograms"
    version = 1
    controls: tuple[str, ...] = ("reference", "run")
    Settings = DqmReducerSettings

    def __init__(self) -> None:
        self._histories: dict[tuple[str, str], Histories] = {}
        """(axes, storage) → histories."""
        self._where: dict[str, tuple[str, str]] = {}
        self._published = PublishedSets()

    def scope(self, key: str) -> str:
        """The subsystem."""
        return key.partition("|")[0]

    def close(self, closing: WindowRows[Histograms]) -> Reduced:
        """What is said of each histogram, manifest and reference of a lumisection."""
        rows, payload = closing.rows, closing.rows.payload
        order = np.lexsort((rows.id, payload.revision, payload.run, payload.kind, rows.key.code))
        code, kind, run = rows.key.code[order], payload.kind[order], payload.run[order]
        last = np.ones(len(order), dtype=bool)
        last[:-1] = (code[1:] != code[:-1]) | (kind[1:] != kind[:-1]) | (run[1:] != run[:-1])
        ends = np.flatnonzero(last)
        superseded = np.diff(np.r_[-1, ends]) - 1
        newest, kinds = order[ends], kind[ends]
        said: list[tuple[str, str, DqmRecord]] = []
        tested: dict[str, dict[str, int]] = {}
        for at in order[kind == REFERENCE].tolist():
            said.append(self._reference(closing, at))
        for first, end in zip(np.r_[0, ends[:-1] + 1].tolist(), (ends + 1).tolist(), strict=True):
            if kind[first] == MANIFEST:
                said.append(self._manifest(closing, order[first:end]))
        chosen = kinds == HISTOGRAM
        for group in _groups(closing, newest[chosen], superseded[chosen]):
            for key, outcome in zip(group.keys, self._judged(closing, group), strict=True):
                scope = self.scope(key)
                said.append((run_key(outcome.run, key), scope, outcome))
                if outcome.log10_p is not None:
                    counts = tested.setdefault(scope, {TEST: 0})
                    counts[TEST] += 1
        said.sort(key=lambda one: one[0])
        records = [Record(closing.window, KINDS[type(one)], key, scope, one) for key, scope, one in said]
        return Reduced(records, tested)

    def _manifest(self, closing: WindowRows[Histograms], places: Ints) -> tuple[str, str, DqmRecord]:
        """A run's manifest from its rows, in order of revision; those of the highest together are the manifest."""
        rows, payload = closing.rows, closing.rows.payload
        at = int(places[-1])
        latest = places[payload.revision[places] == payload.revision[at]]
        parts = [_listing.decode(payload.about.values[payload.about.code[n]]) for n in latest.tolist()]
        listing = parts[-1]
        if any(part.paths is not None for part in parts):
            listing = msgspec.structs.replace(listing, paths=sorted({p for part in parts for p in part.paths or ()}))
        key, run = rows.key.values[rows.key.code[at]], int(payload.run[at])
        return run_key(run, key), self.scope(key), ManifestListed(run, int(payload.lumisection[at]), listing)

    def _reference(self, closing: WindowRows[Histograms], at: int) -> tuple[str, str, DqmRecord]:
        rows, payload = closing.rows, closing.rows.payload
        key, name = rows.key.values[rows.key.code[at]], payload.about.values[payload.about.code[at]]
        storage = STORAGES[int(payload.storage[at])]
        sums, _ = _planes(storage, payload.values.at(at)[None], payload.variances.at(at)[None])
        axes = payload.axes.values[payload.axes.code[at]]
        self._published.add(key, name, axes, storage, sums[:, 0])
        checksum = zlib.crc32(payload.values.at(at).tobytes())
        return f"{name}|{key}", self.scope(key), ReferencePublished(name, checksum)

    def _judged(self, closing: WindowRows[Histograms], group: _Group) -> Iterator[HistogramOutcome]:
        """What is said of each histogram of a group, in its order."""
        settings, controls = closing.settings, closing.controls
        seconds = (closing.window.end - closing.window.start) / NS
        past, rows, moved = self._at(group)
        self._start_over(past, rows, group.keys, controls)
        sums, first, sound = group.sums, group.lumisection, group.sound
        if group.cumulative:
            sums, after = past.increments(rows, sums, group.run, group.lumisection)
            sound = sound & np.isfinite(sums[0]).all(axis=-1)
            sound &= (group.storage != "count") | (sums[0] >= 0).all(axis=-1)
            first = after + 1
        sums = np.where(sound[None, :, None], sums, 0)
        entries = _entries(group, sums)
        full = sound & ~(entries == 0)
        total, spans = entries.copy(), np.ones(len(rows))
        ready = full.copy()
        thin = np.flatnonzero(full & ((entries < settings.entries) | past.waits(rows, group.run)))
        if len(thin):
            together, since, waited = past.wait(rows[thin], sums[:, thin], group.run[thin], first[thin])
            sums, first = sums.copy(), first.copy()
            sums[:, thin], first[thin], spans[thin] = together, since, waited
            total[thin] = _entries(group, sums)[thin] if group.storage != "mean" else settings.entries
            enough = (total[thin] >= settings.entries) | ((waited >= settings.patience) & (total[thin] >= FEWEST))
            ready[thin] = enough
            past.waited(rows[thin[enough]])

        category = _categories(group.run, controls)
        references = past.marks(rows)
        usable = (references.lumisections > 0) & (references.category == category)
        usable &= ~_banned(group.keys, references.run, controls)
        lumisections = (references.lumisections * usable).sum(axis=0)
        usual = (references.entries * usable).sum(axis=0) / np.maximum((references.seconds * usable).sum(axis=0), 1e-9)
        known = lumisections > 0

        pinned = self._published.in_force(group.keys, group.axes, group.storage, controls)
        judged = np.flatnonzero(ready & ((lumisections >= settings.least) | pinned.there))
        known_error = past.learned[rows] >= SURE
        floor = np.where(known_error, np.sqrt(np.maximum(past.excess[rows], 0.0)), settings.floor)
        found: Compared | None = None
        adopted = ready.copy()
        if len(judged):
            held = pinned.over(past.references(rows[judged], usable[:, judged]), judged)
            paths = [group.keys[n].split("|", 2)[2] for n in judged.tolist()]
            found = compared(
                paths, group.axes, group.storage, group.x, sums[:, judged], held, floor[judged], explain=settings.emit
            )
            calm = ~(found.log10_p <= settings.adopt)
            adopted[judged] = calm
            _learn_error(past, rows[judged[calm]], found.excess[calm])
        learn = np.flatnonzero(adopted)
        whole = np.where(np.isfinite(total), total, 0.0)
        many = spans.astype(np.int64)
        marks = BlockMarks(group.run, category, first, group.lumisection, many, spans * seconds, whole)
        past.learn(rows[learn], sums[:, learn], BlockMarks(*[mark[learn] for mark in marks]))

        place_of = (
            {} if found is None else {n: at for at, n in enumerate(judged.tolist()) if not np.isnan(found.log10_p[at])}
        )
        for n in range(len(rows)):
            at = place_of.get(n)
            has = bool(sound[n]) and np.isfinite(entries[n])
            outcome = HistogramOutcome(
                int(group.run[n]),
                int(group.lumisection[n]),
                _state(bool(sound[n]), bool(full[n]), bool(ready[n]), bool(moved[n])) if at is None else "judged",
                float(entries[n]) if has else None,
                float(usual[n] * seconds) if known[n] else None,
                int(first[n]),
                superseded=int(group.superseded[n]),
            )
            if found is not None and at is not None:
                outcome = msgspec.structs.replace(outcome, exact=bool(floor[n] == 0.0), **found.of(at))
            yield outcome

    def _at(self, group: _Group) -> tuple[Histories, Ints, NDArray[np.bool_]]:
        """The histories of a group, the rows of its histograms, and which of these had other bins until now."""
        form = (group.axes, group.storage)
        past = self._histories.get(form)
        if past is None:
            past = self._histories[form] = Histories(group.sums.shape[2], group.sums.shape[0], SLOTS, BLOCK)
        moved = np.zeros(len(group.keys), dtype=bool)
        for n, key in enumerate(group.keys):
            before = self._where.get(key)
            if before == form:
                continue
            if before is not None:
                self.drop(key)
                moved[n] = True
            self._where[key] = form
        return past, past.rows_of(group.keys), moved

    def _start_over(self, past: Histories, rows: Ints, keys: Sequence[str], controls: Controls) -> None:
        """References that an operator declared old are forgotten: once for each version of the control."""
        if not controls.of_kind("reference"):
            return
        versions = {subject: version for _, subject, version in controls.versions(["reference"])}
        for row, key in zip(rows.tolist(), keys, strict=True):
            for subject in (key, self.scope(key)):
                version = versions.get(subject, 0)
                if version > past.fresh[row] and controls.value("reference", subject, {}).get("fresh"):
                    past.start_over(np.array([row]))
                    past.fresh[row] = version

    def drop(self, key: str) -> None:
        """Forgets a histogram and its references."""
        form = self._where.pop(key, None)
        if form is not None:
            self._histories[form].drop(key)
            if not len(self._histories[form]):
                del self._histories[form]
        self._published.drop(key)

    def state(self) -> Any:
        """Plain data: the histories as they are, in order of their bins, and the published references."""
        return [
            [[*form, past.size, past.planes, past.state()] for form, past in sorted(self._histories.items())],
            self._published.state(),
        ]

    def restore(self, state: Any) -> None:
        """The inverse of `state`, on a fresh reducer."""
        histories, published = state
        for axes, storage, size, planes, kept in histories:
            past = self._histories[axes, storage] = Histories(size, planes, SLOTS, BLOCK)
            past.restore(kept)
            self._where |= dict.fromkeys(past.row, (axes, storage))
        self._published.restore(published)


def _groups(closing: WindowRows[Histograms], places: Ints, superseded: Ints) -> Iterator[_Group]:
    """The histograms at these places (sorted by key and run), by what they have in common; a key once in each, the
    lower run first.
    """
    rows, payload = closing.rows, closing.rows.payload
    code = rows.key.code[places]
    begins = np.ones(len(code), dtype=bool)
    begins[1:] = code[1:] != code[:-1]
    turn = np.arange(len(code)) - np.maximum.accumulate(np.where(begins, np.arange(len(code)), 0))
    common = np.stack([turn, payload.axes.code[places], payload.storage[places], payload.cumulative[places]])
    _, group = np.unique(common, axis=1, return_inverse=True)
    for n in range(int(group.max(initial=-1)) + 1):
        here = np.flatnonzero(group.reshape(-1) == n)
        at = places[here]
        storage = STORAGES[int(payload.storage[at[0]])]
        values, variances = payload.values.take(at).table(), payload.variances.take(at).table()
        if values is None or variances is None:
            raise ValueError("expected histograms with equal axes to have as many values each")
        sums, sound = _planes(storage, values, variances)
        yield _Group(
            [rows.key.values[c] for c in rows.key.code[at].tolist()],
            payload.run[at].astype(np.int64),
            payload.lumisection[at].astype(np.int64),
            superseded[here],
            payload.axes.values[payload.axes.code[at[0]]],
            storage,
            int(payload.x[at[0]]),
            bool(payload.cumulative[at[0]]),
            payload.entries[at],
            sums,
            sound,
        )


def _planes(storage: Storage, values: Floats, variances: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """((planes, histograms, size) what can be added up, (histograms,) whether the contents can be judged).

    Means become weighted means and weights: 1 / variance, 0 in bins that say nothing.
    """
    if storage == "count":
        return values[None], np.asarray((np.isfinite(values) & (values >= 0)).all(axis=-1))
    if storage == "weighted":
        sound = np.isfinite(values) & np.isfinite(variances) & (variances >= 0)
        return np.stack([values, variances]), np.asarray(sound.all(axis=-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(np.isfinite(values) & (variances > 0), 1.0 / variances, 0.0)
    weight = np.where(np.isfinite(weight), weight, 0.0)
    sums = np.stack([np.where(weight > 0, weight * np.nan_to_num(values), 0.0), weight]).astype("<f4")
    return sums, np.asarray((weight > 0).any(axis=-1))


def _entries(group: _Group, sums: Floats) -> NDArray[np.float64]:
    """(histograms,) entries; of weights, how many of one weight would say as much; of means, what the source says."""
    if group.storage == "mean":
        return group.entries
    total: NDArray[np.float64] = sums[0].sum(axis=-1, dtype=np.float64)
    if group.storage == "count":
        return total
    variance = sums[1].sum(axis=-1, dtype=np.float64)
    return np.where(variance > 0, total**2 / np.maximum(variance, 1e-300), 0.0)


def _state(sound: bool, full: bool, ready: bool, moved: bool) -> str:
    """Why a histogram was not judged."""
    if not sound:
        return "content"
    if not full:
        return "empty"
    if not ready:
        return "waits"
    return "axes" if moved else "alone"


def _categories(run: Ints, controls: Controls) -> Ints:
    """(histograms,) the class of each run, by what the control `run` says of it: references are those of one class."""
    named = {}
    for one in set(run.tolist()):
        value: Mapping[str, Any] = controls.value("run", str(one), {})
        about = "|".join(str(value.get(name, "")) for name in ("run_type", "menu", "pileup"))
        named[one] = zlib.crc32(about.encode()) & 0x7FFFFFFF if value else 0
    return np.fromiter((named[one] for one in run.tolist()), np.int64, len(run))


def _banned(keys: Sequence[str], run: Ints, controls: Controls) -> NDArray[np.bool_]:
    """(slots, histograms) which runs their subsystem's control `reference` bans as references."""
    found = np.zeros(run.shape, dtype=bool)
    for scope, value in controls.of_kind("reference").items():
        if isinstance(value, dict) and value.get("ban"):
            here = np.fromiter((key.partition("|")[0] == scope for key in keys), np.bool_, len(keys))
            found |= here & np.isin(run, [int(one) for one in value["ban"]])
    return found


def _learn_error(past: Histories, rows: Ints, excess: NDArray[np.float64]) -> None:
    """Averages what bins scatter beyond statistics, over `MEMORY` lumisections."""
    there = np.isfinite(excess)
    rows, excess = rows[there], excess[there]
    past.learned[rows] += 1
    share = 1.0 / np.minimum(past.learned[rows], MEMORY)
    past.excess[rows] += share * (excess - past.excess[rows])
