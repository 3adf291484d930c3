"""Stage 1: each histogram of a lumisection against references that roll.

`reducer` drives it on `histories`, the references: carried from label to label (`labels`), as they would be at today's
pile-up (`pileup`), pinned by operators (`published`, `reference_controls`). `groups` puts alike histograms together,
`quick_look` passes most of them, `against_references` compares the rest, `outcomes` and `pictures` say what came of it.
"""
