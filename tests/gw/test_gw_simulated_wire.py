"""What the simulator sends and what it lays down in files, as the stream reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gw.played import HOURS
from gw.sample_files import read
from opintel.detector import Message
from opintel.gw.samples import FLAG
from opintel.gw.simulated.files import write_auxiliary
from opintel.gw.simulated.simulate import GwSimulator
from opintel.gw.wire import GwWire
from opintel.gw.wire.encoder import message_of
from opintel.rows import Batch


def test_messages_and_files_hold_the_same_rows(tmp_path: Path) -> None:
    simulation = GwSimulator(seed=11, hours=HOURS, faults=["gap"])
    every = [message_of(one.table, one.gps, one.rows) for one in simulation.seconds("L1")]
    sent = GwWire().decode([Message(body) for body in every])
    assert not sent.rejects
    flags = {sent.rows.key.values[c] for c in sent.rows.key.code[sent.rows.payload.kind == FLAG].tolist()}
    assert flags == {"L1:~DATA", "L1:~HW_INJECTION", "L1:~LOCKED"}
    files = Batch.joined([read(path).rows for path in write_auxiliary(tmp_path, simulation, "L1")])
    assert set(sent.rows.key.values) == set(files.key.values)
    place = {identity: n for n, identity in enumerate(files.id.tolist())}
    compared = 0
    for n, identity in enumerate(sent.rows.id.tolist()):
        samples = sent.rows.payload.values.at(n)
        here = place.get(identity)
        if here is not None:  # out of science mode there are no files
            assert files.time[here] == sent.rows.time[n]
            assert np.array_equal(files.payload.values.at(here), samples, equal_nan=True)
            compared += 1
    assert compared > 0.9 * len(sent.rows)
