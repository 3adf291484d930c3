"""The two stages of the DQM stream, on one page.

Histograms of a lumisection → (by histogram) how each compares with its references → (by subsystem) those that stand
out, are empty or are missing, or drift, and the state of the subsystem.
"""

from __future__ import annotations

from opintel.detector import Pipeline
from opintel.dqm.files import PARSERS
from opintel.dqm.histograms import Histograms
from opintel.dqm.quality.feedback import feedback_subject
from opintel.dqm.quality.findings import place_of
from opintel.dqm.quality.judge import DqmJudge
from opintel.dqm.quality.trends import TrendJudge
from opintel.dqm.records import HistogramOutcome, ManifestListed, ReferencePublished
from opintel.dqm.rolling.reducer import DqmReducer
from opintel.dqm.wire import DqmWire, ends
from opintel.naming import Naming
from opintel.simulation import Stories


def stories() -> Stories:
    """What the simulator tells."""
    from opintel.dqm.simulated.simulate import STORIES

    return STORIES


_HISTOGRAM = ("scope", "dataset", "histogram")

PIPELINE = Pipeline(
    domain="dqm",
    payload=Histograms,
    record=HistogramOutcome | ManifestListed | ReferencePublished,
    wire=DqmWire,
    reducer=DqmReducer,
    judges=(DqmJudge, TrendJudge),
    ends=ends,
    files=PARSERS,
    kinds={
        "tripped": ("scope",),
        "missing": _HISTOGRAM,
        "dead": _HISTOGRAM,
        "hot": _HISTOGRAM,
        "noisy": _HISTOGRAM,
        "low": _HISTOGRAM,
        "high": _HISTOGRAM,
        "shifted": _HISTOGRAM,
        "changed": _HISTOGRAM,
        "trend": _HISTOGRAM,
        "insufficient": ("scope",),
        "quality": ("scope", "run", "lumisection"),
    },
    naming=Naming(entities=("histogram",), times=place_of),
    stories=stories,
    feedback=feedback_subject,
)
