"""Builds of different age side by side on one log, as in a rolling upgrade."""
