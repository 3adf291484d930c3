"""Q-scans of a strain glitch and of what its witness did then, to explain a ranking."""

from __future__ import annotations

from typing import Any

import msgspec

from opintel.evidence import Evidence
from opintel.finding import NS
from opintel.gw.records import ChannelWindow

TOGETHER = NS // 2
"""Peaks of the two that are no further apart, ns, are drawn together."""
KEPT = 16
"""Witnesses whose pictures are kept: those of the loudest glitches."""
_pictures = tuple[Evidence, ...]


class PicturePairs:
    """The pictures of the loudest glitch that each channel was seen beside."""

    def __init__(self) -> None:
        self._pairs: dict[str, tuple[float, tuple[Evidence, ...]]] = {}
        """Channel → SNR in strain, pictures."""

    def take(self, name: str, strain: ChannelWindow, witness: ChannelWindow) -> None:
        """Looks at a window of both."""
        if not (strain.pictures and witness.pictures):
            return
        glitch = max(strain.triggers, key=lambda one: (one.snr, -one.time))
        beside = max(witness.triggers, key=lambda one: (one.snr, -one.time))
        if abs(glitch.time - beside.time) > TOGETHER or glitch.snr <= self._pairs.get(name, (0.0, ()))[0]:
            return
        self._pairs[name] = glitch.snr, (*strain.pictures, *witness.pictures)
        if len(self._pairs) > KEPT:
            del self._pairs[min(self._pairs, key=lambda key: (self._pairs[key][0], key))]

    def of(self, name: str) -> tuple[Evidence, ...]:
        """The pictures of a channel, strain first; none where it was never seen beside a loud glitch."""
        return self._pairs.get(name, (0.0, ()))[1]

    def state(self) -> Any:
        """Plain values."""
        builtins = {name: msgspec.msgpack.encode(pictures) for name, (_, pictures) in self._pairs.items()}
        return sorted([name, snr, builtins[name]] for name, (snr, _) in self._pairs.items())

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        self._pairs = {name: (snr, msgspec.msgpack.decode(both, type=_pictures)) for name, snr, both in state}
