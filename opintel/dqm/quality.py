"""Stage 2 of DQM: a subsystem in one lumisection, from what stage 1 says of its histograms and what its manifest lists.

Findings are facts: each histogram that is as surprising as the emission level, each that is empty though entries were
expected, each that the manifest lists and is not there. Whether they alarm, and how many lumisections it takes, is for
the alert service to say. One finding a lumisection, of severity info, says what state the subsystem is in: it is what
certification and the status tree are made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from opintel.detector import QUARANTINED, Closing, Emit, Judge, Most
from opintel.dqm.certify import FLAGGED, NEAR
from opintel.dqm.histograms import HistogramKey, Listing
from opintel.dqm.occupancy import LuminosityMemory, Predicted, log10_sparse, predicted
from opintel.dqm.records import HistogramOutcome, ManifestListed, ReferencePublished
from opintel.dqm.reducer import FEWEST, TEST
from opintel.dqm.reference_controls import NOTHING_SAID, reference_controls
from opintel.dqm.status import flagged, folder_of, is_minor, status_of
from opintel.evidence import Evidence, Table, capped
from opintel.finding import NS, Basis, Effect, Finding, Severity, digest, finding_id

LISTED = 50
"""Histograms that a finding about many of them names."""
MANY = 10
"""Empty, or missing, histograms of a subsystem in one lumisection from which on they are one finding."""
PLACE = "Lumisection"
"""Title of the table in every finding that says where it belongs."""
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
    at_once: Emit = -12.0
    """A histogram whose log10 p is at most this is a warning at once; else it takes two of three lumisections."""
    max_findings: Most = 200
    """At most so many about single histograms a lumisection, the most surprising first."""


class _Lumisection(NamedTuple):
    """A run's lumisection, as far as a subsystem's records go."""

    closing: Closing
    run: int
    number: int
    outcomes: Mapping[str, HistogramOutcome]
    """By key of the histogram."""
    listings: Mapping[str, Listing]
    """By dataset."""


class _Bad(NamedTuple):
    """A histogram that is bad."""

    kind: str
    log10_p: float | None


class DqmJudge(Judge):
    """Findings about histograms (kinds `missing`, `dead`, `hot`, `noisy`, `low`, `high`, `shifted` and `changed`) and
    about the subsystem (`tripped`, `insufficient` and `quality`).

    >>> from opintel.detector import Controls, Record
    >>> from opintel.finding import Window
    >>> window, listed = Window(0, 23 * 10**9), ManifestListed(7, 1, Listing(paths=["energy"]))
    >>> records = [Record(window, "listed", "7|calo||*", "calo", listed)]
    >>> closing = Closing(window, "calo", records, Controls(), DqmJudgeSettings(), "", complete=True)
    >>> [(finding.kind, finding.summary) for finding in DqmJudge().judge(closing)][0]
    ('missing', 'run 7 lumisection 1: energy did not come, though the manifest lists it')
    """

    name = "dqm.quality"
    version = 1
    controls: tuple[str, ...] = ("reference", "run")
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
        self.tests = {"changed": closing.tested.get(TEST, 0), "dead": 0}
        findings: list[Finding] = []
        for run in sorted(numbers):
            of_run = self._with_references(closing, outcomes.get(run, {}))
            findings += self._judged(_Lumisection(closing, run, numbers[run], of_run, listings.get(run, {})), held)
        return findings

    def _judged(self, here: _Lumisection, held: set[str]) -> list[Finding]:
        settings = here.closing.settings
        expected = self._expected(here)
        if expected.scale is None and expected.why in NO_DATA:
            here = here._replace(outcomes=_not_judged(here.outcomes))
        bad: dict[str, _Bad] = {}
        found: list[Finding] = []
        tested: dict[str, float] = {}
        for key, one in here.outcomes.items():
            if one.log10_p is not None:
                tested[key] = one.log10_p
        for key in flagged(tested, settings.fdr):
            bad[key] = _Bad(here.outcomes[key].kind or "changed", tested[key])
        empty, silent = self._empty(here, expected)
        dead = {key for key, *_ in empty}  # what waited and was judged now may be empty now: one finding
        strange = sorted((p, key) for key, p in tested.items() if p <= settings.emit and key not in dead)
        for p, key in strange[: settings.max_findings]:
            found.append(self._contents(here, key, here.outcomes[key], p))
        self._remember([key for _, key in strange])

        bad |= {key: _Bad("dead", p) for key, p, _ in empty}
        found += self._dead(here, empty, expected)
        missing = [key for key in self._missing(here) if key not in held]
        bad |= {key: _Bad("missing", None) for key in missing}
        found += self._absent(here, missing)
        found += self._tripped(here)
        found += self._unjudged(here, silent, expected)
        return [*found, self._quality(here, bad, expected)]

    # what was expected

    def _expected(self, here: _Lumisection) -> Predicted:
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

    def _empty(self, here: _Lumisection, expected: Predicted) -> tuple[list[tuple[str, float, float]], list[str]]:
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

    def _missing(self, here: _Lumisection) -> list[str]:
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

    # findings

    def _contents(self, here: _Lumisection, key: str, one: HistogramOutcome, p: float) -> Finding:
        together = f", with those since {one.since}" if one.since < here.number else ""
        place = f" {one.place}" if one.place else ""
        kind = one.kind or "changed"  # where stage 1 explains less than is emitted here
        text = f"{HistogramKey.of(key).path} is {WORDS[kind]}{place}{together}"
        basis: Basis = "exact" if one.exact else "extrapolated"
        finding = self._finding(here, kind, key, text, p, basis, one.effect, "standard deviations", one.evidence)
        again = p <= here.closing.settings.at_once or key in self._strange
        return finding if again else msgspec.structs.replace(finding, severity="info")

    def _remember(self, strange: Sequence[str]) -> None:
        """Two of three: what was strange in one of the last two lumisections is so again now."""
        self._judged_so_far += 1
        kept = {key: at for key, at in self._strange.items() if self._judged_so_far - at < NEAR}
        self._strange = kept | dict.fromkeys(strange, self._judged_so_far)

    def _dead(
        self, here: _Lumisection, empty: Sequence[tuple[str, float, float]], expected: Predicted
    ) -> Iterable[Finding]:
        if len(empty) >= MANY:
            p = min(p for _, p, _ in empty)
            of = f"{len(empty)} of {len(here.outcomes)}"
            text = f"{of} histograms are empty, though entries were expected {expected.why}"
            rows: list[list[str | float | int | None]] = [
                [HistogramKey.of(key).path, round(mean, 1)] for key, _, mean in empty[:LISTED]
            ]
            table = Table("Empty histograms", ["histogram", "entries expected"], rows)
            total = sum(mean for _, _, mean in empty)
            yield self._finding(here, "dead", "", text, p, "extrapolated", -total, "entries", (table,))
            return
        for key, p, mean in sorted(empty, key=lambda e: (e[1], e[0])):
            entries, path = here.outcomes[key].entries or 0.0, HistogramKey.of(key).path
            text = f"{path} is dead: {entries:.0f} entries, about {mean:.0f} expected {expected.why}"
            yield self._finding(here, "dead", key, text, p, "extrapolated", entries - mean, "entries")

    def _absent(self, here: _Lumisection, missing: Sequence[str]) -> Iterable[Finding]:
        if len(missing) >= MANY:
            text = f"{len(missing)} histograms that the manifest lists did not come"
            rows: list[list[str | float | int | None]] = [[HistogramKey.of(key).path] for key in missing[:LISTED]]
            table = Table("Missing histograms", ["histogram"], rows)
            yield self._finding(here, "missing", "", text, None, "none", len(missing), "histograms", (table,))
            return
        for key in missing:
            text = f"{HistogramKey.of(key).path} did not come, though the manifest lists it"
            yield self._finding(here, "missing", key, text, None, "none", 1, "histograms")

    def _tripped(self, here: _Lumisection) -> Iterable[Finding]:
        if any(one.high_voltage is False and one.stable_beams is not False for one in here.listings.values()):
            text = f"the high voltage of {here.closing.scope} is off"
            yield self._finding(here, "tripped", "", text, None, "none", 1, "subsystems")

    def _unjudged(self, here: _Lumisection, silent: Sequence[str], expected: Predicted) -> Iterable[Finding]:
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
        if reasons == before:
            return
        counts = ", ".join(f"{list(why.values()).count(r)} {UNJUDGED[r]}" for r in reasons)
        text = f"{len(why)} of {len(here.outcomes)} histograms cannot be judged: {counts}"
        if not reasons:
            text = "every histogram that has entries enough is judged again"
        if "empty" in reasons:
            text += f" ({expected.why})" if expected.scale is None else ""
        rows: list[list[str | float | int | None]] = [
            [HistogramKey.of(key).path, UNJUDGED[reason]] for key, reason in sorted(why.items())[:LISTED]
        ]
        table = Table("Not judged", ["histogram", "why"], rows)
        yield self._finding(here, "insufficient", "", text, None, "none", len(why), "histograms", (table,))

    def _quality(self, here: _Lumisection, bad: Mapping[str, _Bad], expected: Predicted) -> Finding:
        """The state of the subsystem, with its tree of folders."""
        closing, minor = here.closing, here.closing.settings.minor
        paths = {key: HistogramKey.of(key).path for key in (*here.outcomes, *bad)}
        judged = sum(one.state == "judged" for one in here.outcomes.values())
        status = status_of(judged, [paths[key] for key in bad], minor)
        rows: list[list[str | float | int | None]] = [
            [paths[key], one.kind, one.log10_p, "no" if is_minor(paths[key], minor) else "yes"]
            for key, one in sorted(bad.items(), key=lambda item: (item[1].log10_p or -1e9, item[0]))[: 4 * LISTED]
        ]
        folders: dict[str, list[int]] = {}
        for key, path in paths.items():
            folder = folders.setdefault(folder_of(path), [0, 0, 0])
            folder[0] += 1
            folder[1] += key in here.outcomes and here.outcomes[key].state == "judged"
            folder[2] += key in bad
        tree: list[list[str | float | int | None]] = [[name, *numbers] for name, numbers in sorted(folders.items())]
        blocks = [
            Table(FLAGGED, ["histogram", "kind", "log10 p", "critical"], rows),
            Table("Status tree", ["folder", "histograms", "judged", "bad"], tree[: 4 * LISTED]),
        ]
        counts = f"{judged} of {len(here.outcomes)} judged, {len(bad)} bad"
        text = f"run {here.run} lumisection {here.number}: {status}, {counts}"
        subject = {"scope": closing.scope, "run": str(here.run), "lumisection": str(here.number)}
        share = 1.0 - len(bad) / max(1, len(paths))
        return Finding(
            id=finding_id(self.name, self.version, closing.model, subject, closing.window),
            detector=self.name,
            kind="quality",
            subject=subject,
            window=closing.window,
            log10_p=None,
            basis="none",
            effect=Effect(share, "share of histograms that are not bad"),
            severity="info",
            summary=text,
            evidence=capped(blocks),
            model=closing.model,
        )

    def _finding(
        self,
        here: _Lumisection,
        kind: str,
        key: str,
        text: str,
        log10_p: float | None,
        basis: Basis,
        effect: float,
        unit: str,
        blocks: Sequence[Evidence] = (),
    ) -> Finding:
        """A finding about a histogram, or (`key` empty) about the subsystem."""
        closing = here.closing
        subject = {"scope": closing.scope}
        dataset = ""
        if key:
            _, dataset, path = HistogramKey.of(key)
            subject |= {"dataset": dataset} if dataset else {}
            subject["histogram"] = path
        severity: Severity = "info" if kind == "insufficient" else "warning"
        natural = f"{kind} {here.run} {closing.window.start} {closing.window.end}"
        place = Table(PLACE, ["run", "lumisection", "dataset"], [[here.run, here.number, dataset]])
        return Finding(
            id=finding_id(self.name, self.version, closing.model, subject, natural),
            detector=self.name,
            kind=kind,
            subject=subject,
            window=closing.window,
            log10_p=log10_p,
            basis=basis,
            effect=Effect(float(effect), unit),
            severity=severity,
            summary=f"run {here.run} lumisection {here.number}: {' '.join(text.split())}"[:400],
            evidence=capped([*blocks, place]),
            model=closing.model,
        )

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
        return [sets, self._luminosity.state(), unjudged, list(self._seen.items()), strange]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        sets, luminosity, insufficient, seen, (self._judged_so_far, strange) = state
        self._strange = dict(strange)
        self._sets = {name: dict(have) for name, have in sets}
        self._luminosity = LuminosityMemory(luminosity)
        self._insufficient = {run: list(reasons) for run, reasons in insufficient}
        self._seen = {dataset: list(paths) for dataset, paths in seen}


WORDS = {
    "dead": "dead",
    "hot": "hot",
    "noisy": "noisy",
    "low": "low",
    "high": "high",
    "shifted": "shifted",
    "changed": "not as its references",
}
"""Kind of finding → what a histogram is."""
NO_DATA = ("no stable beams", "the high voltage is off")
"""Why nothing can be expected of a lumisection."""
UNJUDGED = {
    "conditions": "taken without stable beams or high voltage",
    "empty": "empty",
    "alone": "without references",
    "axes": "with new bins",
    "content": "with contents that are no counts",
}
"""State of an outcome → the reason in words."""


def _not_judged(outcomes: Mapping[str, HistogramOutcome]) -> dict[str, HistogramOutcome]:
    """The same where conditions are such that nothing follows from what was judged."""
    return {
        key: msgspec.structs.replace(one, state="conditions", log10_p=None) if one.state == "judged" else one
        for key, one in outcomes.items()
    }


def set_hash(checksums: Iterable[tuple[str, int]]) -> str:
    """What the control `reference` says of all references of a set: (key, checksum) of each."""
    return digest(sorted(checksums))[:16]


def place_of(finding: Finding) -> dict[str, str]:
    """Run and lumisection of a finding, for people."""
    for block in finding.evidence:
        if isinstance(block, Table) and block.title == PLACE:
            run, number, _ = block.rows[0]
            return {"run": str(run), "lumisection": str(number)}
    subject = finding.subject
    return {name: subject[name] for name in ("run", "lumisection") if name in subject}
