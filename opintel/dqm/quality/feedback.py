"""What operators' answers say of single histograms: the control `feedback`, which makes their p larger.

"False alarm" is the statement that a histogram's p is too small: each makes it ten times larger, "confirmed" takes one
back. The service that sends the control adds the answers up (`opintel.site.answers`); here it is bounded again, as a
value comes over a topic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from opintel.detector import Controls
from opintel.dqm.histograms import HistogramKey

FEEDBACK = "feedback"
"""Kind of the control; its subject is the histogram's key, its value {"decades": 0 to 3}."""
MOST = 3.0
"""Decades."""


def feedback_decades(controls: Controls) -> dict[str, float]:
    """Key of a histogram → decades by which its p is larger than stage 1 says. What is not understood is as if it had
    not been said.

    >>> feedback_decades(Controls({("feedback", "Calo||energy"): (1, {"decades": 9}), ("feedback", "x"): (1, "odd")}))
    {'Calo||energy': 3.0}
    """
    found = {}
    for key, value in controls.of_kind(FEEDBACK).items():
        decades = value.get("decades") if isinstance(value, dict) else None
        if isinstance(decades, int | float) and not isinstance(decades, bool) and 0 < decades < math.inf:
            found[key] = min(float(decades), MOST)
    return found


def feedback_subject(subject: Mapping[str, str]) -> str | None:
    """The subject of the control for findings about `subject`; None where they are about no single histogram.

    >>> feedback_subject({"scope": "Calo", "histogram": "energy"}), feedback_subject({"scope": "Calo"})
    ('Calo||energy', None)
    """
    if "histogram" not in subject:
        return None
    return HistogramKey(subject.get("scope", ""), subject.get("dataset", ""), subject["histogram"]).text


def less_surprising(log10_p: float, key: str, decades: Mapping[str, float]) -> float:
    """log10 p of a histogram after what operators said of it.

    >>> less_surprising(-6.0, "Calo||energy", {"Calo||energy": 2.0})
    -4.0
    """
    return min(0.0, float(log10_p) + decades.get(key, 0.0))
