"""The first day of a site: false incidents and faults found, from a cold start and with a baseline of an archive.

`python benchmarks/health_warm.py FOLDER [--seeds 1 2 3] [--past 72] [--hours 12]`: a fleet is simulated for `past`
hours without a fault and `hours` with one of each kind. What went before is archived and `opintel fit` learns of it;
then the hours with faults (and as many without) are replayed by a new site: cold; with a baseline that knows its series
(`own`); and with that of another fleet, whose hosts have other names (`metric`). Incidents are held against the truth
as by `opintel evaluate`.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from opintel.cli.evaluate import _rules
from opintel.cli.fit import learn
from opintel.cli.replay import replay
from opintel.health.simulate import FAULT_KINDS, HealthSimulator
from opintel.simulation import HOUR, Fault, write
from opintel.site.archiving import archivers
from opintel.site.load import load_site
from opintel.site.scores import StoryScore, score, table
from opintel.site.shipped import copy_shipped
from opintel.site.story import stories_for
from opintel.site.system import System, drain
from opintel.streams.feeds import file_feed

STARTS = ("cold", "own", "metric")


class Span:
    """The part of a simulation before or behind its first hours."""

    def __init__(self, whole: HealthSimulator, past: float, before: bool) -> None:
        cut = whole.start + int(past * HOUR)
        self._whole = whole
        self.start, self.end = (whole.start, cut) if before else (cut, whole.end)
        self.truth: Sequence[Fault] = () if before else whole.truth

    def messages(self) -> Iterator[tuple[int, bytes]]:
        for arrival, body in self._whole.messages():
            if self.start <= arrival < self.end:
                yield arrival, body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--past", type=float, default=72.0)
    parser.add_argument("--hours", type=float, default=12.0)
    options = parser.parse_args()
    scores: dict[str, list[StoryScore]] = {start: [] for start in STARTS}
    findings, clean = (dict.fromkeys(STARTS, 0) for _ in range(2))
    for seed in options.seeds:
        past = options.folder / f"seed{seed}"
        own = fitted(past / "own", seed, options.past, options.hours)
        metric = fitted(past / "metric", seed + 100, options.past, options.hours)
        for start, baseline in zip(STARTS, ({}, own, renamed(metric, past)), strict=True):
            told = story(past / start, seed, options, FAULT_KINDS, baseline)
            scores[start].append(told[0])
            quiet = story(past / f"{start}-clean", seed, options, (), baseline)
            findings[start] += quiet[1]
            clean[start] += quiet[0].incidents
    for start in STARTS:
        rows = table(scores[start])
        print(start, {kind: (row["found"], row["minutes_to_detect"]) for kind, row in rows["kinds"].items()})
        print(f"  false {rows['false_incidents']} in {rows['hours']:g} h; clean: {clean[start]} incidents,", end=" ")
        print(f"{findings[start]} findings; all: {rows['all']['found']}, {rows['all']['minutes_to_detect']} min")


def fitted(folder: Path, seed: int, past: float, hours: float) -> dict[str, Any]:
    """What `opintel fit` says of the archive of the first hours."""
    made = sorted((folder / "models").glob("*.json"))
    if made:  # by an earlier run that was stopped
        return {"sha256": made[0].stem, "folder": folder}
    shutil.rmtree(folder, ignore_errors=True)
    site = load_site()
    site = site._replace(settings=msgspec.structs.replace(site.settings, archive=str(folder / "archive")))
    write(folder / "in", Span(HealthSimulator(seed=seed, hours=past + hours, faults=()), past, before=True))
    system = System(folder / "data", site, replayed=True)
    watched = system.stream("health")
    feed = file_feed(lambda source: system.ingester(watched, source, live=False), [folder / "in/messages"], final=True)
    drain([system.sequencer(feed.ingester), feed])
    team = archivers(system, final=True)
    drain([make() for name, make in team.items() if name == f"archive {watched.stream.topic}"])
    system.close()
    return {**learn("health", str(folder / "archive"), str(folder / "models"), (None, None), None), "folder": folder}


def renamed(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The baseline without what it knows of series by name: what hosts of other names get of it."""
    data = (document["folder"] / "models" / document["sha256"]).read_bytes()
    plain = msgspec.msgpack.decode(data)
    plain["series"] = [f"elsewhere {name}" for name in plain["series"]]
    return place(msgspec.msgpack.encode(plain), folder / "renamed")


def place(data: bytes, folder: Path) -> dict[str, Any]:
    from hashlib import sha256

    name = sha256(data).hexdigest()
    (folder / "models").mkdir(parents=True, exist_ok=True)
    (folder / "models" / name).write_bytes(data)
    return {"sha256": name, "folder": folder}


def story(
    folder: Path, seed: int, options: argparse.Namespace, faults: Sequence[str], baseline: dict[str, Any]
) -> tuple[StoryScore, int]:
    """The score of the hours with faults, and how many findings there were."""
    if (folder / "said.json").exists():
        incidents, findings = msgspec.json.decode((folder / "said.json").read_bytes())
        return scored(folder, incidents, options.hours), findings
    shutil.rmtree(folder, ignore_errors=True)
    copy_shipped(folder / "etc")
    if baseline:
        shutil.copytree(baseline["folder"] / "models", folder / "etc" / "models", dirs_exist_ok=True)
        with (folder / "etc" / "streams" / "health.yaml").open("a") as file:
            file.write(f"\nmodels: {{health.baseline: {baseline['sha256']}}}\n")
    hours = options.past + options.hours
    whole = HealthSimulator(seed=seed, hours=hours, faults=faults, quiet_hours=options.past)
    write(folder / "story", Span(whole, options.past, before=False))
    said = replay("health", (folder / "story",), folder / "data", folder / "etc", 64, warn=print)
    incidents, findings = said["incidents"], len(said["findings"])
    (folder / "said.json").write_bytes(msgspec.json.encode([incidents, findings]))
    return scored(folder, incidents, options.hours), findings


def scored(folder: Path, incidents: list[dict[str, Any]], hours: float) -> StoryScore:
    """Incidents held against the truth."""
    site, truth = load_site(), msgspec.json.decode((folder / "story" / "truth.json").read_bytes())
    return score("health", truth, incidents, hours, _rules(site, "health", stories_for(site, "health")))


if __name__ == "__main__":
    main()
