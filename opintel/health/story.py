"""What goes wrong in a simulated fleet and when: the faults of a story, drawn so that each can be noticed.

`simulate` plays them and writes them down as the truth. No two faults share a host: their effects stay apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from opintel.health.fleet import CLOCK, DISK, MEMORY, MINUTE, TEMPERATURE, Host
from opintel.simulation import Fault

FAULT_KINDS = (
    *("disk-filling", "memory-leak", "fan-failure", "sensor-stuck"),
    *("clock-drift", "network-flaps", "host-down"),
)
KINDS = (*FAULT_KINDS, "disk-wear")
"""All kinds of fault. `disk-wear` comes only where asked for: a real disk dies in days, here it does in hours. It comes
first, so that something can follow from it."""
METRICS = {"disk-filling": DISK, "memory-leak": MEMORY, "sensor-stuck": TEMPERATURE, "clock-drift": CLOCK}
"""Faults of one metric; others show in several, and their subject is the host."""

SHORTEST, LEAST = 25 * MINUTE, 0.4
"""How long a fault lasts at least, but no more than such a share of the span …"""
AFTERWARDS, AFTER = 30 * MINUTE, 1 / 3
"""… and what is left after the last one."""
LONGER = {"sensor-stuck": 2.0, "disk-wear": 2.0}
"""A stuck sensor is not mended within the hour, and a disk dies slowly."""


def plan(
    rng: np.random.Generator, hosts: Sequence[Host], kinds: Sequence[str], start: int, end: int
) -> tuple[Fault, ...]:
    """One fault of each of `kinds` in [start, end), in order of start: other seeds, other order, times and hosts.

    Each lasts a sixth to a quarter of the span (a stuck sensor and a dying disk twice as long), 25 minutes at least;
    the first begins in the first tenth, after the end of the last there are at least 30 minutes; less only if the span
    is short. Raises ValueError for an unknown kind, or where no host is left.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"unknown fault kind {kind!r}; known are {', '.join(KINDS)}")
    if not kinds:
        return ()
    span = end - start
    order = sorted((kinds[i] for i in rng.permutation(len(kinds))), key=lambda kind: kind != "disk-wear")
    longer = np.array([LONGER.get(kind, 1.0) for kind in order])
    lasts = np.maximum(rng.uniform(1 / 6, 1 / 4, len(order)) * longer * span, min(SHORTEST, LEAST * span))
    latest = span - min(AFTERWARDS, AFTER * span) - lasts
    # evenly spread, each up to a third of a step to either side, but the first and the last
    begins = np.linspace(rng.uniform(0.03, 0.09), rng.uniform(0.6, 0.7), len(order))
    if len(order) > 2:
        begins[1:-1] += rng.uniform(-1 / 3, 1 / 3, len(order) - 2) * (begins[1] - begins[0])
    begins = np.minimum(begins * span, latest)
    chosen = _hosts(rng, hosts, order)
    planned = sorted(zip(begins.astype(np.int64).tolist(), lasts.astype(np.int64).tolist(), order, chosen, strict=True))
    return tuple(
        Fault(f"{number}-{kind}", kind, _subject(kind, host), start + begin, start + begin + length)
        for number, (begin, length, kind, host) in enumerate(planned, 1)
    )


def _hosts(rng: np.random.Generator, hosts: Sequence[Host], kinds: Sequence[str]) -> list[Host]:
    """A host for each kind; those with the fewest candidates choose first."""
    candidates = [[host for host in hosts if _fits(kind, host)] for kind in kinds]
    chosen: dict[int, Host] = {}
    for index in sorted(range(len(kinds)), key=lambda i: len(candidates[i])):
        free = [host for host in candidates[index] if host not in chosen.values()]
        if not free:
            raise ValueError(f"no host is left for {kinds[index]!r}: {len(kinds)} faults are too many for one story")
        chosen[index] = free[int(rng.integers(len(free)))]
    return [chosen[index] for index in range(len(kinds))]


def _fits(kind: str, host: Host) -> bool:
    if kind in ("disk-filling", "disk-wear"):
        return host.role == "storage"
    return kind != "sensor-stuck" or host.fine  # a coarse sensor may well show one value for half an hour


def _subject(kind: str, host: Host) -> dict[str, str]:
    subject = {"instance": host.instance}
    if kind in METRICS:
        subject["metric"] = METRICS[kind]
    if kind == "disk-filling":
        subject["mountpoint"] = host.mountpoint
    return subject
