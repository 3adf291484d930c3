"""What stage 1 says: of every histogram in a lumisection one `HistogramOutcome`, of a manifest what it lists, of a
reference that it has come.
"""

from __future__ import annotations

import msgspec

from opintel.dqm.histograms import Listing


class HistogramOutcome(msgspec.Struct, array_like=True, frozen=True, tag="outcome", gc=False):
    """One histogram in one lumisection. The record's key is the histogram's, with ` run N` behind it."""

    run: int
    lumisection: int
    state: str
    """`judged`; `waits`: too few entries, added to those of the next lumisection; `empty`: no entry at all; or why it
    cannot be judged: `alone` (no reference yet), `axes` (other bins than its references'), `content` (not finite, or
    negative without variances)."""
    entries: float
    """Its contents summed, those of this lumisection alone; NaN where they are not numbers."""
    usual: float
    """Entries a lumisection that its references had (a unit of luminosity, where luminosity is known); NaN unknown."""
    since: int = 0
    """First lumisection of those that were judged together; this one where it is 0."""
    log10_p: float | None = None
    basis: str = "none"
    effect: float = 0.0
    """Largest pull, with its sign."""
    kind: str = ""
    """Of what stands out: dead, hot, noisy, shifted, changed."""
    evidence: bytes = b""
    """msgpack of the `Explained` of a histogram whose p is below the emission level; else empty."""
    superseded: int = 0
    """Revisions that a higher one replaced."""
    references: str = ""
    """Which references it was compared with, in a few words: `run 381101 LS 1-30 and 2 more`."""


class ManifestListed(msgspec.Struct, array_like=True, frozen=True, tag="listed"):
    """A manifest, of the highest revision."""

    run: int
    lumisection: int
    listing: Listing


class ReferencePublished(msgspec.Struct, array_like=True, frozen=True, tag="published"):
    """A reference of a set has come."""

    set: str
    checksum: int


DqmRecord = HistogramOutcome | ManifestListed | ReferencePublished
