"""A window of an interferometer as the judges see it: its strain, its other channels, and when it was in science mode.

Science mode is the flag `DATA`. Where it has never been sent, all time counts as science mode: plain strain files and
the auxiliary releases have no flags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from opintel.detector import Closing
from opintel.evidence import Evidence, capped
from opintel.finding import NS, Basis, Effect, Finding, Severity, Window, finding_id
from opintel.gw.records import ChannelWindow, FlagWindow
from opintel.gw.safety import FAMILIES, SafetyFamilies
from opintel.gw.samples import flag_key
from opintel.gw.segments import NONE, Segments, coalesce, intersection

SCIENCE = "DATA"
"""The flag that says so."""
EDGE = NS
"""So far, ns, whitening carries what was outside science mode into it: nothing is judged there."""
REMEMBERED = 64 * NS
"""A channel that learns its spectrum holds its samples back for less than so long."""


Patterns = tuple[str, ...]
"""Of names of channels: see `opintel.gw.safety`."""


@lru_cache(maxsize=64)
def families(safe: Patterns, unsafe: Patterns) -> SafetyFamilies:
    """The families of channels, and those that a site names besides; unsafe wins.

    >>> families(("LSC-MICH*",), ()).judge("L1:LSC-MICH_OUT_DQ").value
    'safe'
    """
    return SafetyFamilies(unsafe=(*FAMILIES.unsafe, *unsafe), safe=(*FAMILIES.safe, *safe))


class ScienceMode:
    """When an interferometer was in science mode, of late.

    >>> from opintel.detector import Controls, NoSettings, Record
    >>> mode, window = ScienceMode(), Window(0, 2 * NS)
    >>> flag = FlagWindow(active=[(0, NS)], known=[(0, 3 * NS)])
    >>> records = [Record(window, "flag", "L1:~DATA", "L1", flag)]
    >>> mode.take(Closing(window, "L1", records, Controls(), NoSettings(), "", complete=True))
    >>> mode.spans.tolist()
    [[0, 1000000000]]
    """

    def __init__(self) -> None:
        self._flagged = False
        self.spans: Segments = NONE
        """Of science mode, ns UTC; those of the last `REMEMBERED`."""

    def take(self, closing: Closing) -> None:
        """Takes what a window says; windows come in order."""
        window = closing.window
        key = flag_key(closing.scope, SCIENCE)
        said = next((r.payload for r in closing.records if r.key == key and isinstance(r.payload, FlagWindow)), None)
        if said is not None:
            if not self._flagged:
                self._flagged, self.spans = True, NONE
            new = intersection(coalesce(said.active), coalesce(said.known))
        else:
            new = NONE if self._flagged else coalesce([(window.start, window.end + EDGE)])
        kept = intersection(self.spans, coalesce([(window.end - REMEMBERED, window.start)]))
        self.spans = coalesce(np.concatenate([kept, new]))

    @property
    def judged(self) -> Segments:
        """The same without what lies too near to its ends."""
        if not self._flagged:
            return self.spans
        return coalesce(self.spans + np.array([EDGE, -EDGE]))

    def state(self) -> Any:
        """Plain values."""
        return [self._flagged, self.spans.tolist()]

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        self._flagged, spans = state
        self.spans = coalesce(spans)


class Interferometer(NamedTuple):
    """What a window says of the channels of an interferometer, by name, in order."""

    strain: Mapping[str, ChannelWindow]
    auxiliary: Mapping[str, ChannelWindow]

    @property
    def main(self) -> str | None:
        """The strain channel that findings about the interferometer as a whole name."""
        return next(iter(self.strain), None)


def channels_of(closing: Closing) -> Interferometer:
    """The channels of a closed window."""
    strain: dict[str, ChannelWindow] = {}
    auxiliary: dict[str, ChannelWindow] = {}
    for record in closing.records:
        if isinstance(record.payload, ChannelWindow):
            (strain if record.payload.strain else auxiliary)[record.key] = record.payload
    return Interferometer(strain, auxiliary)


def within(window: Window) -> Segments:
    """The span of a window."""
    return coalesce([(window.start, window.end)])


def finding_of(
    detector: tuple[str, int],
    closing: Closing,
    kind: str,
    subject: Mapping[str, str],
    text: str,
    effect: Effect,
    *,
    log10_p: float | None = None,
    basis: Basis = "none",
    severity: Severity = "warning",
    evidence: Sequence[Evidence] = (),
    onset: int | None = None,
) -> Finding:
    """A finding about the closing window; `onset`, ns, counts where it lies inside it. `subject`: besides the scope."""
    window, labels = closing.window, {"scope": closing.scope, **subject}
    return Finding(
        id=finding_id(*detector, closing.model, labels, f"{kind} {window.start} {window.end}"),
        detector=detector[0],
        kind=kind,
        subject=labels,
        window=window,
        log10_p=log10_p,
        basis=basis,
        effect=effect,
        severity=severity,
        summary=" ".join(text.split())[:400],
        evidence=capped(evidence),
        model=closing.model,
        onset=onset if onset is not None and window.start <= onset < window.end else None,
    )
