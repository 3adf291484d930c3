"""Stage 2 of DQM: a subsystem in one lumisection, from what stage 1 says of its histograms and what its manifest lists.

Findings are facts: each histogram that is as surprising as the emission level, each that is empty though entries were
expected, each that the manifest lists and is not there. Whether they alarm, and how many lumisections it takes, is for
the alert service to say. One finding a lumisection, of severity info, says what state the subsystem is in: it is what
certification and the status tree are made of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from opintel.detector import QUARANTINED, Closing, Emit, Judge, Most
from opintel.dqm.histograms import HistogramKey, Listing
from opintel.dqm.quality.certify import NEAR
from opintel.dqm.quality.changes_open import CONTENTS, OpenChanges
from opintel.dqm.quality.feedback import FEEDBACK, FalseAlarms, feedback_decades, less_surprising
from opintel.dqm.quality.findings import (
    DETECTOR,
    UNJUDGED,
    VERSION,
    BadHistogram,
    JudgedLumisection,
    absent,
    as_before,
    contents,
    dead_ones,
    have_settled,
    key_of,
    state_of,
    tripped,
    unjudged,
)
from opintel.dqm.quality.occupancy import LuminosityMemory, Predicted, log10_sparse, predicted
from opintel.dqm.quality.status import flagged
from opintel.dqm.records import HistogramOutcome, ManifestListed, ReferencePublished
from opintel.dqm.rolling.reducer import FEWEST, TEST
from opintel.dqm.rolling.reference_controls import NOTHING_SAID, reference_controls
from opintel.finding import NS, Finding, digest

SET_KEPT = 2
RUNS_KEPT = 2
DATASETS = 100
"""Whose last paths are kept."""


class DqmJudgeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of `DqmJudge`."""

    emit: Emit = -4.0
    """Findings with log10 p at most this are emitted."""
    fdr: Annotated[float, msgspec.Meta(gt=0, le=0.5)] = 0.01
    """False discovery rate at which histograms count as bad in the state of their subsystem."""
    predicted: Annotated[float, msgspec.Meta(ge=1, le=1e6)] = 20.0
    """Entries that must have been expected before an empty histogram is dead."""
    spread: Annotated[float, msgspec.Meta(ge=0.01, le=2)] = 0.2
    """Relative error of that expectation."""
    minor: list[str] = []
    """Patterns of paths (`*/Errors/*`) of histograms that do not spoil a lumisection."""
    critical: list[str] = []
    """Patterns of paths of histograms and folders that spoil all folders above them, whatever is tolerated."""
    weights: dict[str, float] = {}
    """Pattern of paths of histograms and folders → how much they weigh among the children of their folder; 1 where none
    matches."""
    tolerated: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    """Share of the weight of a folder's children that may be bad before the folder is."""
    at_once: Emit = -12.0
    """A histogram whose log10 p is at most this makes a finding at once; else it takes two of three lumisections."""
    max_findings: Most = 200
    """At most so many about single histograms a lumisection, the most surprising first, and as many that are over."""


