"""What the pipeline makes of simulated interferometers, held against what the simulator knows: triggers, false ones,
witnesses, and whether a signal in the strain changes what is said of the channels that must not hear it.

`opintel evaluate gw` prints it beside what it says of every domain's faults.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from opintel.finding import NS, parse_rfc3339
from opintel.gw.gps import utc_from_gps
from opintel.gw.records import ChannelWindow, TriggerSaid
from opintel.gw.segments import Segments, coalesce, contains, duration, minus
from opintel.gw.simulated.glitches import Glitch
from opintel.gw.simulated.model import SMALL, STRAIN
from opintel.gw.simulated.simulate import GwSimulator
from opintel.simulation import Played, Simulation

LEAST, LOUD = 10.0, 6.0
"""Optimal SNR of the glitches that must be found; SNR from which on a trigger that is no glitch's is false."""
ALONE = NS
"""A glitch with another one nearer than this, ns, is not judged, and a trigger so near to one is not false."""
TOLERANCE = 0.01
"""s between a trigger's peak and its glitch, besides a cycle and the delay of a coupling; …"""
DELAY = 0.03
"""… of which filters of four poles have so much, s."""
AFTERWARDS = 400 * NS
"""A witness is ranked so long after its fault began or later, ns: each 300 s of event time."""
INJECTIONS = 16
"""Chirps of the pair of stories that are alike but for them."""
_PAIR_HOURS, _PAIR_STRETCH = 0.18, 560
_WITNESSED = ("glitchy-channel", "whistles", "scattered-light")


class Heard(NamedTuple):
    """What stage 1 said of a channel in a story."""

    triggers: list[TriggerSaid]
    live: Segments
    """ns UTC."""


def figures(stories: Sequence[Played], play: Callable[[Simulation], Played]) -> dict[str, list[dict[str, Any]]]:
    """The tables, by title, of the stories that were played; `play` plays another one."""
    told = [(one, _simulator(one.simulation), heard(one)) for one in stories]
    return {
        f"Strain: glitches of SNR {LEAST:g} and more by themselves": list(_found_by_kind(told)),
        f"Triggers of SNR {LOUD:g} and more that are no glitch's, without faults": list(_false(told)),
        "Ranked first after a fault": list(_witnesses(told)),
        "A signal in the strain and its copies": [_safety(play)],
    }


def heard(played: Played) -> dict[str, Heard]:
    """Channel → its triggers and the time that was judged."""
    triggers, live = defaultdict[str, list[TriggerSaid]](list), defaultdict[str, list[tuple[int, int]]](list)
    for record in played.records:
        if isinstance(record.payload, ChannelWindow):
            triggers[record.key] += record.payload.triggers
            live[record.key] += record.payload.live
    return {name: Heard(triggers[name], coalesce(spans)) for name, spans in live.items()}


_Told = Iterable[tuple[Played, GwSimulator, Mapping[str, Heard]]]


def _simulator(simulation: Simulation) -> GwSimulator:
    if not isinstance(simulation, GwSimulator):
        raise TypeError(f"expected a simulated interferometer, got {type(simulation).__name__}")
    return simulation


def _found_by_kind(told: _Told) -> Iterable[dict[str, Any]]:
    rows = defaultdict[str, list[tuple[int, float, float]]](list)
    for _, simulation, channels in told:
        for name in simulation.interferometers:
            strain = channels.get(f"{name}:{STRAIN}")
            if strain is None:
                continue
            every = [one for one in simulation.glitches[name] if one.kind != "innocent"]
            signals = [one.time for one in simulation.injections[name]]
            times = np.array([utc_from_gps(t) for t in [*(one.time for one in every), *signals]], dtype=np.int64)
            noisy = _faults(simulation, name, ("scattered-light", "range-drop", "mains-sidebands", "coupling-step"))
            judged = contains(strain.live, times) & ~contains(noisy, times)
            for n, one in enumerate(every):
                alone = (np.abs(times - times[n]) < ALONE).sum() == 1
                if judged[n] and alone and one.snr >= LEAST:
                    rows[one.kind].append(_match(one, int(times[n]), strain.triggers))
    for kind in sorted(rows):
        count = np.array([n for n, _, _ in rows[kind]])
        found = [(error, ratio) for n, error, ratio in rows[kind] if n]
        yield {
            "kind": kind,
            "injected": len(count),
            "found": len(found),
            "twice": int((count > 1).sum()),
            "snr_bias_percent": round(100 * (float(np.median([r for _, r in found])) - 1), 1) if found else None,
            "time_error_ms": round(1e3 * float(np.median([e for e, _ in found])), 1) if found else None,
        }


def _match(one: Glitch, time: int, triggers: Sequence[TriggerSaid]) -> tuple[int, float, float]:
    """(triggers of a glitch, time error of the loudest in s, its SNR over the glitch's)."""
    reach = TOLERANCE + 1.0 / one.wave.frequency + one.wave.tau + (DELAY if one.channel else 0.0)
    near = [trigger for trigger in triggers if abs(trigger.time - time) <= reach * NS]
    if not near:
        return 0, 0.0, 0.0
    loudest = max(near, key=lambda trigger: trigger.snr)
    return len(near), abs(loudest.time - time) / NS, loudest.snr / one.snr


