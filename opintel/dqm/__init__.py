"""Data-quality monitoring: a detector's histograms, lumisection by lumisection, against references that follow the
conditions.

* `elements`: a histogram with its axes, as every format becomes one
* `histograms`: the rows of the stream: histograms, manifests, published references
* `records`: what stage 1 says of a histogram in a lumisection
"""
