"""A minute and a half of the shipped GW stream for the contract tests: two small interferometers, of few channels at
low rates, in which all goes wrong that a stream of samples can suffer; and controls.

A second may come late or twice, out of order, be missing, hold NaN, have another rate or no channel; lock is lost, a
channel stands still, and settings of both stages change.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from opintel.finding import NS, parse_rfc3339
from opintel.gw.gps import gps_from_utc
from opintel.gw.wire.encoder import TableEntry, message_of
from opintel.streams.records import NEVER, Control
from opintel.streams.stream import Stream

GW_STREAM = Stream(
    "gw", "gw.samples", partitions=3, window=2 * NS, lateness=2 * NS, skew=2 * NS, interval=NS, quiet=20 * NS
)
START = gps_from_utc(parse_rfc3339("2026-03-02T06:00:01Z")) // NS
"""GPS s; no window begins there."""
SECONDS = 84
BITS = ("DATA", "LOCKED")
GLITCHES = (9, 21, 22, 30, 40, 47, 52)
"""Seconds of loud ones, in strain and in the witness beside it."""


def _table(name: str, witness: int) -> tuple[TableEntry, ...]:
    return (
        TableEntry(1, f"{name}:GDS-CALIB_STRAIN", 64, "strain"),
        TableEntry(2, f"{name}:ODC-STATE", 4, "", "uint32", BITS),
        TableEntry(3, f"{name}:PEM-EX_MIC_DQ", witness, "Pa"),
        TableEntry(4, f"{name}:ISI-ETMX_POS_DQ", 16, "um"),
    )


@cache
def gw_messages() -> Sequence[tuple[int, bytes]]:
    """(arrival, message), in order of arrival."""
    turns = random.Random(5)
    sent: list[tuple[int, bytes]] = []
    begin = parse_rfc3339("2026-03-02T06:00:01Z")
    for n, name in enumerate(("H1", "L1")):
        rng = np.random.default_rng([17, n])
        for second in range(SECONDS):
            rows = _second(second, rng, n)
            if (name, second) in (("H1", 27), ("L1", 44), ("L1", 45)):
                continue
            witness = 32 if name == "L1" and second >= 60 else 64
            body = message_of(_table(name, witness), START + second, rows(witness))
            arrival = begin + (second + 1) * NS + turns.choice((0, 0, 1, 9)) * NS // 10
            sent.append((arrival, body))
            if turns.random() < 0.08:
                sent.append((arrival + turns.randrange(2) * NS, body))
            if (name, second) == ("H1", 33):
                sent.append((arrival + 12 * NS, message_of(_table(name, 64), START + 27, _second(27, rng, n)(64))))
    sent += [(begin + 20 * NS, b"garbage"), (begin + 21 * NS, sent[3][1][:500])]
    return sorted(sent)


def _second(second: int, rng: np.random.Generator, n: int):  # type: ignore[no-untyped-def]
    """The rows of a second; called with the rate of the witness, as white noise is at any."""
    strain, witness = rng.normal(size=64), rng.normal(size=64)
    t = np.arange(64) / 64
    if second in GLITCHES:
        burst = 12 * np.exp(-(((t - 0.4) / 0.06) ** 2)) * np.cos(2 * np.pi * 14 * t)
        strain, witness = strain + burst, witness + 1.5 * burst
    position = 30 * np.sin(2 * np.pi * 0.3 * (second + np.arange(16) / 16)) * (second > 35)
    if second == 15:
        strain[10:20] = np.nan
    if n == 1 and 20 <= second < 50:
        witness[:] = 0.25
    state = np.full(4, 3 if second < 62 + 9 * n else 0)
    if second < 4:
        state[:] = 2

    def rows(rate: int) -> list[tuple[int, NDArray[np.float32]]]:
        said = [(1, 1e-21 * strain), (2, state), (3, witness[:rate]), (4, position)]
        left_out = 3 if n == 0 and 50 <= second < 56 else 0
        return [(number, np.asarray(samples, dtype=np.float32)) for number, samples in said if number != left_out]

    return rows


def gw_controls() -> list[tuple[int, Control]]:
    """(messages before it, control): settings of both stages."""
    pictures = {"gw.samples": {"picture": 1e6}, "gw.channels": {"patience": 6.0, "before": 6.0}}
    judges = {"gw.triggers": {"snr": 7.0}, "gw.samples": {"picture": 6.0}, "gw.witnesses": {"every": 10.0}}
    return [
        (40, Control("a", "settings", GW_STREAM.name, 1, NEVER, pictures)),
        (90, Control("b", "settings", GW_STREAM.name, 2, NEVER, judges)),
    ]
