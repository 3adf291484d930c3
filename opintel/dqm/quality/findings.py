"""The findings of stage 2 of DQM in words and tables: what a shifter reads of a subsystem's lumisection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from opintel.detector import Closing
from opintel.dqm.histograms import HistogramKey, Listing
from opintel.dqm.quality.certify import FLAGGED
from opintel.dqm.quality.occupancy import Predicted
from opintel.dqm.quality.tree import Folder, Leaf, TreeRules, most_telling, status_tree
from opintel.dqm.records import HistogramOutcome
from opintel.evidence import Evidence, Table, capped
from opintel.finding import Basis, Effect, Finding, Severity, finding_id

DETECTOR, VERSION = "dqm.quality", 3
LISTED = 50
"""Histograms that a finding about many of them names."""
MANY = 10
"""Empty, or missing, histograms of a subsystem in one lumisection from which on they are one finding."""
SPOKE = "Which test spoke"
"""Title of the table that says it, in one cell."""
TESTED = {
    "deviance": "all bins together: deviance",
    "pull": "the largest pull of a bin",
    "window": "neighbouring bins together",
    "shape": "the shape: cumulative distribution and Wasserstein distance",
}
"""Test of a comparison → in words."""
TREE = "States of folders"
"""Title of the table of a subsystem's `tree.Folder`s."""
UNCONFIRMED = "Not confirmed"
"""Title of the table of the histograms that have settled in a state that nobody accepted: columns histogram, kind, the
run and lumisection in which it began."""
PLACE = "Lumisection"
"""Title of the table in every finding that says where it belongs."""
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
UNJUDGED = {
    "conditions": "taken without stable beams or high voltage",
    "empty": "empty",
    "alone": "without references",
    "axes": "with new bins",
    "content": "with contents that are no counts",
}
"""State of an outcome → the reason in words."""


class JudgedLumisection(NamedTuple):
    """A run's lumisection, as far as a subsystem's records go."""

    closing: Closing
    run: int
    number: int
    outcomes: Mapping[str, HistogramOutcome]
    """By key of the histogram."""
    listings: Mapping[str, Listing]
    """By dataset."""


class BadHistogram(NamedTuple):
    """A histogram that is bad."""

    kind: str
    log10_p: float | None


def contents(here: JudgedLumisection, key: str, one: HistogramOutcome, p: float) -> Finding:
    together = f", with those since {one.since}" if one.since < here.number else ""
    place = f" {one.place}" if one.place else ""
    kind = one.kind or "changed"  # where stage 1 explains less than is emitted here
    text = f"{HistogramKey.of(key).path} is {WORDS[kind]}{place}{together}"
    basis: Basis = "exact" if one.exact else "extrapolated"
    blocks: list[Evidence] = [*one.evidence]
    if one.test:
        blocks.append(Table(SPOKE, ["test"], [[TESTED.get(one.test, "")]]))
    if one.log10_p is not None and p > one.log10_p:
        basis = "extrapolated"
        blocks.append(Table("Feedback", ["log10 p", "after operators' answers"], [[one.log10_p, p]]))
    return finding_of(here, kind, key, text, p, basis, one.effect, "standard deviations", blocks)