def _false(told: _Told) -> Iterable[dict[str, Any]]:
    count, seconds = defaultdict[str, int](int), defaultdict[str, float](float)
    members = defaultdict[str, set[str]](set)
    for _, simulation, channels in told:
        for name in simulation.interferometers:
            near = _around(simulation, name)
            for channel, of in channels.items():
                if not channel.startswith(f"{name}:"):
                    continue
                group = _group(simulation, channel.partition(":")[2])
                quiet = minus(of.live, near)
                times = np.array([one.time for one in of.triggers if one.snr >= LOUD], dtype=np.int64)
                count[group] += int(contains(quiet, times).sum())
                seconds[group] += duration(quiet) / NS
                members[group].add(channel)
    for group in sorted(seconds):
        yield {
            "channels": group,
            "number": len(members[group]),
            "channel_seconds": round(seconds[group]),
            "false": count[group],
            "a_second": round(count[group] / seconds[group], 6) if seconds[group] else None,
        }


def _group(simulation: GwSimulator, channel: str) -> str:
    if channel == STRAIN:
        return "strain"
    return "copies of the strain" if channel in {name for name, _, _ in simulation.model.copies} else "others"


def _around(simulation: GwSimulator, name: str) -> Segments:
    """Where something happens in an interferometer, and its faults, with a margin."""
    events = [one.time for one in simulation.glitches[name]] + [one.time for one in simulation.injections[name]]
    spans = [(utc_from_gps(time) - ALONE, utc_from_gps(time) + ALONE) for time in events]
    faults = _faults(simulation, name) + np.array([-ALONE, ALONE])
    return coalesce(np.concatenate([np.array(spans, dtype=np.int64).reshape(-1, 2), faults]))


def _faults(simulation: GwSimulator, name: str, kinds: Sequence[str] | None = None) -> Segments:
    its = [one for one in simulation.truth if one.subject["scope"] == name and (kinds is None or one.kind in kinds)]
    return coalesce([(one.start, one.end) for one in its])


def _witnesses(told: _Told) -> Iterable[dict[str, Any]]:
    """Faults whose witness glitches: whether it is in a ranking that follows, and first there."""
    rows = defaultdict[str, list[tuple[bool, bool]]](list)
    for played, simulation, _ in told:
        rounds = [one for one in played.findings if one["kind"] == "witness"]
        for fault in simulation.truth:
            if fault.kind not in _WITNESSED:
                continue
            after = [one for one in rounds if one["subject"]["scope"] == fault.subject["scope"]]
            after = [one for one in after if 0 <= parse_rfc3339(one["window"]["end"]) - fault.start <= AFTERWARDS]
            its = [one for one in after if one["subject"]["witness"] == fault.subject["witness"]]
            least: dict[str, list[float]] = {one["window"]["end"]: [] for one in its}
            for one in after:
                if one["window"]["end"] in least:
                    least[one["window"]["end"]].append(one["log10_p"])
            first = any(one["log10_p"] <= min(least[one["window"]["end"]]) for one in its)
            rows[fault.kind].append((bool(its), first))
    for kind in sorted(rows):
        ranked, first = np.array(rows[kind]).T
        yield {"kind": kind, "faults": len(ranked), "ranked": int(ranked.sum()), "first": int(first.sum())}


def _safety(play: Callable[[Simulation], Played]) -> dict[str, Any]:
    """The same story with and without chirps in the strain: what differs where nothing may."""
    model = SMALL._replace(science=_PAIR_STRETCH, every=_PAIR_STRETCH + 40)
    pair = [
        GwSimulator(seed=5, hours=_PAIR_HOURS, faults=("glitchy-channel",), model=model, injections=count)
        for count in (INJECTIONS, 0)
    ]
    with_them, without = (play(one) for one in pair)
    copies = {f"{name}:{channel}" for name in pair[0].interferometers
              for channel in (STRAIN, *(one for one, _, _ in model.copies))}  # fmt: skip
    said = [
        {(r.window, r.key): msgspec.msgpack.encode(r.payload) for r in one.records if r.key not in copies}
        for one in (with_them, without)
    ]
    rounds = [{(f["window"]["end"], f["subject"]["witness"]) for f in one.findings if f["kind"] == "witness"}
              for one in (with_them, without)]  # fmt: skip
    strain = [len(one.triggers) for played in (with_them, without)
              for name, one in heard(played).items() if name.endswith(STRAIN)]  # fmt: skip
    return {
        "injections": INJECTIONS,
        "triggers_more_in_strain": strain[0] - strain[1],
        "windows_of_other_channels": len(said[1]),
        "changed": sum(said[0].get(at) != payload for at, payload in said[1].items()) + len(said[0].keys() - said[1]),
        "witnesses": len(rounds[1]),
        "changed_witnesses": len(rounds[0] ^ rounds[1]),
    }
