"""What `opintel evaluate gw` says, of a pipeline whose answers are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from opintel.cli import invoke
from opintel.detector import Record
from opintel.finding import NS, Window, rfc3339
from opintel.gw.gps import utc_from_gps
from opintel.gw.records import ChannelWindow, TriggerSaid
from opintel.gw.segments import duration
from opintel.gw.simulated.evaluate import INJECTIONS, figures, heard
from opintel.gw.simulated.model import SMALL, STRAIN
from opintel.gw.simulated.simulate import STORIES, GwSimulator
from opintel.simulation import Played, Simulation

MICROPHONE = "L1:PEM-EY_MIC_VEA_MINUSX_DQ"


def said(time: int, snr: float) -> TriggerSaid:
    return TriggerSaid(time, time, time, 100.0, 90.0, 110.0, 8.0, snr)


def played(
    simulation: GwSimulator,
    *,
    louder: float = 1.0,
    late: float = 0.0,
    more: Sequence[tuple[str, int, float]] = (),
    hears: Callable[[str], bool] = lambda kind: True,
    rounds: Sequence[tuple[str, int, float]] = (),
) -> Played:
    """A pipeline that hears each glitch of some kinds in the strain, this much louder and later (s), and `more`
    triggers (channel, ns UTC, SNR); its `rounds` are (witness, ns UTC, log10 p).
    """
    triggers: dict[str, list[TriggerSaid]] = {f"L1:{STRAIN}": [], MICROPHONE: []}
    for one in simulation.glitches["L1"]:
        if one.kind != "innocent" and hears(one.kind):
            triggers[f"L1:{STRAIN}"].append(said(utc_from_gps(one.time) + int(late * NS), louder * one.snr))
    for channel, time, snr in more:
        triggers[channel].append(said(time, snr))
    live = [tuple(utc_from_gps(t * NS) for t in stretch) for stretch in simulation.science["L1"]]
    window = Window(0, 2 * NS)
    records = [
        Record(window, "channel", name, "L1", ChannelWindow("good", 1024.0, STRAIN in name, live, those))  # type: ignore[arg-type]
        for name, those in triggers.items()
    ]
    subjects = [{"scope": "L1", "witness": witness} for witness, _, _ in rounds]
    findings: list[dict[str, Any]] = [
        {"kind": "witness", "subject": subject, "window": {"end": rfc3339(at)}, "log10_p": p}
        for subject, (_, at, p) in zip(subjects, rounds, strict=True)
    ]
    return Played(simulation, records, findings)


def again(simulation: Simulation) -> Played:
    assert isinstance(simulation, GwSimulator)
    return played(simulation, more=[(f"L1:{STRAIN}", utc_from_gps(i.time), 9.0) for i in simulation.injections["L1"]])


@pytest.fixture(scope="module")
def story() -> GwSimulator:
    return GwSimulator(seed=3, hours=1.5, faults=("glitchy-channel", "glitch-rate"))


def rows(title: str, tables: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return next(those for name, those in tables.items() if name.startswith(title))


def test_a_glitch_is_found_with_its_errors(story: GwSimulator) -> None:
    found = rows("Strain", figures([played(story, louder=1.1, late=0.005)], again))
    assert sum(row["injected"] for row in found) > 10
    for row in found:
        assert row["found"] == row["injected"]
        assert (row["twice"], row["snr_bias_percent"], row["time_error_ms"]) == (0, 10.0, 5.0)


def test_what_is_missed_or_said_twice_shows(story: GwSimulator) -> None:
    blips = [
        (f"L1:{STRAIN}", utc_from_gps(one.time) + NS // 1000, one.snr)
        for one in story.glitches["L1"]
        if one.kind == "blip"
    ]
    tables = figures([played(story, more=blips, hears=lambda kind: kind == "blip")], again)
    found = {row["kind"]: row for row in rows("Strain", tables)}
    assert found["blip"]["twice"] == found["blip"]["found"] == found["blip"]["injected"] > 0
    assert found["witnessed"]["found"] == 0 < found["witnessed"]["injected"]
    assert found["witnessed"]["snr_bias_percent"] is None


def test_a_trigger_beside_no_glitch_is_false(story: GwSimulator) -> None:
    """A second is free of glitches where none is within one of it."""
    first = story.science["L1"][0]
    glitches = [one.time for one in story.glitches["L1"]]
    faults = [(one.start, one.end) for one in story.truth]
    free = next(
        time
        for time in range(first.begin * NS + NS, first.end * NS, NS // 4)
        if all(abs(time - other) > 2 * NS for other in glitches)
        and not any(start - 2 * NS < utc_from_gps(time) < end + 2 * NS for start, end in faults)
    )
    more = [(MICROPHONE, utc_from_gps(free), 6.5), (MICROPHONE, utc_from_gps(free) + 10, 5.9)]
    found = {row["channels"]: row for row in rows("Triggers", figures([played(story, more=more)], again))}
    assert (found["others"]["false"], found["strain"]["false"]) == (1, 0)
    assert 0 < found["strain"]["channel_seconds"] < sum(end - begin for begin, end in story.science["L1"])


@pytest.mark.parametrize(
    ("rounds", "ranked", "first"),
    [
        ([("itself", 200, -9.0), ("other", 200, -5.0)], 1, 1),
        ([("itself", 200, -5.0), ("other", 200, -9.0)], 1, 0),
        ([("other", 200, -9.0), ("itself", 900, -9.0), ("itself", -10, -9.0)], 0, 0),
    ],
)
def test_a_witness_is_ranked_first(story: GwSimulator, rounds: Any, ranked: int, first: int) -> None:
    fault = next(one for one in story.truth if one.kind == "glitchy-channel")
    witness = {"itself": fault.subject["witness"], "other": "L1:PEM-X"}
    those = [(witness[name], fault.start + after * NS, p) for name, after, p in rounds]
    (row,) = rows("Ranked", figures([played(story, rounds=those)], again))
    assert row == {"kind": "glitchy-channel", "faults": 1, "ranked": ranked, "first": first}


def test_a_signal_that_reaches_another_channel_shows(story: GwSimulator) -> None:
    (calm,) = rows("A signal", figures([], again))
    assert (calm["injections"], calm["triggers_more_in_strain"]) == (INJECTIONS, INJECTIONS)
    assert (calm["changed"], calm["changed_witnesses"]) == (0, 0)

    def leaking(simulation: Simulation) -> Played:
        assert isinstance(simulation, GwSimulator)
        more = [(MICROPHONE, utc_from_gps(i.time), 9.0) for i in simulation.injections["L1"][:1]]
        return played(simulation, more=more, rounds=[(MICROPHONE, 10 * NS, -5.0)] if more else [])

    (row,) = rows("A signal", figures([], leaking))
    assert (row["changed"], row["changed_witnesses"]) == (1, 1)


def test_the_command_plays_stories_through_the_pipeline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half a minute of science data, of which the figures are how much of the strain was judged."""

    def simulator(*, hours: float, seed: int) -> GwSimulator:
        return GwSimulator(seed=seed, hours=hours, faults=(), model=SMALL._replace(science=30))

    def judged(stories: Sequence[Played], play: Callable[[Simulation], Played]) -> dict[str, list[dict[str, Any]]]:
        return {"Judged": [{"s": duration(heard(one)[f"L1:{STRAIN}"].live) / NS} for one in stories]}

    its = STORIES._replace(simulator=simulator, evaluated=None, hours=0.03, figures=judged)
    monkeypatch.setattr("opintel.site.story.stories_for", lambda site, stream: its)
    monkeypatch.setattr("opintel.cli.evaluate.SEEDS", (1,))
    assert invoke(["evaluate", "gw", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["stories"] == 1
    assert 20 < said["figures"]["Judged"][0]["s"] <= 30
