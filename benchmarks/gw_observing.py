"""P(glitch | auxiliary) on simulated hours: how right it is, what it flags, and what a signal in the strain does to it.

    python benchmarks/gw_observing.py [--seed N] [--hours H] [--injections N]

The same story is judged with and without chirps in the strain and its copy. An hour takes some 100 s of CPU.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from scipy.stats import beta

from opintel.evidence import Series, Table
from opintel.finding import NS, Finding
from opintel.gw.gps import utc_from_gps
from opintel.gw.judging import observing
from opintel.gw.judging.mains import MainsJudge
from opintel.gw.judging.observing import ObservingJudge
from opintel.gw.judging.witnesses import WitnessJudge
from opintel.gw.simulated.model import SMALL
from opintel.gw.simulated.simulate import GwSimulator
from opintel.gw.simulated.windows import Played, closings, judged, with_strain

LEFT_OUT = ("HPI-ETMY_BLND_L4C_Y_IN1_DQ", "LSC-PRCL_OUT_DQ", "ASC-AS_B_DC_SUM_OUT_DQ", "TCS-ITMX_CO2_ISS_CTRL2_OUT_DQ")
"""Channels of the small interferometer in which nothing happens."""
HELD = ("L1:GDS-CALIB_STRAIN", "L1:PEM-CS_ADC_5_31_2K_OUT_DQ")
"""What holds the signals."""
FLAG = 0.5


def said(findings: list[Finding]) -> dict[int, float]:
    """Second (UTC) → probability."""
    found: dict[int, float] = {}
    for finding in findings:
        for block in finding.evidence:
            if isinstance(block, Series) and block.title == observing.PROBABILITY:
                found |= {
                    time // NS: float(p) for time, p in zip(block.times, block.values, strict=True) if p is not None
                }
    return found


def rows(finding: Finding, title: str) -> list[list[Any]]:
    return next(block.rows for block in finding.evidence if isinstance(block, Table) and block.title == title)


def glitches(played: Played) -> list[int]:
    """Seconds (UTC) in which the strain has a trigger of SNR 7.75 and more."""
    of = {one.key: one.payload for _, records in played for one in records}
    strain = next(key for key, payload in of.items() if getattr(payload, "strain", False))
    every = [one.payload for _, records in played for one in records if one.key == strain]
    return sorted({t.time // NS for payload in every for t in payload.triggers if t.snr >= 7.75})


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--hours", type=float, default=1.0)
    arguments.add_argument("--injections", type=int, default=60)
    given = arguments.parse_args()
    model = SMALL._replace(
        science=3500,
        every=3600,
        channels=tuple(one for one in SMALL.channels if one.name not in LEFT_OUT),
        copies=SMALL.copies[2:],
    )
    plain, signals = (
        GwSimulator(seed=given.seed, hours=given.hours, faults=(), model=model, injections=number)
        for number in (0, given.injections)
    )
    without = list(closings(plain))
    injected = with_strain(without, list(closings(signals, HELD)))
    findings = judged(ObservingJudge(), without, flag=FLAG)
    before, after = said(findings), said(judged(ObservingJudge(), injected, flag=FLAG))
    print(f"{len(before)} s of science time, {len(findings)} findings; sidebands of the mains: "
          f"{len(judged(MainsJudge(), without))} findings")  # fmt: skip
    print("calibration:", ", ".join(f"{name} {value}" for name, value in rows(findings[-1], observing.CALIBRATION)))
    flagged = {second for second, p in before.items() if p >= FLAG}
    loud = [second for second in glitches(without) if second in before]
    met = sum(second in flagged for second in loud)
    print(f"flagged at P >= {FLAG}: {len(flagged)} s, deadtime {100 * len(flagged) / len(before):.2f} %; "
          f"{met} of {len(loud)} glitches of SNR 7.75 and more")  # fmt: skip
    changed = [second for second, p in before.items() if after[second] != p]
    times = sorted(utc_from_gps(one.time) // NS for one in signals.injections["L1"])
    hit = [time for time in times if before.get(time, 0.005) != 0.005]
    flags = sum((before[second] >= FLAG) != (after[second] >= FLAG) for second in changed)
    most = max((abs(before[second] - after[second]) for second in changed), default=0.0)
    print(f"paired, {len(times)} signals, {len(hit)} of them in a second in which a safe channel is active by chance: "
          f"{len(changed)} probabilities differ, by {most:.3f} at most, {flags} flags")  # fmt: skip
    if changed and hit:
        print(f"  the first one {min(changed) - hit[0]} s after the first such signal; blocks are 300 s")
    vetoed = sum(time in flagged for time in times)
    low = float(beta.ppf(0.025, vetoed, len(times) - vetoed + 1)) if vetoed else 0.0
    high = float(beta.ppf(0.975, vetoed + 1, len(times) - vetoed)) if vetoed < len(times) else 1.0
    share = len(flagged) / len(before)
    excess = [f"{100 * (found - share):+.2f}" for found in (vetoed / len(times), low, high)]
    print(f"unpaired: {vetoed} of {len(times)} signals flagged; beyond the deadtime {excess[0]} % "
          f"(95 %: {excess[1]} to {excess[2]})")  # fmt: skip
    rounds = [{(f.window, f.subject["witness"]): f.summary for f in judged(WitnessJudge(), one)}
              for one in (without, injected)]  # fmt: skip
    changed_rounds = sum(rounds[1].get(at) != said for at, said in rounds[0].items())
    print(f"witness findings: {len(rounds[0])} without signals, {len(rounds[1])} with, "
          f"{len(rounds[1].keys() - rounds[0])} new, {changed_rounds} changed or gone")  # fmt: skip


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
