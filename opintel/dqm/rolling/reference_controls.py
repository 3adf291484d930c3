"""What operators say of references and runs: the values of the controls `reference` and `run`, read leniently.

A value comes over a topic. One that is not understood is as if it had not been said: it must not cost a histogram.
"""

from __future__ import annotations

import zlib
from typing import Annotated, TypeVar

import msgspec

from opintel.detector import Controls
from opintel.dqm.histograms import MAX_RUN

_T = TypeVar("_T", bound=msgspec.Struct)


class ReferenceControl(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """Of the references of a subsystem, or of one histogram (its key is the subject): what is in force."""

    set: str = ""
    """The published set that is pinned; none where it is empty."""
    n: int = 0
    """How many histograms the whole set has."""
    hash: str = ""
    """`opintel.dqm.quality.judge.set_hash` of all of them."""
    fresh: bool = False
    """Whether the references start over, once for this version of the control."""
    ban: tuple[Annotated[int, msgspec.Meta(ge=0, le=MAX_RUN)], ...] = ()
    """Runs that are no references."""


class _Run(msgspec.Struct, frozen=True):
    run_type: str = ""
    menu: str = ""
    pileup: str | float = ""


NOTHING_SAID = ReferenceControl()


def reference_controls(controls: Controls) -> dict[str, ReferenceControl]:
    """Subject → what is in force of its references.

    >>> reference_controls(Controls({("reference", "Calo"): (1, {"ban": [7]}), ("reference", "Muon"): (1, "x")}))
    {'Calo': ReferenceControl(ban=(7,)), 'Muon': ReferenceControl()}
    """
    return {subject: _read(value, ReferenceControl) for subject, value in controls.of_kind("reference").items()}


def run_class(controls: Controls, run: int, category: str = "") -> int:
    """The class of a run, of which references are: a number of 31 bits by what is said of it and by the `category` of
    its histograms, 0 where nothing is.
    """
    said = _read(controls.value("run", str(run)), _Run)
    text = f"{category}|{said.run_type}|{said.menu}|{said.pileup}"
    return zlib.crc32(text.encode()) & 0x7FFFFFFF if category or said != _Run() else 0


def _read(value: object, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return kind()
