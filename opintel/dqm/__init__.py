"""Data-quality monitoring: a detector's histograms, lumisection by lumisection, against references that follow the
conditions.

* `elements`: a histogram with its axes, as every format becomes one
* `histograms`: the rows of the stream: histograms, manifests, published references
* `wire`: messages of histograms become rows: `arrow_parts`, `json_messages` and `uhi` read their forms, `heads` and
  `shapes` what they say of the lumisection and of axes, `assembly` puts the rows together
* `encoder`: monitor elements as messages of the wire
* `records`: what stage 1 says of a histogram in a lumisection
* `simulate`: a detector with faults whose truth is known: `detector_model` says what is usual, `beam` when data are
  taken, `story` what goes wrong, `happenings` how it shows
"""
