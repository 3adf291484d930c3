"""Machines and services: thousands of metric series at once, judged against their own past."""

from opintel.health.series import MultiSeriesDetector, Scores

__all__ = ["MultiSeriesDetector", "Scores"]