def dead_ones(
    here: JudgedLumisection, empty: Sequence[tuple[str, float, float]], expected: Predicted
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
        yield finding_of(here, "dead", "", text, p, "extrapolated", -total, "entries", (table,))
        return
    for key, p, mean in sorted(empty, key=lambda e: (e[1], e[0])):
        entries, path = here.outcomes[key].entries or 0.0, HistogramKey.of(key).path
        text = f"{path} is dead: {entries:.0f} entries, about {mean:.0f} expected {expected.why}"
        yield finding_of(here, "dead", key, text, p, "extrapolated", entries - mean, "entries")


def have_settled(here: JudgedLumisection, keys: Sequence[str]) -> Iterable[Finding]:
    """That these histograms stay as they are, from now on compared with themselves, and that nobody has accepted it."""
    settled = [(key, here.outcomes[key].settled) for key in keys]
    words = "compared with that from here on, and bad until an operator accepts it"
    if len(keys) >= MANY:
        text = f"{len(keys)} histograms have changed and stay as they are: {words}"
        rows: list[list[str | float | int | None]] = [
            [HistogramKey.of(key).path, one.kind, one.run, one.lumisection] for key, one in settled[:LISTED] if one
        ]
        table = Table(UNCONFIRMED, ["histogram", "kind", "since run", "lumisection"], rows)
        yield finding_of(here, "settled", "", text, None, "none", len(keys), "histograms", (table,), "info")
        return
    for key, one in settled:
        if one:
            text = f"{HistogramKey.of(key).path} is {WORDS[one.kind]} since run {one.run} lumisection {one.lumisection}"
            yield finding_of(
                here, "settled", key, f"{text} and stays so: {words}", None, "none", 1, "histograms", (), "info"
            )


def as_before(here: JudgedLumisection, over: Sequence[tuple[str, str]]) -> Iterable[Finding]:
    """That findings of a kind about histograms (key, kind) are over."""
    for key, kind in over:
        text = (
            f"{HistogramKey.of(key).path if key else here.closing.scope} is as its references, no longer {WORDS[kind]}"
        )
        yield finding_of(here, kind, key, text, None, "none", 0, "histograms", (), "info")


def absent(here: JudgedLumisection, missing: Sequence[str]) -> Iterable[Finding]:
    if len(missing) >= MANY:
        text = f"{len(missing)} histograms that the manifest lists did not come"
        rows: list[list[str | float | int | None]] = [[HistogramKey.of(key).path] for key in missing[:LISTED]]
        table = Table("Missing histograms", ["histogram"], rows)
        yield finding_of(here, "missing", "", text, None, "none", len(missing), "histograms", (table,))
        return
    for key in missing:
        text = f"{HistogramKey.of(key).path} did not come, though the manifest lists it"
        yield finding_of(here, "missing", key, text, None, "none", 1, "histograms")


def tripped(here: JudgedLumisection) -> Iterable[Finding]:
    if any(one.high_voltage is False and one.stable_beams is not False for one in here.listings.values()):
        text = f"the high voltage of {here.closing.scope} is off"
        yield finding_of(here, "tripped", "", text, None, "none", 1, "subsystems")


def unjudged(here: JudgedLumisection, why: Mapping[str, str], expected: Predicted) -> Finding:
    """That the reasons why histograms are not judged have changed; `why`: key → state."""
    reasons = sorted(set(why.values()))
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
    return finding_of(here, "insufficient", "", text, None, "none", len(why), "histograms", (table,), "info")


def state_of(here: JudgedLumisection, bad: Mapping[str, BadHistogram], expected: Predicted) -> Finding:
    """The state of the subsystem, with its tree of folders."""
    closing, settings = here.closing, here.closing.settings
    paths = {key: HistogramKey.of(key).path for key in (*here.outcomes, *bad)}
    judged = {key for key, one in here.outcomes.items() if one.state == "judged"}
    rules = TreeRules(settings.minor, settings.critical, settings.weights, settings.tolerated)
    tree = status_tree((Leaf(path, key in judged, key in bad) for key, path in paths.items()), rules)
    rows: list[list[str | float | int | None]] = [
        [paths[key], one.kind, one.log10_p, "yes" if paths[key] in tree.spoiling else "no"]
        for key, one in sorted(bad.items(), key=lambda item: (item[1].log10_p or -1e9, item[0]))[: 4 * LISTED]
    ]
    blocks = [
        Table(FLAGGED, ["histogram", "kind", "log10 p", "critical"], rows),
        Table(TREE, list(Folder._fields), [[*one] for one in most_telling(tree.folders, 4 * LISTED)]),
    ]
    settled = sorted((key, one.settled) for key, one in here.outcomes.items() if one.settled)
    counts = f"{len(judged)} of {len(here.outcomes)} judged, {len(bad)} bad"
    if settled:
        counts += f", {len(settled)} of them changed for good and not confirmed"
        changed: list[list[str | float | int | None]] = [
            [paths[key], one.kind, one.run, one.lumisection] for key, one in settled[: 4 * LISTED]
        ]
        blocks.append(Table(UNCONFIRMED, ["histogram", "kind", "since run", "lumisection"], changed))
    text = f"run {here.run} lumisection {here.number}: {tree.folders[0].status}, {counts}"
    subject = {"scope": closing.scope, "run": str(here.run), "lumisection": str(here.number)}
    share = 1.0 - len(bad) / max(1, len(paths))
    return Finding(
        id=finding_id(DETECTOR, VERSION, closing.model, subject, closing.window),
        detector=DETECTOR,
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


def finding_of(
    here: JudgedLumisection,
    kind: str,
    key: str,
    text: str,
    log10_p: float | None,
    basis: Basis,
    effect: float,
    unit: str,
    blocks: Sequence[Evidence] = (),
    severity: Severity = "warning",
) -> Finding:
    """A finding about a histogram, or (`key` empty) about the subsystem."""
    closing = here.closing
    subject = {"scope": closing.scope}
    dataset = ""
    if key:
        _, dataset, path = HistogramKey.of(key)
        subject |= {"dataset": dataset} if dataset else {}
        subject["histogram"] = path
    natural = f"{kind} {here.run} {closing.window.start} {closing.window.end}"
    place = Table(PLACE, ["run", "lumisection", "dataset"], [[here.run, here.number, dataset]])
    return Finding(
        id=finding_id(DETECTOR, VERSION, closing.model, subject, natural),
        detector=DETECTOR,
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


def key_of(finding: Finding) -> str:
    """The key of the histogram that a finding is about; empty for one about the subsystem."""
    subject = finding.subject
    if "histogram" not in subject:
        return ""
    return HistogramKey(subject["scope"], subject.get("dataset", ""), subject["histogram"]).text


def place_of(finding: Finding) -> dict[str, str]:
    """Run and lumisection of a finding, for people."""
    for block in finding.evidence:
        if isinstance(block, Table) and block.title == PLACE:
            run, number = block.rows[0][:2]
            return {"run": str(run), "lumisection": str(number)}
    subject = finding.subject
    return {name: subject[name] for name in ("run", "lumisection") if name in subject}
