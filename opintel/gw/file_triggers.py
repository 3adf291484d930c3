"""Triggers of what files hold: channels of one rate and span are searched side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from opintel.finding import NS
from opintel.gw.channels.pieces import SLOWEST
from opintel.gw.files.opened import FileStretch
from opintel.gw.triggers import SCHEMA, find_triggers

LEAST = 5.0
"""s of good samples, without which a channel has no spectrum, and no triggers."""


def triggers_of(stretches: Sequence[FileStretch], *, snr: float = 5.5) -> pa.Table:
    """The triggers of some stretches (columns of `find_triggers`), by channel and time."""
    alike: dict[tuple[float, int, int], list[FileStretch]] = {}
    for one in stretches:
        if one.rate >= SLOWEST:
            alike.setdefault((one.rate, one.start, len(one.samples)), []).append(one)
    tables = [SCHEMA.empty_table()]
    for (rate, start, _), group in alike.items():
        names, data = [one.channel for one in group], np.stack([one.samples for one in group])
        tables.append(find_triggers(data, rate, start / NS, snr=snr, channels=names))
    return pa.concat_tables(tables).sort_by([("channel", "ascending"), ("t_peak", "ascending")])


def not_judged(stretches: Sequence[FileStretch]) -> list[str]:
    """The channels of which no stretch can have a trigger: too slow, or with too few good samples."""
    judged = {
        one.channel for one in stretches if one.rate >= SLOWEST and np.isfinite(one.samples).sum() >= LEAST * one.rate
    }
    return sorted({one.channel for one in stretches} - judged)
