"""A detector with faults whose truth is known.

`simulate` tells it; `detector_model` says what is usual, `beam` when data are taken, `story` what goes wrong,
`happenings` how it shows.
"""
