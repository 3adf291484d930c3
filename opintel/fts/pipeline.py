"""The two stages of the FTS stream, on one page.

Transfers → (by link) outcomes, rates and masked error forms of each window → (by FTS instance) first-seen
templates, failing endpoints and links, endpoints and links that fell silent, slow links, queues that stand still,
families of causes, the traffic and the error forms of each hour.
"""

from __future__ import annotations

from opintel.detector import Pipeline
from opintel.fts.judging.cause_rates import CauseJudge
from opintel.fts.judging.errors import ERRORS, ErrorsByHour
from opintel.fts.judging.failures import LinkJudge
from opintel.fts.judging.first_seen import FirstSeen
from opintel.fts.judging.queues import QueueJudge
from opintel.fts.judging.shared_finding import SHARED
from opintel.fts.judging.silent import SilentLinkJudge
from opintel.fts.judging.slow import SlowJudge
from opintel.fts.judging.traffic import TrafficJudge
from opintel.fts.link_windows import LinkWindow
from opintel.fts.naming import NAMING
from opintel.fts.reducer import FtsReducer
from opintel.fts.transfers import Transfers
from opintel.fts.wire import FtsWire
from opintel.fts.wire.tables import look
from opintel.simulation import Stories


def stories() -> Stories:
    """What the simulator tells."""
    from opintel.fts.simulated.simulate import STORIES

    return STORIES


PIPELINE = Pipeline(
    domain="fts",
    payload=Transfers,
    record=LinkWindow,
    wire=FtsWire,
    csv=look,
    reducer=FtsReducer,
    judges=(FirstSeen, LinkJudge, SilentLinkJudge, SlowJudge, QueueJudge, CauseJudge, TrafficJudge, ErrorsByHour),
    kinds={
        SHARED: ("scope", "vo", "family"),
        "endpoint": ("scope", "endpoint", "role"),
        "link": ("scope", "source", "destination"),
        "silent": ("scope", "endpoint", "role", "source", "destination"),
        "stuck": ("scope", "endpoint", "role", "source", "destination"),
        "slow": ("scope", "endpoint", "role", "source", "destination"),
        "new-template": ("scope", "template"),
        "cause": ("scope", "family"),
        "unclassified": ("scope", "family"),
        "traffic": ("scope",),
        ERRORS: ("scope",),
    },
    explaining=("cause", "unclassified", "traffic", ERRORS),
    naming=NAMING,
    stories=stories,
)
