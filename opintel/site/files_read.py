"""Files of others on their way into a log that is thrown away: what was read of them, and why the rest was not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from opintel.site.errors import UserError
from opintel.site.system import System
from opintel.site.watched import Watched
from opintel.streams.feeds import FileFeed, file_feed
from opintel.streams.ingest import Ingester
from opintel.streams.log import Aside

MOST_ASIDES, MOST_REASONS = 100_000, 100
"""Dead letters that are looked at, and reasons that are given, …"""
MOST_PLACES = 10
"""… each with so many places, and files with rows out of order."""


class Reasons:
    """Why something became dead letters: each reason with its first places and how often."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, Any]] = {}

    def add(self, dead: Iterable[Aside]) -> None:
        """Dead letters, in order."""
        for aside in dead:
            new = {"place": aside.place, "reason": aside.reason, "count": 0, "places": []}
            found = self._found.setdefault(aside.reason, new)
            found["count"] += aside.count
            if len(found["places"]) < MOST_PLACES:
                found["places"].append(aside.place)

    def most_frequent(self) -> list[dict[str, Any]]:
        """The most frequent first."""
        return sorted(self._found.values(), key=lambda one: -one["count"])[:MOST_REASONS]


def complete_files(system: System, watched: Watched, paths: Sequence[Path]) -> FileFeed:
    """A feed of files that do not grow. Raises UserError where none can be read."""
    try:
        feed = file_feed(lambda name: system.ingester(watched, name, live=False), paths, final=True)
        feed.source.require_content()
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from error
    return feed


def read_of(system: System, ingester: Ingester) -> dict[str, Any]:
    """What was read: rows, keys, columns, and the reasons of the dead letters. UserError where there is no row."""
    if ingester.taken == 0:
        first = system.log.asides(kind="dead", limit=1)
        reason = f"; the first: {first[0].place}: {first[0].reason}" if first else ""
        count, stream = ingester.resume.messages, ingester.stream.name
        raise UserError(f"none of {count} messages could be decoded as {stream}{reason}")
    reasons = Reasons()
    reasons.add(system.log.asides(kind="dead", limit=MOST_ASIDES))
    return {
        "rows": ingester.taken,
        "keys": len(ingester.keys),
        "columns_used": sorted(ingester.columns.used),
        "columns_dropped": sorted(ingester.columns.dropped),
        "rejected": reasons.most_frequent(),
        "out_of_order": [
            {"place": f"{file}:{row + 1}", "rows": rows}
            for file, (row, rows) in sorted(ingester.behind.items(), key=lambda one: -one[1][1])
        ],
    }
