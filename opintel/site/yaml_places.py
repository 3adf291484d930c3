"""YAML files read together with the place of every key, so that a problem can name file, line and key.

`opintel.site.load` reads the YAML folders of a site through it. Only plain data come out (safe tags); keys that stand
twice, which YAML parsers usually let pass, are problems here. `KEY: {include: FILE}` reads the mapping in another file,
whose path is relative to the file that names it, or the shipped one of that path where the site has none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import yaml

Path_ = tuple[str | int, ...]
MAX_BYTES = 1 << 20
MAX_DEPTH = 32


class YamlPlace(NamedTuple):
    """Where a value was written: a file and its line (from 1), or an environment variable and 0."""

    file: str
    line: int


class Problem(NamedTuple):
    """One thing wrong in the configuration. `line` is 0 where there is none, `key` is dotted, '' for the whole file."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class Document(NamedTuple):
    """Plain data and the place of every path in it; `()` is the document itself."""

    data: dict[str, Any]
    places: dict[Path_, YamlPlace]
    folder: Path = Path()
    """What paths in it are relative to."""
    shipped: Path | None = None
    """Where a file lies that it includes and that its folder has not; without this it includes nothing."""

    def problem(self, path: Iterable[str | int], message: str) -> Problem:
        """A problem at `path`, or at the nearest written key above it."""
        at = tuple(path)
        known = next(at[:n] for n in range(len(at), -1, -1) if at[:n] in self.places)
        place = self.places[known]
        return Problem(place.file, place.line, ".".join(map(str, at)), message)


class Loader(yaml.SafeLoader):
    """Takes numbers as `300e9` too, which YAML 1.1 reads as text."""


_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+\Z")
Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


def read_yaml(
    path: Path, name: str, *, blank: bool = False, shipped: Path | None = None
) -> tuple[Document, list[Problem]]:
    """The mapping in a YAML file, shown as `name` in problems; an unreadable file gives an empty document and why.

    `blank`: it may hold comments only. `shipped`: the shipped folder of such files; without it, nothing is included.
    """
    document = Document({}, {(): YamlPlace(name, 0)}, path.parent, shipped)
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            return document, [Problem(name, 0, "", f"more than {MAX_BYTES} bytes; this is no settings file")]
        refuse_aliases(text.decode())
        loader = Loader(text.decode())
        node = loader.get_single_node()
    except UnicodeDecodeError as error:
        return document, [Problem(name, 0, "", f"not UTF-8 at byte {error.start}")]
    except OSError as error:
        return document, [Problem(name, 0, "", f"cannot be read: {error.strerror}")]
    except RecursionError:
        return document, [Problem(name, 0, "", f"nested deeper than {MAX_DEPTH}")]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        return document, [Problem(name, line, "", f"not YAML: {error.problem or error.context}")]
    except yaml.YAMLError as error:
        return document, [Problem(name, 0, "", f"not YAML: {' '.join(str(error).split())}")]
    if node is None and blank:
        return document, []
    if not isinstance(node, yaml.MappingNode):
        return document, [Problem(name, 1, "", "expected settings as `key: value` lines")]
    problems: list[Problem] = []
    data = _plain(loader, node, (), document, problems)
    return document._replace(data=data), problems


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?`, or the possible words where none is near."""
    words = sorted(known)
    if near := nearest(word, words):
        return f"; did you mean `{near}`?"
    return f"; known here: {', '.join(words)}" if words else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """The word that was probably meant; '' where none is near."""
    return next(iter(get_close_matches(word, sorted(known), 1, 0.6)), "")


def insert(document: Document, path: Path_, value: Any, place: YamlPlace) -> None:
    """Sets a value from elsewhere (an environment variable) over the file's; raises ValueError where no mapping is."""
    target: dict[str, Any] = document.data
    for depth, key in enumerate(path[:-1], 1):
        target = target.setdefault(str(key), {})
        if not isinstance(target, dict):
            raise ValueError(f"{'.'.join(map(str, path[:depth]))} holds no settings of its own")
    target[str(path[-1])] = value
    for known in [p for p in document.places if p[: len(path)] == path]:
        del document.places[known]
    document.places[path] = place


def refuse_aliases(text: str) -> None:
    """Raises yaml.MarkedYAMLError at the first alias: settings need none, and a few lines of them can fill memory."""
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            mark: Any = event.start_mark
            raise yaml.MarkedYAMLError(problem="an alias (*name) is not taken; write it out", problem_mark=mark)


def flat(text: str) -> str:
    """A key as it is written in an environment variable: capitals, `_` for what these do not allow."""
    return "".join(c if c.isalnum() else "_" for c in text).upper()


def matching(name: str, known: Mapping[str, Any] | Iterable[str]) -> str:
    """The one of `known` that an environment variable's part means, else the part in small letters."""
    return next((key for key in known if flat(key) == name), name.lower())


def _included(file: str, shipped: Path, path: Path_, document: Document, problems: list[Problem]) -> dict[str, Any]:
    """The mapping in `file`; an `include` in that stays what it is, a key that no settings know."""
    own = document.folder / file
    name = os.path.normpath(Path(document.places[()].file).parent / file)
    found, wrong = read_yaml(own if own.exists() or not (shipped / file).exists() else shipped / file, name)
    problems += wrong
    document.places.update({(*path, *below): place for below, place in found.places.items() if below})
    return found.data


def _plain(loader: Any, node: Any, path: Path_, document: Document, problems: list[Problem]) -> Any:
    document.places[path] = YamlPlace(document.places[()].file, node.start_mark.line + 1)
    if len(path) > MAX_DEPTH:
        problems.append(document.problem(path, f"nested deeper than {MAX_DEPTH}"))
        return None
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, n, (*path, i), document, problems) for i, n in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        try:
            return loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            reason = getattr(error, "problem", None) or str(error)
            problems.append(document.problem(path, f"not a plain value: {reason}"))
            return None
    out: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else ""
        if not key or key == "<<":
            line = key_node.start_mark.line + 1
            problems.append(Problem(document.places[()].file, line, ".".join(map(str, path)), "keys are plain words"))
        elif key in out:
            at = Document(
                {}, {**document.places, (*path, key): YamlPlace(document.places[()].file, key_node.start_mark.line + 1)}
            )
            first = document.places[(*path, key)].line
            problems.append(at.problem((*path, key), f"stands twice, first in line {first}; keep one"))
        else:
            out[key] = _plain(loader, value_node, (*path, key), document, problems)
            document.places[(*path, key)] = YamlPlace(document.places[()].file, key_node.start_mark.line + 1)
    file = out.get("include")
    if len(out) == 1 and isinstance(file, str) and document.shipped is not None:
        return _included(file, document.shipped, path, document, problems)
    return out
