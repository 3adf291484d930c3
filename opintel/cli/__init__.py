"""The command line: `opintel COMMAND`, each command in a file of its name here, imported only when it is
called.

Results go to stdout (with `--json` one JSON document), progress and logs to stderr. A user's mistake is one
line and exit code 1 or 2; an internal error is one line and 70, its traceback is shown with
OPINTEL_TRACEBACK=1.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

import click

COMMANDS = {
    "demo": "Show the whole system on simulated streams, in a browser.",
    "replay": "Judge real files through the real pipeline.",
    "run": "Run the services.",
    "backfill": "Judge an archive again, with the findings of the live run.",
    "archive": "Make an archive of files.",
    "fit": "Learn from an archive what a new site begins with.",
    "simulate": "Write simulated messages and the truth about them.",
    "evaluate": "Measure the detectors with the field's published metrics.",
    "check": "Check the configuration and name every problem.",
    "topics": "Plan or make the topics of a Kafka cluster.",
    "init": "Copy the shipped configuration to a folder of your own.",
    "version": "Print the versions of all that matters.",
    "findings": "Print the findings in the store.",
    "incidents": "Print the incidents in the store.",
    "certify": "Print which lumisections of a run are good.",
    "dqm": "Compare histograms of files.",
    "fts": "Write the report of a day of transfers.",
    "gw": "Find triggers in files; report on the time of an event.",
    "tickets": "Send tickets again that did not reach their sink.",
}
"""Command → its line in the help; the order is that of the help."""

_PLAIN = ("ArchiveError", "ArchiveUnavailable", "LogError", "LogUnavailable", "OperationalError", "DatabaseError")
"""Errors of the machine or the operator that a command may end with, named so that nothing is imported for them."""
INTERNAL_ERROR, INTERRUPTED = 70, 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and leaves with its exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a temporary folder is removed
    sys.exit(invoke(sys.argv[1:] if arguments is None else arguments))


def invoke(arguments: Sequence[str]) -> int:
    """Runs one command; returns its exit code, whatever happens."""
    try:
        code = group.main(list(arguments), prog_name="opintel", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        _show(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`head`) has left; the interpreter's own flush at exit must not complain about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _explain(error)


class LazyGroup(click.Group):
    """Knows its commands by name and file; imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in COMMANDS if (Path(__file__).parent / f"{name}.py").exists()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = import_module(f"opintel.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise click.UsageError(f"No command {name!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def group() -> None:
    """Operational intelligence: streams become calibrated findings, findings few explained incidents."""


def _show(error: click.ClickException) -> None:
    """One line; a command without its arguments shows its help."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
    else:
        hint = f" (see `{error.ctx.command_path} --help`)" if isinstance(error, click.UsageError) and error.ctx else ""
        click.echo(f"opintel: {' '.join(error.format_message().split())}{hint}", err=True)


def _explain(error: Exception) -> int:
    """One line for what no command caught: the configuration's problems, a missing library, else an internal error."""
    from opintel.site.errors import ConfigError, UserError

    if os.environ.get("OPINTEL_TRACEBACK") == "1":
        import traceback

        traceback.print_exception(error)
    if isinstance(error, ConfigError):
        click.echo("\n".join(map(str, error.problems)), err=True)
        return 1
    if isinstance(error, UserError):
        click.echo(f"opintel: {' '.join(str(error).split())}", err=True)
        return 1
    if isinstance(error, ModuleNotFoundError) and not (error.name or "opintel").startswith("opintel"):
        click.echo(f"opintel: {error}", err=True)
        return 1
    if isinstance(error, OSError) or type(error).__name__ in _PLAIN:
        click.echo(f"opintel: {' '.join(str(error).split())[:500]}", err=True)
        return 1
    what = " ".join(f"{type(error).__name__}: {error}".split())[:500]
    click.echo(f"opintel: internal error: {what}; rerun with OPINTEL_TRACEBACK=1 for the traceback", err=True)
    return INTERNAL_ERROR
