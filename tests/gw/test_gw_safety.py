"""A signal in the strain, and in its copies, changes nothing that is said of any other channel: paired, bit for bit."""

from __future__ import annotations

import msgspec
import numpy as np

from opintel.detector import Controls, Message, Record, WindowRows
from opintel.finding import NS, Window
from opintel.gw.channels.reducer import GwReducer, GwReducerSettings
from opintel.gw.records import ChannelWindow, GwRecord
from opintel.gw.simulated.model import SMALL
from opintel.gw.simulated.simulate import GwSimulator
from opintel.gw.wire import GwWire

HOURS = 0.031
"""One stretch of science data, of 46 s."""
MODEL = SMALL._replace(channels=tuple(one for one in SMALL.channels if one.rate <= 512), couplings=(), populations=())


def said(injections: int) -> dict[tuple[int, str], GwRecord]:
    """(window, key) → what stage 1 says."""
    simulation = GwSimulator(seed=4, hours=HOURS, faults=(), model=MODEL, injections=injections)
    rows = GwWire().decode([Message(body) for _, body in simulation.messages()]).rows
    reducer, found = GwReducer(), list[Record[GwRecord]]()
    for at in range(int(rows.time.min()) // (2 * NS) * 2 * NS, int(rows.time.max()) + 1, 2 * NS):
        own = (rows.time >= at) & (rows.time < at + 2 * NS)
        near = (rows.time >= at - 2 * NS) & (rows.time < at + 3 * NS) & ~own
        its, context = (rows.take(np.flatnonzero(mask)).by_key() for mask in (own, near))
        if len(its):
            window = Window(at, at + 2 * NS)
            found += reducer.close(WindowRows(window, its, context, Controls(), GwReducerSettings(), {})).records
    return {(record.window.start, record.key): record.payload for record in found}


def test_a_signal_changes_only_what_is_said_of_the_strain_and_its_copies() -> None:
    plain, signal = said(0), said(1)
    assert plain.keys() == signal.keys()
    changed = {key for place, key in plain if msgspec.msgpack.encode(plain[place, key]) != _encoded(signal, place, key)}
    copies = {f"L1:{name}" for name, _, _ in MODEL.copies}
    assert "L1:GDS-CALIB_STRAIN" in changed
    assert changed <= {"L1:GDS-CALIB_STRAIN", *copies}
    loudest = [
        max(
            (t.snr for one in of.values() if isinstance(one, ChannelWindow) and one.strain for t in one.triggers),
            default=0,
        )
        for of in (plain, signal)
    ]
    assert loudest[1] > 7.5 > loudest[0]


def _encoded(of: dict[tuple[int, str], GwRecord], place: int, key: str) -> bytes:
    return msgspec.msgpack.encode(of[place, key])
