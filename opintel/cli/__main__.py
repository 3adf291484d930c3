"""`python -m opintel.cli`."""

from __future__ import annotations

from opintel.cli import main

main()
