"""Spark's Python daemon with what each task imports in it already: the workers that it forks have it from there.

Spark starts it in place of its own by `spark.python.daemon.module` (`spark.session`).
"""

from __future__ import annotations

import importlib

IMPORTED = ("pandas", "scipy.special", "scipy.stats", "opintel.backfill.spark")
"""pyspark's workers import pandas for batches of Arrow's, all domains SciPy for their p-values."""


def main() -> None:
    """Forks workers until Spark ends."""
    from pyspark.daemon import manager

    for module in IMPORTED:
        importlib.import_module(module)
    manager()


if __name__ == "__main__":
    main()