class DqmJudge(Judge):
    """Findings about histograms (kinds `missing`, `dead`, `hot`, `noisy`, `low`, `high`, `shifted` and `changed`) and
    about the subsystem (`tripped`, `insufficient` and `quality`); `settled` says of histograms that a change stays.

    >>> from opintel.detector import Controls, Record
    >>> from opintel.finding import Window
    >>> window, listed = Window(0, 23 * 10**9), ManifestListed(7, 1, Listing(paths=["energy"]))
    >>> records = [Record(window, "listed", "7|calo||*", "calo", listed)]
    >>> closing = Closing(window, "calo", records, Controls(), DqmJudgeSettings(), "", complete=True)
    >>> [(finding.kind, finding.summary) for finding in DqmJudge().judge(closing)][0]
    ('missing', 'run 7 lumisection 1: energy did not come, though the manifest lists it')
    """

    name, version = DETECTOR, VERSION
    controls: tuple[str, ...] = ("reference", "run", FEEDBACK)
    Settings = DqmJudgeSettings

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        self._sets: dict[str, dict[str, int]] = {}
        """Set of references → key → checksum, in order of publication."""
        self._luminosity = LuminosityMemory()
        self._insufficient: dict[int, list[str]] = {}
        """Run → reasons why histograms were not judged, when that was last said; of the last runs."""
        self._judged_so_far = 0
        """Lumisections."""
        self._strange: dict[str, int] = {}
        """Histogram → the last of these in which it was as surprising as the emission level."""
        self._seen: dict[str, list[str]] = {}
        """Dataset → paths of its last lumisection that came with a manifest of a number alone."""
        self._open = OpenChanges()
        self._false_alarms = FalseAlarms()

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of one lumisection; several runs may have one at the same time."""
        outcomes: dict[int, dict[str, HistogramOutcome]] = {}
        listings: dict[int, dict[str, Listing]] = {}
        numbers: dict[int, int] = {}
        held: set[str] = set()
        for record in closing.records:
            said = record.payload
            if isinstance(said, ReferencePublished):
                self._published(said, record.key.partition("|")[2])
            elif record.kind == QUARANTINED:
                held.add(record.key)
            elif isinstance(said, HistogramOutcome):
                outcomes.setdefault(said.run, {})[record.key.partition("|")[2]] = said
                numbers[said.run] = said.lumisection
            elif isinstance(said, ManifestListed):
                dataset = HistogramKey.of(record.key.partition("|")[2]).dataset
                listings.setdefault(said.run, {})[dataset] = said.listing
                numbers.setdefault(said.run, said.lumisection)
        self.tests = tests_by_kind(closing.tested.get(TEST, 0))
        findings: list[Finding] = []
        for run in sorted(numbers):
            of_run = self._with_references(closing, outcomes.get(run, {}))
            findings += self._judged(JudgedLumisection(closing, run, numbers[run], of_run, listings.get(run, {})), held)
        return findings

    def _judged(self, here: JudgedLumisection, held: set[str]) -> list[Finding]:
        settings = here.closing.settings
        expected = self._expected(here)
        if expected.scale is None and expected.why in NO_DATA:
            here = here._replace(outcomes=_not_judged(here.outcomes))
        bad: dict[str, BadHistogram] = {}
        found: list[Finding] = []
        decades = feedback_decades(here.closing.controls)
        its = {key: of for key, of in decades.items() if key.partition("|")[0] == here.closing.scope}
        self._false_alarms.hear(its, here.run, here.number)
        here = here._replace(outcomes=self._as_answered(here.outcomes))
        tested = {key: one.log10_p for key, one in here.outcomes.items() if one.log10_p is not None}
        for key in decades.keys() & tested.keys():
            tested[key] = less_surprising(tested[key], key, decades)
        for key in flagged(tested, settings.fdr):
            bad[key] = BadHistogram(here.outcomes[key].kind or "changed", tested[key])
        empty, silent = self._empty(here, expected)
        dead = {key for key, *_ in empty}  # what waited and was judged now may be empty now: one finding
        strange = sorted((p, key) for key, p in tested.items() if p <= settings.emit and key not in dead)
        again = [(p, key) for p, key in strange if p <= settings.at_once or key in self._strange]
        for p, key in again[: settings.max_findings]:
            found.append(contents(here, key, here.outcomes[key], p))
        self._remember([key for _, key in strange])

        bad |= {key: BadHistogram(one.settled.kind, None) for key, one in here.outcomes.items() if one.settled}
        bad |= {key: BadHistogram("dead", p) for key, p, _ in empty}
        found += dead_ones(here, empty, expected)
        found += self._changes(here, found, {*dead, *(key for _, key in strange)}, expected)
        missing = [key for key in self._missing(here) if key not in held]
        bad |= {key: BadHistogram("missing", None) for key in missing}
        found += absent(here, missing)
        found += tripped(here)
        found += self._unjudged(here, silent, expected)
        return [*found, state_of(here, bad, expected)]

    # what was expected

    def _expected(self, here: JudgedLumisection) -> Predicted:
        """By how much entries should differ from those of the references."""
        seconds = (here.closing.window.end - here.closing.window.start) / NS
        known = [one for one in here.outcomes.values() if one.entries is not None and one.usual]
        listings = list(here.listings.values())
        reason = ""
        if any(listing.stable_beams is False for listing in listings):
            reason = NO_DATA[0]
        elif any(listing.high_voltage is False for listing in listings):
            reason = NO_DATA[1]
        rates = [one.luminosity / seconds for one in listings if one.luminosity is not None]
        share = self._luminosity.share(rates[0]) if rates else None
        entries = np.array([one.entries for one in known if one.usual >= FEWEST], dtype=np.float64)  # type: ignore[operator]
        usual = np.array([one.usual for one in known if one.usual >= FEWEST], dtype=np.float64)  # type: ignore[operator]
        if rates and len(entries) and float(np.median(entries / usual)) > 0 and not reason:
            self._luminosity.learn(rates[0])
        return predicted(entries, usual, share, reason)

    def _empty(self, here: JudgedLumisection, expected: Predicted) -> tuple[list[tuple[str, float, float]], list[str]]:
        """(key, log10 p, entries predicted) of each histogram that is empty though it should not be; keys of those that
        are empty and nothing follows from it.
        """
        settings = here.closing.settings
        dead, silent = [], []
        for key, one in here.outcomes.items():
            sparse = one.entries is not None and one.entries < FEWEST
            mean = one.usual * expected.scale if one.usual is not None and expected.scale is not None else 0.0
            if mean >= settings.predicted:
                self.tests["dead"] += 1
            if not sparse:
                continue
            p = log10_sparse(one.entries or 0.0, mean, settings.spread) if mean >= settings.predicted else 0.0
            if p <= settings.emit:
                dead.append((key, p, mean))
            elif one.state == "empty":
                silent.append(key)
        return dead, silent

    def _missing(self, here: JudgedLumisection) -> list[str]:
        """Keys of the histograms that manifests list and that did not come."""
        found = []
        for dataset, listing in sorted(here.listings.items()):
            have = {k.path for k in map(HistogramKey.of, here.outcomes) if k.dataset == dataset}
            paths = listing.paths
            if paths is None and listing.histograms is not None:
                paths = self._seen.get(dataset, []) if len(have) < listing.histograms else []
                if len(have) >= listing.histograms:
                    self._seen.pop(dataset, None)
                    self._seen[dataset] = sorted(have)
                    for old in list(self._seen)[:-DATASETS]:
                        del self._seen[old]
            found += [HistogramKey(here.closing.scope, dataset, path).text for path in paths or () if path not in have]
        return found

    def _as_answered(self, outcomes: Mapping[str, HistogramOutcome]) -> Mapping[str, HistogramOutcome]:
        """The same where what has settled and was called a false alarm is accepted."""
        accepted = [
            key
            for key, one in outcomes.items()
            if one.settled and self._false_alarms.covers(key, one.settled.run, one.settled.lumisection)
        ]
        return {**outcomes, **{key: msgspec.structs.replace(outcomes[key], settled=None) for key in accepted}}

    def _remember(self, strange: Sequence[str]) -> None:
        """Two of three: what was strange in one of the last two lumisections is so again now."""
        self._judged_so_far += 1
        kept = {key: at for key, at in self._strange.items() if self._judged_so_far - at < NEAR}
        self._strange = kept | dict.fromkeys(strange, self._judged_so_far)

    def _changes(
        self, here: JudgedLumisection, found: Sequence[Finding], odd: Collection[str], expected: Predicted
    ) -> Iterable[Finding]:
        """What of the changes so far has settled or is over; `odd`: the histograms that are not calm."""
        for finding in found:
            self._open.found(key_of(finding), finding.kind)
        yield from have_settled(here, self._open.settled(here.outcomes))
        calm = [k for k, one in here.outcomes.items() if one.state == "judged" and not one.settled and k not in odd]
        if expected.scale is not None and all(key_of(finding) for finding in found):
            calm.append("")
        yield from as_before(here, self._open.over(calm, here.closing.settings.max_findings))

    def _unjudged(self, here: JudgedLumisection, silent: Sequence[str], expected: Predicted) -> Iterable[Finding]:
        """One finding when the reasons why histograms are not judged change, from the run before or within the run."""
        why = dict.fromkeys(silent, "empty")
        why |= {key: one.state for key, one in here.outcomes.items() if one.state in UNJUDGED and one.state != "empty"}
        reasons = sorted(set(why.values()))
        before = self._insufficient.pop(here.run, None)
        if before is None:
            before = next(reversed(self._insufficient.values()), [])
        self._insufficient[here.run] = reasons
        for old in list(self._insufficient)[:-RUNS_KEPT]:
            del self._insufficient[old]
        if reasons != before:
            yield unjudged(here, why, expected)

    # references

    def _published(self, said: ReferencePublished, key: str) -> None:
        self._sets.setdefault(said.set, {})[key] = said.checksum
        for old in list(self._sets)[:-SET_KEPT]:
            del self._sets[old]

    def _with_references(
        self, closing: Closing, outcomes: Mapping[str, HistogramOutcome]
    ) -> Mapping[str, HistogramOutcome]:
        """The outcomes; where the set of references that is pinned has not come whole, nothing was judged."""
        pinned = reference_controls(closing.controls).get(closing.scope, NOTHING_SAID)
        if not pinned.set:
            return outcomes
        have = self._sets.get(pinned.set, {})
        if len(have) == pinned.n and set_hash(have.items()) == pinned.hash:
            return outcomes
        return {
            key: msgspec.structs.replace(one, state="alone", log10_p=None) if one.state == "judged" else one
            for key, one in outcomes.items()
        }

    def state(self) -> Any:
        """Plain values."""
        sets = [[name, sorted(have.items())] for name, have in self._sets.items()]
        strange = [self._judged_so_far, sorted(self._strange.items())]
        unjudged = [[run, list(reasons)] for run, reasons in self._insufficient.items()]
        return [
            sets,
            self._luminosity.state(),
            unjudged,
            list(self._seen.items()),
            strange,
            self._open.state(),
            self._false_alarms.state(),
        ]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        sets, luminosity, insufficient, seen, (self._judged_so_far, strange), changes, false_alarms = state
        self._open.restore(changes)
        self._false_alarms.restore(false_alarms)
        self._strange = dict(strange)
        self._sets = {name: dict(have) for name, have in sets}
        self._luminosity = LuminosityMemory(luminosity)
        self._insufficient = {run: list(reasons) for run, reasons in insufficient}
        self._seen = {dataset: list(paths) for dataset, paths in seen}


NO_DATA = ("no stable beams", "the high voltage is off")
"""Why nothing can be expected of a lumisection."""


def _not_judged(outcomes: Mapping[str, HistogramOutcome]) -> dict[str, HistogramOutcome]:
    """The same where conditions are such that nothing follows from what was judged."""
    return {
        key: msgspec.structs.replace(
            one, state="conditions" if one.state == "judged" else one.state, log10_p=None, settled=None
        )
        for key, one in outcomes.items()
    }


def tests_by_kind(histograms: int) -> dict[str, int]:
    """Kind → tests: what is judged of a histogram is one test, whatever kind of finding it may become. Each kind has at
    least one: an alert of a kind that was not tested never ends.

    >>> tests_by_kind(16)["hot"], sum(tests_by_kind(16).values())
    (2, 16)
    """
    share = max(1, histograms // len(CONTENTS)) if histograms else 0
    return dict.fromkeys(CONTENTS, share) | {"changed": max(share, histograms - share * (len(CONTENTS) - 1))}


def set_hash(checksums: Iterable[tuple[str, int]]) -> str:
    """What the control `reference` says of all references of a set: (key, checksum) of each."""
    return digest(sorted(checksums))[:16]
