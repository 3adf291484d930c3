"""Where a profile's time goes, by the project's rooms and the libraries; and the batched form of a story, which the
throughput benchmarks share."""

from __future__ import annotations

import cProfile
import pstats
import re
from pathlib import PurePath

import msgspec

from opintel.fts.wire import arrow

OURS = re.compile(r"/opintel/((?:streams/kafka|streams/connectors|\w+)/\w+|\w+)\.py$")
LIBRARY = re.compile(r"/site-packages/(kafka/\w+|\w+)")
C_LIBRARY = re.compile(r"msgspec|sqlite3|crc32c|blake2|numpy|pyarrow|re2|socket|select|lz4")


def room(file: str, function: str) -> str:
    """The room of a function as a profile names it: our module, a library, else Python."""
    if found := OURS.search(file):
        return found[1]
    if found := LIBRARY.search(file):
        return found[1]
    if found := C_LIBRARY.search(function if file == "~" else PurePath(file).stem):
        return found[0]
    return "Python"


def rooms(what: str, profile: cProfile.Profile, others: float = 0.0) -> None:
    """Prints the profile's own time by room; a profile sees one thread, `others` is the CPU of all others, s."""
    total = {"other threads (connections)": others}
    for (file, _, function), (_, _, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        name = room(file, function)
        total[name] = total.get(name, 0.0) + own
    whole = sum(total.values())
    print(f"\n{what}: where the time goes (under the profiler, {whole:.1f} s)")
    for name, own in sorted(total.items(), key=lambda item: -item[1]):
        if own > 0.01 * whole:
            print(f"  {name:32}{own / whole:>7.1%}")


def batches(lines: list[bytes], records: int) -> list[bytes]:
    """The complete messages of a story as Arrow messages of so many records."""
    plain = [msgspec.json.decode(line) for line in lines]
    found = [{**m["data"], "_id": m["metadata"]["_id"]} for m in plain if m["metadata"]["type"] == "complete"]
    return [arrow.packed(found[at : at + records]) for at in range(0, len(found) - records + 1, records)]
