"""Data-quality monitoring: a detector's histograms, lumisection by lumisection, against references that follow the
conditions.

* `elements`: a histogram with its axes, as every format becomes one
* `histograms`: the rows of the stream: histograms, manifests, published references
* `wire`: messages of histograms become rows, and monitor elements messages
* `files`: files of the field's formats: ROOT, UHI, nanoDQMIO
* `records`: what stage 1 says of a histogram in a lumisection
* `comparing`: histograms and profiles against references, one calibrated p each
* `modelled`: the same by a model of how good runs vary
* `rolling`: stage 1, on references that roll
* `quality`: stage 2, and certification
* `simulated`: a detector with faults whose truth is known
* `pipeline`: the two stages on one page
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opintel.dqm.comparing.compare import compare, compare_2d
    from opintel.dqm.comparing.comparison import Comparison
    from opintel.dqm.modelled.reference_model import ReferenceModel

_ROOMS = {
    "Comparison": "comparing.comparison",
    "ReferenceModel": "modelled.reference_model",
    "compare": "comparing.compare",
    "compare_2d": "comparing.compare",
}
__all__ = ["Comparison", "ReferenceModel", "compare", "compare_2d"]


def __getattr__(name: str) -> Any:
    """The public names, imported when first asked for: what reads formats alone needs no scipy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
