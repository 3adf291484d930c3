"""A histogram against its references: one calibrated p each.

`compare` (histograms) and `means` (profiles) answer a `comparison` with its `regions`. `bin_tables` and
`combined_references` prepare the references, `statistics` and `windows` are the tests, `judged` their null
distributions, `verdicts` the name of what was found. `aligned` and `element_comparison` put two monitor elements side
by side: what `opintel dqm compare` prints.
"""
