"""Decisions: findings become alerts within a false-alarm budget, alerts become few incidents, incidents become
tickets."""
