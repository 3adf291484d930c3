"""YAML that was read becomes settings, field by field, so that every problem is found and each has its place.

Types with a form of their own in YAML are in `FORMS`; all else is msgspec's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from opintel.alerts.settings import Timestamp, moment
from opintel.alerts.sinks import SINKS, SinkSettings
from opintel.durations import Duration, duration
from opintel.paths import FilePath
from opintel.site.imports import imported
from opintel.site.yaml_places import Document, Path_, Problem, did_you_mean
from opintel.sizes import Size, size
from opintel.streams.kafka.settings import Servers, servers

T = TypeVar("T", bound=msgspec.Struct)


def struct(
    document: Document, path: Path_, data: Any, kind: type[T], problems: list[Problem], *, also: Iterable[str] = ()
) -> T | None:
    """`data` at `path` as a `kind`; None where there is a problem. `also`: keys that are read elsewhere.

    What a settings type says in a ValueError, `KEY: what is wrong`, is a problem of that key.
    """
    before = len(problems)
    if not isinstance(data, dict):
        problems.append(document.problem(path, f"expected settings as `key: value` lines, got {shown(data)}"))
        return None
    fields = {f.encode_name: f for f in msgspec.structs.fields(kind)}
    known = {*fields, *also}
    for key in data:
        if key not in known:
            problems.append(document.problem((*path, key), f"unknown key{did_you_mean(str(key), known)}"))
    values = {}
    for key, field in fields.items():
        if key in data:
            values[field.name] = value(document, (*path, key), data[key], field.type, problems)
        elif field.required:
            problems.append(document.problem((*path, key), "missing"))
    if len(problems) > before:
        return None
    try:
        return kind(**values)
    except ValueError as error:
        problems.append(placed(document, path, kind, error))
        return None


def value(document: Document, path: Path_, given: Any, kind: Any, problems: list[Problem]) -> Any:
    """`given` as a value of type `kind`; None where there is a problem."""
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if given is None and NoneType in options:
        return None
    if len(options) == 2 and NoneType in options:
        kind = next(option for option in options if option is not NoneType)
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    try:
        if plain in FORMS:
            return FORMS[plain](document, given)
        if get_origin(plain) is Literal and given not in get_args(plain):
            words = ", ".join(f"`{word}`" for word in get_args(plain))
            raise ValueError(f"expected one of {words}, got {shown(given)}")
        if plain is SinkSettings:
            return _sink(document, path, given, problems)
        if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
            return struct(document, path, given, plain, problems)
        if get_origin(kind) in (list, tuple) and isinstance(given, list):
            inner = get_args(kind)[0]
            return get_origin(kind)(value(document, (*path, n), v, inner, problems) for n, v in enumerate(given))
        if get_origin(kind) is dict and isinstance(given, dict):
            inner = get_args(kind)[1]
            return {key: value(document, (*path, key), v, inner, problems) for key, v in given.items()}
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at `$")
        deeper = tuple(int(i) if i.isdigit() else i for i in re.findall(r"[^.\[\]`]+", where))
        text = text.replace("Expected `object`", "expected `key: value` lines").replace("Expected", "expected", 1)
        problems.append(document.problem((*path, *deeper), text if ", got " in text else f"{text}, got {shown(given)}"))
    except ValueError as error:
        problems.append(document.problem(path, str(error)))
    return None


def placed(document: Document, path: Path_, kind: type, error: Exception) -> Problem:
    """The problem that an error of settings of type `kind` at `path` is; `KEY: …` names one of its keys."""
    key, colon, text = str(error).partition(": ")
    steps = tuple(int(step) if step.isdigit() else step for step in key.split("."))
    if colon and steps[0] in getattr(kind, "__struct_fields__", ()):
        return document.problem((*path, *steps), text)
    return document.problem(path, " ".join(str(error).split()))


def registered(registry: dict[str, str], name: str) -> type[Any]:
    """The class that a registry's line `name: "module:Class"` names, imported now; ValueError where it cannot be."""
    module, _, attribute = registry[name].partition(":")
    found: type[Any] | None = getattr(imported(module), attribute, None)
    if found is None:
        raise ValueError(f"expected a class {attribute} in the module {module}, got none")
    return found


def shown(given: Any) -> str:
    """A value as a problem repeats it, bounded."""
    text = repr(given)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _sink(document: Document, path: Path_, given: Any, problems: list[Problem]) -> Any:
    """The settings of a sink: its `type` says whose."""
    if not isinstance(given, dict):
        problems.append(document.problem(path, f"expected settings as `key: value` lines, got {shown(given)}"))
        return None
    name = given.get("type")
    if not isinstance(name, str) or name not in SINKS:
        near = did_you_mean(name, SINKS) if isinstance(name, str) else f"; known here: {', '.join(SINKS)}"
        what = "missing" if name is None else f"no type of sink is {shown(name)}"
        problems.append(document.problem((*path, "type"), what + near))
        return None
    rest = {key: below for key, below in given.items() if key != "type"}
    return struct(document, path, rest, registered(SINKS, name), problems)


def _path(document: Document, given: Any) -> FilePath:
    text = msgspec.convert(given, str)
    return FilePath(str(document.folder / os.path.expanduser(text)) if text else "")


FORMS: dict[Any, Callable[[Document, Any], Any]] = {
    Duration: lambda _, given: duration(given),
    Size: lambda _, given: size(given),
    Timestamp: lambda _, given: moment(given),
    FilePath: _path,
    Servers: lambda _, given: servers(given),
}
"""Type → how it is read; they raise ValueError."""
