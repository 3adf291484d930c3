"""An operator's mistake, explained: what puts a site together raises it, `opintel.cli` prints it."""

from __future__ import annotations

from opintel.site.yaml_places import Problem


class UserError(Exception):
    """What is wrong and what is expected, in one line; the command line leaves with exit code 1."""


class ConfigError(UserError):
    """The configuration cannot be used; `problems` has every reason, each with file, line and key."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems
