"""The two stages of the GW stream, on one page.

Samples of strain and auxiliary channels, and flags → (by channel) triggers, spectra, features → (by interferometer) the
strain's triggers in science mode, losses of lock, more glitches than usual, less range, and what witnesses them.
"""

from __future__ import annotations

from opintel.detector import Pipeline
from opintel.finding import NS
from opintel.gw.channels.reducer import GwReducer
from opintel.gw.files import PARSERS
from opintel.gw.judging.channels import ChannelJudge
from opintel.gw.judging.glitch_rate import GlitchRateJudge
from opintel.gw.judging.inspiral_range import RangeJudge
from opintel.gw.judging.lock import LockJudge
from opintel.gw.judging.mains import MainsJudge
from opintel.gw.judging.observing import ObservingJudge
from opintel.gw.judging.strain_triggers import StrainTriggerJudge
from opintel.gw.judging.witnesses import WitnessJudge
from opintel.gw.naming import NAMING
from opintel.gw.records import GwRecord
from opintel.gw.samples import Pieces
from opintel.gw.wire import GwWire
from opintel.simulation import Stories


def stories() -> Stories:
    """What the simulator tells."""
    from opintel.gw.simulated.evaluate import figures
    from opintel.gw.simulated.simulate import STORIES

    return STORIES._replace(figures=figures)


BEFORE, AFTER = 2 * NS, NS
"""What stage 1 sees beside a window: the whitening filter and the longest tiles reach so far."""
_CHANNEL = ("scope", "channel")

PIPELINE = Pipeline(
    domain="gw",
    payload=Pieces,
    record=GwRecord,
    wire=GwWire,
    reducer=GwReducer,
    judges=(
        *(StrainTriggerJudge, LockJudge, GlitchRateJudge, RangeJudge, WitnessJudge, ChannelJudge),
        *(MainsJudge, ObservingJudge),
    ),
    context=(BEFORE, AFTER),
    kinds={
        "lock-loss": ("scope", "state"),
        "glitch-rate": ("scope", "channel", "witness"),
        "range": ("scope", "quantity"),
        "mains-sidebands": ("scope", "quantity"),
        "missing": _CHANNEL,
        "stuck": _CHANNEL,
        "witness": ("scope", "channel", "witness"),
        "trigger": _CHANNEL,
        "observing": ("scope", "quantity"),
    },
    adapting=("lock-loss", "missing", "stuck"),
    explaining=("witness", "trigger", "observing"),
    files=PARSERS,
    naming=NAMING,
    stories=stories,
)
