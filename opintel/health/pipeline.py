"""The two stages of the health stream, on one page.

Samples of metrics → (by series) how each window compares with the series' own past → (by fleet) series that behave as
they never did; machines that fell silent; series on their way to a limit.
"""

from __future__ import annotations

from opintel.detector import ANY_LABEL, Pipeline
from opintel.health.limits import LimitJudge
from opintel.health.reducer import HealthReducer
from opintel.health.river.plugged import PluggedJudge
from opintel.health.samples import Samples
from opintel.health.silent import SilentInstanceJudge
from opintel.health.tables import look
from opintel.health.unusual import UnusualJudge
from opintel.health.windows import SeriesWindow
from opintel.health.wire import HealthWire
from opintel.naming import Naming
from opintel.simulation import Stories


def stories() -> Stories:
    """What the simulator tells."""
    from opintel.health.simulate import STORIES

    return STORIES


_SERIES = ("scope", "metric", ANY_LABEL)

PIPELINE = Pipeline(
    domain="health",
    payload=Samples,
    record=SeriesWindow,
    wire=HealthWire,
    reducer=HealthReducer,
    judges=(UnusualJudge, SilentInstanceJudge, LimitJudge, PluggedJudge),
    kinds={
        "down": ("scope", "instance"),
        "silent": ("scope", "instance"),
        "limit": _SERIES,
        "forecast": _SERIES,
        "unusual": _SERIES,
        "plugged": _SERIES,
        "refused": ("scope",),
    },
    adapting=("down", "unusual", "plugged"),
    csv=look,
    naming=Naming(entities=("instance",)),
    stories=stories,
)
