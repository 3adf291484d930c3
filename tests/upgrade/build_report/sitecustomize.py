"""What a service of the upgrade test says of itself: the build that it is, and the format of each checkpoint that it
begins with. Python imports it at the start of a process that has this folder in PYTHONPATH.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import opintel
from opintel.streams.checkpoints import MAGIC, Checkpoints

_newest = Checkpoints.newest


def newest(self: Checkpoints, end: int) -> tuple[int, dict[str, Any]] | None:
    found = _newest(self, end)
    if found is None:
        print("begins without a checkpoint", file=sys.stderr)
    else:
        value = Path(self._folder, f"{found[0]:016d}").read_bytes()
        print(f"begins with a checkpoint of format {value[len(MAGIC)]}", file=sys.stderr)
    return found


Checkpoints.newest = newest
print(f"opintel of {Path(opintel.__file__).parent.parent}", file=sys.stderr)
