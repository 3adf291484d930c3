"""What stage 1 says: of every histogram in a lumisection one `HistogramOutcome`, of a manifest what it lists, of a
reference that it has come.
"""

from __future__ import annotations

import msgspec

from opintel.dqm.histograms import Listing
from opintel.evidence import Evidence


class HistogramOutcome(msgspec.Struct, array_like=True, frozen=True, tag="outcome", gc=False):
    """One histogram in one lumisection. The record's key is the run, `|` and the histogram's key."""

    run: int
    lumisection: int
    state: str
    """`judged`; `waits`: too few entries, to be judged with those of the next lumisections; `empty`: no entry at all;
    or why it cannot be judged: `alone` (too few references yet), `axes` (its bins are new), `content` (not finite, or
    negative without variances)."""
    entries: float | None
    """Of this lumisection; None where its contents say nothing of it."""
    usual: float | None
    """Entries that its references had in a time as long; None without references."""
    since: int
    """First of the lumisections that were judged together."""
    log10_p: float | None = None
    """0 where a quick look calls it calm: p is above 1e-3, and nothing more is known."""
    exact: bool = False
    """Whether the null knows counting statistics alone, and no systematic error that was learned."""
    effect: float = 0.0
    """The largest pull, with its sign; 0 where a quick look calls it calm."""
    kind: str = ""
    """Of what stands out: dead, hot, noisy, low, high (of means), shifted, changed."""
    place: str = ""
    """Where, in the words of the axes."""
    evidence: tuple[Evidence, ...] = ()
    """Of a histogram whose p is at most the emission level."""
    superseded: int = 0
    """Revisions that a higher one replaced."""
    test: str = ""
    """Which test had the smallest p, as `Comparison.test` has it: of a histogram whose p is at most the emission
    level."""
    tracked: tuple[float | None, float | None, float | None] = (None, None, None)
    """What trends are looked for in: mean and width along x in the units of the axis (of a profile: the mean of what it
    shows, and no width), share of bins that are empty; None where there is none."""


class ManifestListed(msgspec.Struct, array_like=True, frozen=True, tag="listed"):
    """A manifest, of the highest revision. The record's key is the run, `|` and the manifest's key."""

    run: int
    lumisection: int
    listing: Listing


class ReferencePublished(msgspec.Struct, array_like=True, frozen=True, tag="published"):
    """A reference of a set has come. The record's key is the set, `|` and the histogram's key."""

    set: str
    checksum: int


DqmRecord = HistogramOutcome | ManifestListed | ReferencePublished


def run_key(run: int, key: str) -> str:
    """The key of the record about a histogram, or manifest, in a run.

    >>> run_key(381103, "calo||energy")
    '381103|calo||energy'
    """
    return f"{run}|{key}"
