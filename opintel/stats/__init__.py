"""Calibrated statistics that the domains share: exact tails, robust fits, groups, FDR, habits. Vectorised and pure."""
