"""What stage 1 says of a window: of a channel its triggers, its features and whether it can be trusted; of a flag when
it was active.
"""

from __future__ import annotations

import msgspec

from opintel.evidence import Evidence


class TriggerSaid(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One clustered trigger."""

    time: int
    """Of its peak, ns UTC."""
    start: int
    end: int
    """Of the tiles that belong to it, ns UTC."""
    frequency: float
    """Of its peak, Hz."""
    low: float
    high: float
    """Of the tiles that belong to it, Hz."""
    q: float
    snr: float
    """sqrt(2 E), E the energy of the loudest tile, of mean 1 in noise."""


class ChannelWindow(msgspec.Struct, array_like=True, frozen=True, tag="channel", gc=False):
    """One channel in one window. The record's key is the channel's name."""

    state: str
    """`good`; `learning`: its spectrum is not known yet, or no more; `absent`: no good sample; `constant`: its samples
    are all alike; `saturated`: it stands at its ends; `slow`: sampled too rarely to have a spectrum."""
    rate: float
    """Hz, of its last samples."""
    strain: bool
    """Whether it is h(t), by its unit or its name."""
    live: list[tuple[int, int]]
    """Spans that were judged now, ns UTC, in order: of the window and, where the channel has just learned its spectrum,
    of those before it that it had held back."""
    triggers: list[TriggerSaid] = []
    """Whose peaks lie in `live`, in order of time."""
    bands: list[float] = []
    """RMS between `opintel.gw.engine.EDGES`, as far as its rate goes, over what is usual; NaN where there is none."""
    fringes: list[tuple[int, float]] = []
    """(ns UTC, Hz) of the highest fringe frequency 2 |v| / λ of each half second, of a slow position sensor."""
    range: float | None = None
    """Mpc, of the strain: how far a binary neutron star of 1.4 + 1.4 solar masses would be heard."""
    phases: bytes = b""
    """Of its samples at some frequencies: see `opintel.gw.channels.features.phases`."""
    lines: list[tuple[float, float, float]] = []
    """Of the strain: (Hz, RMS amplitude, sides), see `opintel.gw.channels.lines`."""
    pictures: tuple[Evidence, ...] = ()
    """A Q-scan of its loudest trigger, where that is loud."""


class FlagWindow(msgspec.Struct, array_like=True, frozen=True, tag="flag", gc=False):
    """One flag in one window. The record's key is the flag's."""

    active: list[tuple[int, int]]
    known: list[tuple[int, int]]
    """Spans in ns UTC, in order, as far beyond the window as its context reaches."""


GwRecord = ChannelWindow | FlagWindow
