"""A store as it is after a shift: two runs, two subsystems, and what was wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from opintel.alerts.service import AlertService
from opintel.alerts.settings import AlertSettings, Grouping, Lifecycle
from opintel.dqm.elements import BinAxis
from opintel.dqm.wire.encoder import parts_of
from opintel.store import Store, open_store, sqlite_url
from opintel.streams.findings import Found, Judged

from .lumisections import Stages, element, head, shape

STREAM = "dqm"
RUNS = {381101: [*range(1, 13)], 381103: [1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13, 14]}
SCRIPT = "<script>window.pwned='script'</script>"
DEAD, HOT, MAP = "Calo/Digis/charge", f"Muon/{SCRIPT}", "Muon/Hits/occupancy"
"""The second run begins eleven hours after the first. In it: a dead range from lumisection 9 on, a hot bin in 8 to 10,
a map with a dead patch in 12 to 14. In lumisection 13 the histograms of Muon are empty."""
PATHS = {"Calo": [DEAD, "Calo/Digis/time"], "Muon": [HOT, "Muon/Hits/drift", MAP]}
SIDE = BinAxis.regular(12, -3.0, 3.0, "phi", "rad")


@cache
def _shift() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "store.db")
        store = open_store(sqlite_url(path))
        service = AlertService(
            store, AlertSettings(lifecycle=Lifecycle(grouping=Grouping(entities={STREAM: ["histogram"]})))
        )
        records = list(_judged())
        position = service.position()
        service.consume(position, records, position + len(records))
        store.close()
        return path.read_bytes()


def open_shift(path: Path) -> Store:
    """The store in a new file."""
    path.write_bytes(_shift())
    return open_store(sqlite_url(path))


def _judged() -> Iterator[Found | Judged]:
    rng, stages = np.random.default_rng(3), Stages()
    for run, numbers in RUNS.items():
        for number in numbers:
            for subsystem, paths in PATHS.items():
                where = head(2 * (run - 381100), number, subsystem)._replace(run=run)
                found = stages.close(list(parts_of(where, [_element(rng, path, run, number) for path in paths])))
                yield from (Found(STREAM, finding) for finding in found)
                if found:
                    yield Judged(STREAM, subsystem, found[-1].window, {"dead": 4, "changed": 4}, True)


def _element(rng: np.random.Generator, path: str, run: int, number: int) -> Any:
    late = run == 381103
    if path == MAP:
        contents = rng.poisson(30.0, (12, 12)).astype(float)
        if late and 12 <= number <= 14:
            contents[2:5, 3:6] = 0
        return element(path, 0 * contents if _silent(path, run, number) else contents)._replace(axes=(SIDE, SIDE))
    contents = rng.poisson(shape(peak=12.0 + len(path) % 7)).astype(float)
    if late and path == DEAD and number >= 9:
        contents[8:12] = 0
    if late and path == HOT and 8 <= number <= 10:
        contents[20] += 900
    return element(path, 0 * contents if _silent(path, run, number) else contents)


def _silent(path: str, run: int, number: int) -> bool:
    return path.startswith("Muon") and (run, number) == (381103, 13)
