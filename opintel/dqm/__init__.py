"""Data-quality monitoring: a detector's histograms, lumisection by lumisection, against references that follow the
conditions.

* `elements`: a histogram with its axes, as every format becomes one
* `histograms`: the rows of the stream: histograms, manifests, published references
* `wire`: messages of histograms become rows: `arrow_parts`, `json_messages` and `uhi` read their forms, `heads` and
  `shapes` what they say of the lumisection and of axes, `assembly` puts the rows together
* `encoder`: monitor elements as messages of the wire
* `files`: files of the field's formats: ROOT, UHI, nanoDQMIO
* `records`: what stage 1 says of a histogram in a lumisection
* `comparing`, `means`: histograms and profiles against references, one calibrated p each; stand on `bin_tables`,
  `combined_references`, `judged`, `statistics`, `windows` and `verdicts`, answer a `comparison` with its `regions`
* `pipeline`: the two stages: `reducer` on `histories` (references that roll; `labels`: from bin to bin; `pileup`: as
  they would be now), `published` (references that were pinned), `reference_controls` (what operators say), `groups`,
  `against_references` (most get a `quick_look` only) and `outcomes`; `quality` on `occupancy` (is an empty one dead)
  and `status`, its words in `quality_findings`; both draw with `pictures`
* `certify`: golden and defect JSON; `advice`: what a shifter reads beside a kind of finding
* `aligned`, `element_comparison`: two monitor elements side by side, what `opintel dqm compare` prints
* `simulate`: a detector with faults whose truth is known: `detector_model` says what is usual, `beam` when data are
  taken, `story` what goes wrong, `happenings` how it shows
* `reference_model`: the same by a model of how good runs vary; `natural_variation` and, of few runs,
  `between_runs` learn it, `conditional_pulls` asks what stands out of it; `evaluate_references` measures what it finds
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opintel.dqm.comparing import compare, compare_2d
    from opintel.dqm.comparison import Comparison
    from opintel.dqm.reference_model import ReferenceModel

_ROOMS = {
    "Comparison": "comparison",
    "ReferenceModel": "reference_model",
    "compare": "comparing",
    "compare_2d": "comparing",
}
__all__ = ["Comparison", "ReferenceModel", "compare", "compare_2d"]


def __getattr__(name: str) -> Any:
    """The public names, imported when first asked for: what reads formats alone needs no scipy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
