"""Which auxiliary channels may be witnesses: those that a gravitational wave does not reach.

A channel that carries the signal predicts every glitch and every event, wins each ranking and would veto what is looked
for. Three ways to notice one: by the family of its name (`FAMILIES`), by its answer to signals that were injected into
the strain alone (`opintel.gw.injection_safety`), and by its coherence with strain over the whole band
(`opintel.gw.strain_copies`). What is not known to be safe is unsafe for all that flags data.
"""

from __future__ import annotations

import re
from enum import StrEnum
from fnmatch import translate
from functools import cached_property, lru_cache

import msgspec


class Safety(StrEnum):
    """What is known of a channel; UNKNOWN is treated as UNSAFE where data are flagged."""

    SAFE = "safe"
    UNSAFE = "unsafe"
    UNKNOWN = "unknown"


class SafetyFamilies(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """Patterns (`*`, `?`, `[…]`; case does not matter) of names without the interferometer's prefix; unsafe wins.

    >>> FAMILIES.judge("L1:LSC-DARM_IN1_DQ").value, FAMILIES.judge("L1:PEM-EX_ACC_BSC9_ETMX_X_DQ").value
    ('unsafe', 'safe')
    >>> FAMILIES.judge("L1:LSC-MICH_OUT_DQ").value
    'unknown'
    """

    unsafe: tuple[str, ...] = (
        # h(t), calibrated or not: H1:GDS-CALIB_STRAIN, L1:DCS-CALIB_STRAIN_C01, V1:Hrec_hoft_16384Hz, V1:h_16384Hz
        *("*STRAIN*", "*HREC*", "*HOFT*", "H_[0-9]*HZ*"),
        # the differential arm and what reads it out: L1:LSC-DARM_ERR, H1:OMC-DCPD_SUM_OUT_DQ, V1:LSC_B1_DC
        *("*DARM*", "*DELTAL*", "*DCPD*", "OMC[-_]*", "*[-_]OMC[-_]*", "*[-_]B1[-_]*", "B1[-_]*"),
        # the calibration and what it drives: H1:CAL-PCALX_RX_PD_OUT_DQ
        *("CAL[-_]*", "*[-_]CAL[-_]*", "*CALIB*", "*PCAL*"),
        # what DARM's feedback pushes: the lower stages of the end test masses
        *("SUS-ETM[XY]_L[1-3]_*", "SUS-ETM[XY]_*MASTER*", "SUS-ETM[XY]_ESD*", "SUS-ETM[XY]_*LOCK_L*"),
    )
    safe: tuple[str, ...] = ("PEM-*", "ISI-*", "HPI-*", "IMC-*", "PSL-*", "TCS-*", "ENV_*")
    """Sensors of what surrounds the interferometer, and of what lies before it."""

    def judge(self, channel: str) -> Safety:
        """What its name says of a channel."""
        name = channel.rpartition(":")[2].upper()
        if self._unsafe.match(name):
            return Safety.UNSAFE
        return Safety.SAFE if self._safe.match(name) else Safety.UNKNOWN

    @cached_property
    def _unsafe(self) -> re.Pattern[str]:
        return _any_of(self.unsafe)

    @cached_property
    def _safe(self) -> re.Pattern[str]:
        return _any_of(self.safe)


@lru_cache
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One expression for all of them; Python's translation of `*` does not backtrack into another."""
    return re.compile("|".join(translate(pattern.upper()) for pattern in patterns) or r"(?!)")


FAMILIES = SafetyFamilies()
