"""A user's mistake, told in one line; commands raise it, `opintel.cli.main` prints it."""

from __future__ import annotations

import click


class UserError(click.ClickException):
    """What is wrong and what would be right, without a traceback. Exit code 1."""
