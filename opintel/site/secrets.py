"""The one way to a secret: `x_file` names the file that holds `x`, relative to the folder of its YAML, and `x_env` the
environment variable. What settings open is opened here, their secrets read and their certificates found.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from opintel.site.errors import ConfigError
from opintel.site.reading import placed
from opintel.site.yaml_places import Document, Path_, Problem

T = TypeVar("T")
MAX_SECRET = 64 * 1024


def opened(document: Document, path: Path_, settings: Any, open_: Callable[[Mapping[str, str]], T]) -> T:
    """What `open_` makes of the secrets of `settings`, which `document` has at `path`.

    Raises ConfigError with every file that cannot be read, every secret that is missing, and what `open_` says in a
    ValueError (`KEY: …` names a key), OSError or ModuleNotFoundError.
    """
    found = secrets_of(document, path, settings)
    try:
        return open_(found)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise ConfigError([placed(document, path, type(settings), error)]) from error


def secrets_of(document: Document, path: Path_, settings: Any) -> dict[str, str]:
    """Name → text of each secret that settings name. Raises ConfigError, for other files (`ca_file`) too."""
    problems: list[Problem] = []
    found: dict[str, str] = {}
    names = {field.name for field in msgspec.structs.fields(settings)}
    for key in sorted(names):
        given, stem = getattr(settings, key), key.removesuffix("_file").removesuffix("_env")
        if stem == key or not given:
            continue
        if f"{stem}_env" in names:
            found[stem] = secret(document, (*path, key), given, problems)
        elif reason := _unreadable(given):
            problems.append(document.problem((*path, key), f"{given} cannot be read: {reason}"))
    if problems:
        raise ConfigError(problems)
    return found


def secret(document: Document, path: Path_, given: str, problems: list[Problem]) -> str:
    """The text that a key `…_file` (whole path) or `…_env` names; '' where there is a problem."""
    if str(path[-1]).endswith("_env"):
        text = os.environ.get(given, "").strip()
        reason = f"the environment variable {given} is not set or empty"
    else:
        text, reason = "", f"{given} is empty or longer than {MAX_SECRET} bytes"
        try:
            with open(given, encoding="utf-8") as file:
                text = file.read(MAX_SECRET + 1).strip()
        except (OSError, ValueError) as error:
            reason = f"{given} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}"
    if not 0 < len(text) <= MAX_SECRET:
        problems.append(document.problem(path, reason))
        return ""
    return text


def _unreadable(path: str) -> str:
    """Why a file cannot be read; '' where it can."""
    try:
        with open(path, "rb") as file:
            file.read(1)
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""
