"""The keys of one raw partition: which have room in their shard, which are quarantined, and when each is forgotten.

Stage 1 asks it for every row's key. What becomes of a key depends on its shard only, so that the number of partitions
shows nowhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opintel.ids import natural_id
from opintel.streams.records import NEVER, shard_of
from opintel.streams.stream import Stream


class Keys:
    """Known keys, at most `max_keys` a shard, and quarantined ones."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._last: dict[str, int] = {}
        """Key → end of its last closed window."""
        self._marks: dict[str, int] = {}
        """Key → a hash of it."""
        self._in_shard: dict[int, int] = {}
        self._quarantined: dict[str, int] = {}
        """Key → window end at which it gets another chance."""

    def quarantined(self, keys: Sequence[str]) -> NDArray[np.bool_]:
        """(keys,) whether each is quarantined."""
        if not self._quarantined:
            return np.zeros(len(keys), dtype=bool)
        return np.fromiter(map(self._quarantined.__contains__, keys), dtype=bool, count=len(keys))

    def known(self, keys: Sequence[str]) -> NDArray[np.bool_]:
        """(keys,) whether each has room already."""
        return np.fromiter(map(self._last.__contains__, keys), dtype=bool, count=len(keys))

    def marks(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """(keys,) what each adds to its rows' ids, so that one id under two keys is two rows; 0 of what has no room.

        A quarantined key's stays, so that its rows are known when they come again.
        """
        return np.fromiter(map(self._marks.get, keys, itertools.repeat(0)), dtype=np.int64, count=len(keys))

    def admit(self, key: str) -> bool:
        """Takes a new key, if its shard has room."""
        shard = shard_of(key, self.stream.shards)
        if self._in_shard.get(shard, 0) >= self.stream.max_keys:
            return False
        self._in_shard[shard] = self._in_shard.get(shard, 0) + 1
        self._last[key] = NEVER
        self._marks[key] = natural_id(key)
        return True

    def closed(self, keys: Iterable[str], end: int) -> None:
        """Notes that a window of these keys ended at `end`."""
        last = self._last
        for key in keys:
            if last[key] < end:
                last[key] = end

    def quarantine(self, key: str, window_end: int) -> None:
        """Forgets a key and holds its rows back for a TTL."""
        self._quarantined[key] = window_end + self.stream.ttl
        mark = self._marks[key]
        self._forget(key)
        self._marks[key] = mark

    def expire(self, before: int, window_end: int, alive: Collection[str]) -> list[str]:
        """Forgets keys unseen for the TTL, in a full shard for `quiet`: what is gone must not keep out what comes.

        At every window end in (before, window_end], whether or not this partition had a window there: all partition
        counts agree. `alive`: keys with rows in open windows. Returns the keys forgotten.
        """
        stream, gone = self.stream, []
        full = {shard for shard, n in self._in_shard.items() if n >= stream.max_keys}
        by_shard: dict[int, dict[str, int]] = {shard: {} for shard in full}
        for key, last in self._last.items() if full else ():
            if (shard := shard_of(key, stream.shards)) in full and key not in alive:
                by_shard[shard][key] = last + min(stream.quiet, stream.ttl)
        for keys in by_shard.values():
            first = max(min(keys.values(), default=window_end + 1), before + 1)
            end = stream.grid.at_or_after(first)  # the first at which there is room again
            gone += [k for k, until in keys.items() if until <= end <= window_end]
        for key in gone:
            self._forget(key)
        old = [k for k, last in self._last.items() if last + stream.ttl <= window_end and k not in alive]
        for key in old:
            self._forget(key)
        for key in [k for k, until in self._quarantined.items() if until <= window_end]:
            del self._quarantined[key], self._marks[key]
        return gone + old

    def _forget(self, key: str) -> None:
        del self._last[key], self._marks[key]
        self._in_shard[shard_of(key, self.stream.shards)] -= 1

    def state(self) -> dict[str, Any]:
        """Plain data, sorted."""
        return {"known": sorted(self._last.items()), "quarantined": sorted(self._quarantined.items())}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`, on a fresh table."""
        self._last = dict(state["known"])
        self._quarantined = dict(state["quarantined"])
        self._marks = {key: natural_id(key) for key in (*self._last, *self._quarantined)}
        for key in self._last:
            shard = shard_of(key, self.stream.shards)
            self._in_shard[shard] = self._in_shard.get(shard, 0) + 1
