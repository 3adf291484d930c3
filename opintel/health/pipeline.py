"""The two stages of the health stream, on one page.

Samples of metrics → (by series) how each window compares with the series' own past → (by fleet) series that behave as
they never did; machines that fell silent; series on their way to a limit.
"""

from __future__ import annotations

from opintel.detector import Pipeline
from opintel.health.limits import LimitJudge
from opintel.health.records import Samples
from opintel.health.reducer import HealthReducer
from opintel.health.river.plugged import PluggedJudge
from opintel.health.silent import SilentJudge
from opintel.health.unusual import UnusualJudge
from opintel.health.windows import SeriesWindow
from opintel.health.wire import HealthWire
from opintel.naming import Naming
from opintel.simulation import Stories


def stories() -> Stories:
    """What the simulator tells."""
    from opintel.health.simulate import STORIES

    return STORIES


PIPELINE = Pipeline(
    domain="health",
    payload=Samples,
    record=SeriesWindow,
    wire=HealthWire,
    reducer=HealthReducer,
    judges=(UnusualJudge, SilentJudge, LimitJudge, PluggedJudge),
    csv="table",
    naming=Naming(entities=("instance",)),
    stories=stories,
)
