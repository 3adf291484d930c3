"""The run and lumisection that a histogram's name holds: CMS keys `run<R>_ls<L>_<path>` (DIALS and nanoDQMIO in ROOT),
and the folders of DQMGUI files, `DQMData/Run <R>/<subsystem>/Run summary/<path>`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_KEY = re.compile(r"(?s)((?:[^/]*/)*)run(\d{1,8})_ls(\d{1,7})_(.+)")
_FOLDERS = re.compile(r"(?s)DQMData/Run (\d{1,8})/([^/]+)/Run summary/(.+)")


class PlacedName(NamedTuple):
    """A histogram's path without its run and lumisection, None where it names none.

    >>> PlacedName.of("run381101_ls2_Tracks_phi")
    PlacedName(run=381101, lumisection=2, path='Tracks_phi')
    >>> PlacedName.of("DQMData/Run 381103/Pixel/Run summary/Digi/good")
    PlacedName(run=381103, lumisection=None, path='Pixel/Digi/good')
    """

    run: int | None
    lumisection: int | None
    path: str

    @classmethod
    def of(cls, name: str) -> PlacedName:
        """The parts of a name with its folders."""
        if found := _FOLDERS.fullmatch(name):
            return cls(int(found[1]), None, f"{found[2]}/{found[3]}")
        if found := _KEY.fullmatch(name):
            return cls(int(found[2]), int(found[3]), found[1] + found[4])
        return cls(None, None, name)
