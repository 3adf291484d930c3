"""opintel: operational intelligence for detectors, grids and interferometers."""

__version__ = "0.1.0"
