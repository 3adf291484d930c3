"""The command line, called in the test's own process: to start one for each command would cost more than most do."""

from __future__ import annotations

from contextlib import chdir, redirect_stderr, redirect_stdout
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import NamedTuple

from opintel.cli import invoke


class Done(NamedTuple):
    code: int
    out: str
    err: str


def opintel(*args: object, cwd: Path) -> Done:
    """What a command prints."""
    out, err = TextIOWrapper(BytesIO(), "utf-8"), TextIOWrapper(BytesIO(), "utf-8")
    with chdir(cwd), redirect_stdout(out), redirect_stderr(err):
        code = invoke([str(arg) for arg in args])
    out.seek(0)
    err.seek(0)
    return Done(code, out.read(), err.read())


def printed(*args: object, cwd: Path) -> str:
    """What a command that succeeds prints as its result."""
    done = opintel(*args, cwd=cwd)
    assert done.code == 0, done.err
    return done.out
