"""References as a model of how good runs vary.

`reference_model` judges by it; `natural_variation` learns it, of few runs `between_runs`; `conditional_pulls` asks what
stands out of it; `evaluate_references` measures what it finds, `archived_references` fits it to an archive.
"""
