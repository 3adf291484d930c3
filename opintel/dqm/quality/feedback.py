"""What operators' answers say of single histograms: the control `feedback`, which makes their p larger.

"False alarm" is the statement that a histogram's p is too small: each makes it ten times larger, "confirmed" takes one
back. It is about what the histogram was until then, too: a change that began before is accepted when it settles. The
service that sends the control adds the answers up (`opintel.site.answers`); here it is bounded again, as a value comes
over a topic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

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


class FalseAlarms:
    """In which lumisection of which run operators last called what a histogram was a false alarm.

    >>> said = FalseAlarms()
    >>> said.hear({"Calo||energy": 1.0}, 7, 20)
    >>> [said.covers("Calo||energy", 7, since) for since in (12, 21)]
    [True, False]
    >>> said.hear({}, 7, 30)
    >>> said.covers("Calo||energy", 7, 12)
    False
    """

    def __init__(self) -> None:
        self._said: dict[str, tuple[float, int, int]] = {}
        """Key → decades, run and lumisection."""

    def hear(self, decades: Mapping[str, float], run: int, lumisection: int) -> None:
        """What is in force of a subsystem in a lumisection, as `feedback_decades` has it."""
        for key in self._said.keys() - decades.keys():
            del self._said[key]
        for key, its in decades.items():
            before, *_ = known = self._said.get(key, (0.0, -1, -1))
            if its != before:
                self._said[key] = (its, run, lumisection) if its > before else (its, *known[1:])

    def covers(self, key: str, run: int, lumisection: int) -> bool:
        """Whether a change that began there is one of them."""
        _, *said = self._said.get(key, (0.0, -1, -1))
        return (run, lumisection) <= tuple(said)

    def state(self) -> list[list[Any]]:
        """Plain values."""
        return [[key, *of] for key, of in sorted(self._said.items())]

    def restore(self, state: list[list[Any]]) -> None:
        """The inverse of `state`."""
        self._said = {key: (decades, run, lumisection) for key, decades, run, lumisection in state}
