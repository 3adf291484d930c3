"""A user's mistake, explained in one line: what puts a site together raises it, `opintel.cli` prints it."""

from __future__ import annotations


class UserError(Exception):
    """What is wrong and what would be right, without a traceback; the command line leaves with exit code 1."""
