"""What a shifter reads beside a kind of finding: which test spoke, and what to do first."""

from __future__ import annotations

from collections.abc import Mapping

TEST: Mapping[str, str] = {
    "tripped": "the manifest: it says that the subsystem's high voltage is off",
    "missing": "the manifest: it lists a histogram that did not come",
    "dead": "neighbouring bins below their references, or entries that were expected and are not there",
    "hot": "neighbouring bins above their references",
    "noisy": "few bins far above their references",
    "low": "means below their references",
    "high": "means above their references",
    "shifted": "the shape: cumulative distribution and Wasserstein distance",
    "changed": "all bins together: deviance and the largest pull",
    "trend": "a slow drift, against the histogram's own scatter over lumisections or runs",
}
"""Kind of finding → the test that spoke, in words."""
FIRST_ACTION: Mapping[str, str] = {
    "tripped": "Call the subsystem: its high voltage is off, and nothing says that it should be.",
    "missing": "See whether the subsystem's monitoring application runs and writes its files.",
    "dead": "See whether high voltage and read-out of the region are on, and whether it was masked; call its expert.",
    "hot": "See whether a channel became noisy; ask the subsystem whether to mask it.",
    "noisy": "See noise, thresholds and grounding of the region; ask the subsystem whether to mask it.",
    "low": "Compare gain, calibration and high voltage with those of the references.",
    "high": "Compare gain, calibration and high voltage with those of the references.",
    "shifted": "Compare timing, alignment and calibration with those of the references.",
    "trend": "Compare gain, calibration and the number of dead channels with those of the first points.",
    "changed": "Look whether trigger menu, beam or configuration changed; if they did, references follow.",
}
"""Kind of finding → the first action."""
