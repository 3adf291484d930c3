"""What happens to simulated interferometers and when: science data, faults, glitches and injected signals.

Faults are what operators would call an incident; glitches come at random beside them, at their usual rate. Each takes
its random numbers from a generator of its own, so that the rest of a story is the same with and without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from opintel.finding import NS
from opintel.gw.gps import utc_from_gps
from opintel.gw.simulated.glitches import Glitch, Injection, Maker, population_of
from opintel.gw.simulated.model import STATE, STRAIN, InterferometerModel, Population
from opintel.simulation import Fault

FAULT_KINDS = (
    *("glitchy-channel", "scattered-light", "glitch-rate", "range-drop", "lock-loss"),
    *("stuck-channel", "missing-channel"),
)
"""Those of a story where no others are asked for; …"""
OTHER_KINDS = (
    *("coupling-step", "slow-drift", "mains-sidebands", "whistles"),
    *("saturation", "rate-change", "gap"),
)
"""… those that must not disturb, or are studied by themselves."""
SHORTEST = 30
"""s of science data."""
SLOT = 155
"""s of science data that a fault needs."""
SHARED = 8
"""Faults that may be in a slot together: each has a channel of its own."""
SETTLING = (25.0, 45.0)
"""s from the start of a slot to that of a fault."""
LASTS = (70.0, 105.0)
"""s"""
BURSTS = {"glitchy-channel": 4.0, "glitch-rate": 3.0, "whistles": 5.0}
"""Mean s between the glitches of a fault."""
LOUD = 8.0
"""Least SNR of these."""


_WITNESSED = frozenset(
    {"glitchy-channel", "scattered-light", "range-drop", "coupling-step", "slow-drift", "mains-sidebands", "whistles"}
)


_NAMED: dict[str, dict[str, str]] = {
    **{kind: {"quantity": "range"} for kind in ("range-drop", "coupling-step", "slow-drift")},
    "mains-sidebands": {"quantity": "mains"},
    "lock-loss": {"state": "lock"},
}
"""What findings about a fault name beside its channel; where it is glitches, the strain."""


class Stretch(NamedTuple):
    """Science data in [begin, end), GPS s."""

    begin: int
    end: int


class Trouble(NamedTuple):
    """A fault as it is played, in [begin, end) GPS s of one interferometer."""

    kind: str
    interferometer: str
    channel: str
    """Without the interferometer; empty where it is about none."""
    begin: int
    end: int

    @property
    def fault(self) -> Fault:
        """In terms of the truth; the story gives it a number. What a channel does to the strain has it as witness."""
        subject = {"scope": self.interferometer}
        if self.channel:
            label = "witness" if self.kind in _WITNESSED else "channel"
            subject[label] = f"{self.interferometer}:{self.channel}"
        if self.kind in _NAMED:
            subject |= _NAMED[self.kind]
        elif self.kind in _WITNESSED:
            subject["channel"] = f"{self.interferometer}:{STRAIN}"
        return Fault("", self.kind, subject, utc_from_gps(self.begin * NS), utc_from_gps(self.end * NS))


def stretches_of(model: InterferometerModel, begin: int, end: int) -> tuple[Stretch, ...]:
    """Those of [begin, end) GPS s: the first a minute after the start, none shorter than `SHORTEST`."""
    first = begin + 60
    found = [Stretch(at, min(at + model.science, end - 5)) for at in range(first, end, model.every)]
    return tuple(one for one in found if one.end - one.begin >= SHORTEST)


def troubles_of(
    rng: np.random.Generator,
    model: InterferometerModel,
    interferometers: Sequence[str],
    kinds: Sequence[str],
    stretches: Sequence[Stretch],
) -> tuple[Trouble, ...]:
    """One fault of each kind, in order of start. Raises ValueError for an unknown kind, or where there is no room."""
    for kind in kinds:
        if kind not in FAULT_KINDS + OTHER_KINDS:
            raise ValueError(f"unknown fault kind {kind!r}; known are {', '.join(FAULT_KINDS + OTHER_KINDS)}")
    slots = [(one, one.begin + n * SLOT) for one in stretches for n in range((one.end - one.begin) // SLOT)]
    if len(kinds) > SHARED * len(slots):
        raise ValueError(
            f"expected {-(-len(kinds) // SHARED)} times {SLOT} s of science data or more for {len(kinds)} faults, "
            f"got {len(slots)}"
        )
    order = [kinds[int(at)] for at in rng.permutation(len(kinds))]
    found = []
    for n, (kind, befallen) in enumerate(zip(order, _chosen(rng, model, interferometers, order), strict=True)):
        stretch, slot = slots[int((n + 0.5) * len(slots) / len(kinds))]
        begin = slot + int(rng.uniform(*SETTLING))
        end = begin + int(rng.uniform(*LASTS))
        if kind == "lock-loss":
            begin, end = stretch.end - int(rng.integers(3, 8)), stretch.end
        found.append(Trouble(kind, *befallen, begin, end))
    return tuple(sorted(found, key=lambda one: (one.begin, one.kind)))


def numbered(troubles: Iterable[Trouble]) -> tuple[Fault, ...]:
    """The truth, in order of start."""
    found = [trouble.fault for trouble in troubles]
    return tuple(Fault(f"{n}-{one.kind}", one.kind, one.subject, one.start, one.end) for n, one in enumerate(found, 1))


def ends_of(stretches: Sequence[Stretch], troubles: Iterable[Trouble], interferometer: str) -> tuple[Stretch, ...]:
    """The stretches of an interferometer, the shorter for its lock losses."""
    lost = {t.end: t.begin for t in troubles if t.kind == "lock-loss" and t.interferometer == interferometer}
    return tuple(Stretch(one.begin, lost.get(one.end, one.end)) for one in stretches)


def glitches_of(
    seed: Sequence[int], maker: Maker, stretches: Sequence[Stretch], troubles: Iterable[Trouble], interferometer: str
) -> tuple[Glitch, ...]:
    """All of an interferometer, in order of time: what is usual, and the bursts of its faults."""
    found: list[Glitch] = []
    for one in stretches:
        for n, population in enumerate(maker.model.populations):
            rng = np.random.default_rng([*seed, one.begin, n])
            found += maker.glitches(population, one.begin, one.end, 3600.0 / population.an_hour, rng)
    for trouble in troubles:
        if trouble.kind in BURSTS and trouble.interferometer == interferometer:
            population = _burst(maker.model, trouble)._replace(least=LOUD)
            rng = np.random.default_rng([*seed, trouble.begin, len(maker.model.populations)])
            found += maker.glitches(population, trouble.begin, trouble.end, BURSTS[trouble.kind], rng)
    return tuple(sorted(found, key=lambda glitch: glitch.time))


def injections_of(
    rng: np.random.Generator, makers: Sequence[Maker], stretches: Sequence[Stretch], count: int
) -> list[tuple[Injection, ...]]:
    """`count` chirps at random times of the stretches, the same in all interferometers but for their SNR and, by
    the way of light between them, their time; one tuple an interferometer."""
    ends = np.cumsum([0, *(one.end - one.begin - 20 for one in stretches)])
    found: list[list[Injection]] = [[] for _ in makers]
    for at in np.sort(rng.uniform(0, ends[-1], count)):
        one, passed = next(
            (one, at - low) for one, (low, high) in zip(stretches, pairwise(ends), strict=True) if at < high
        )
        time = (one.begin + 12) * NS + int(passed * NS)
        masses, phase = np.sort(rng.uniform(12.0, 40.0, 2)), float(rng.uniform(0.0, 2.0 * np.pi))
        for maker, into in zip(makers, found, strict=True):
            delay, snr = int(rng.uniform(-0.01, 0.01) * NS), float(rng.uniform(8.0, 25.0))
            into.append(maker.injection(time + delay, (float(masses[1]), float(masses[0]), phase), snr))
    return [tuple(those) for those in found]


def _burst(model: InterferometerModel, trouble: Trouble) -> Population:
    if trouble.kind == "glitch-rate":
        return population_of(model, "blip", "")
    return population_of(model, "whistle" if trouble.kind == "whistles" else "witnessed", trouble.channel)


def _chosen(
    rng: np.random.Generator, model: InterferometerModel, interferometers: Sequence[str], kinds: Sequence[str]
) -> list[tuple[str, str]]:
    """(interferometer, channel) for each kind, no channel twice; those with the fewest candidates choose first."""
    candidates = [[(name, channel) for name in interferometers for channel in _candidates(model, k)] for k in kinds]
    chosen: dict[int, tuple[str, str]] = {}
    for n in sorted(range(len(kinds)), key=lambda n: len(candidates[n])):
        free = [one for one in candidates[n] if one[1] in ("", STATE, STRAIN) or one not in chosen.values()]
        if not free:
            raise ValueError(f"no channel is left for {kinds[n]!r}")
        chosen[n] = free[int(rng.integers(len(free)))]
    return [chosen[n] for n in range(len(kinds))]


def _candidates(model: InterferometerModel, kind: str) -> list[str]:
    """The channels that a kind of fault may befall."""
    witnesses = [one.channel for one in model.populations if one.kind == "witnessed"]
    broad = [one.witness for one in model.couplings if one.broad]
    coupled = {one.witness for one in model.couplings}
    plain = [one for one in model.channels if not one.senses and not one.constant and one.dtype == "float32"]
    linear = [name for name in witnesses if not model.coupling(name).bilinear]
    return {
        "glitchy-channel": linear,
        "scattered-light": [one.name for one in model.channels if one.senses == "microseism"],
        "glitch-rate": [STRAIN],
        "range-drop": broad,
        "slow-drift": broad,
        "coupling-step": linear,
        "lock-loss": [STATE],
        "gap": [""],
        "mains-sidebands": [one.name for one in model.channels if one.mains],
        "whistles": [one.channel for one in model.populations if one.kind == "whistle"],
        "saturation": [one.name for one in model.channels if one.dtype == "int16"],
    }.get(kind, [one.name for one in plain if one.name not in coupled])
