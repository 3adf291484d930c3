"""The command line's manners: light to import, one line for a mistake, codes for interruption and a closed pipe."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from opintel import cli
from opintel.site.errors import ConfigError, UserError
from opintel.site.yaml_places import Problem

HEAVY = {"numpy", "scipy", "pyarrow", "sqlalchemy", "starlette", "rich", "msgspec", "stomp", "torch", "pyspark"}


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    code = f"import opintel.cli, sys; print(sorted({HEAVY!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_help_lists_every_command_without_importing_it() -> None:
    code = "import sys, opintel.cli as c; c.invoke(['--help']); print([m for m in sys.modules if 'opintel.' in m])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert said.splitlines()[-1] == "['opintel.cli']"
    for name in cli.group.list_commands(click.Context(cli.group)):
        assert f"  {name} " in said


def test_every_listed_command_has_help(capsys: pytest.CaptureFixture) -> None:
    for name in cli.group.list_commands(click.Context(cli.group)):
        assert cli.invoke([name, "--help"]) == 0
        assert f"Usage: opintel {name}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["chek"], ["check", "--jsno"], ["init"], ["--nonsense"]])
def test_a_mistake_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    assert cli.invoke(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("opintel: ")


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (UserError("no such stream"), 1, "opintel: no such stream\n"),
        (ConfigError([Problem("a.yaml", 3, "key", "wrong")]), 1, "a.yaml:3: key: wrong\n"),
        (ModuleNotFoundError("needs the extra `stomp`", name="stomp"), 1, "opintel: needs the extra `stomp`\n"),
        (ModuleNotFoundError("No module named 'opintel.x'", name="opintel.x"), 70, "opintel: internal error: "),
        (ZeroDivisionError("two\nlines"), 70, "opintel: internal error: ZeroDivisionError: two lines; rerun with"),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
        (click.exceptions.Exit(3), 3, ""),
    ],
)
def test_what_a_command_raises_becomes_a_line_and_a_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, error: BaseException, code: int, text: str
) -> None:
    @click.command()
    def broken() -> None:
        raise error

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: broken)
    monkeypatch.delenv("OPINTEL_TRACEBACK", raising=False)
    assert cli.invoke(["version"]) == code
    said = capsys.readouterr().err
    assert said.startswith(text)
    assert "Traceback" not in said


def test_the_traceback_is_shown_on_request(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    @click.command()
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: broken)
    monkeypatch.setenv("OPINTEL_TRACEBACK", "1")
    assert cli.invoke(["version"]) == 70
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["version"], ["version", "--json"], ["--help"]])
def test_a_reader_that_leaves_is_no_error(arguments: list[str]) -> None:
    code = "import sys, opintel.cli as c; sys.stdin.read(); c.main(sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, said = process.communicate("go")
    assert (process.returncode, said) == (1, "")
