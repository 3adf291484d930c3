"""Paths as the YAML of a site writes them."""

from __future__ import annotations

from typing import NewType

FilePath = NewType("FilePath", str)
"""A file or folder; in YAML relative to the folder of the file that names it, whole once it is read. '' is none."""
