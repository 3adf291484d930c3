"""What the documentation says can be followed: links, files, commands and rooms are there, its Python runs, and a
sentence that claims a test links it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from contract.toy import Total, ToyReducer, ToyWire, Value
from pages import PAGES, REPOSITORY, anchors, fences, links, name_of, sections, sentences, spans, tables

from opintel.cli import group
from opintel.detector import Pipeline

EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=name_of)
FOLDERS = re.compile(r"(?:tests|docs|opintel|benchmarks|deploy|scripts)/[\w./-]*")
CLAIM = re.compile(
    r"\btests?(?: now|, which)? (?:ask|check|compare|enforce|hold|play|run|take)s?\b|\b(?:is|by|with) a test\b(?! that)"
)
"""A sentence in which a test does something, or something is done by one."""
NUMBERS = np.random.default_rng(5)
GIVEN: dict[str, Any] = {
    "Pipeline": Pipeline,
    "Samples": Value,
    "Summary": list[int],
    "MyWire": ToyWire,
    "MyReducer": ToyReducer,
    "MyJudge": Total,
    "rows": [{"load": 0.7 + 0.01 * (n % 7), "temperature": 41.0 + n % 3} for n in range(200)],
    "X": NUMBERS.normal(size=(200, 2)),
    "X_new": NUMBERS.normal(size=(5, 2)),
    "counts": np.full(60, 30.0),
    "edges": np.linspace(0, 60, 61),
    "usual": np.full(60, 29.0),
    "low": np.full(60, 15.0),
    "high": np.full(60, 45.0),
    "pulls": np.zeros(60),
    "map_of_pulls": NUMBERS.normal(size=(50, 64)),
}
"""What the examples take for given: their reader's own data and classes."""
EXAMPLES = [(page, fence) for page in PAGES for fence in fences(page.read_text()) if fence.language == "python"]


@EACH_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links(page.read_text()):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not re.match(r"https?:", link) and not (
            target.exists() and (not anchor or anchor in anchors(target.read_text()))
        ):
            broken.append(link)
    assert broken == []


@EACH_PAGE
def test_files_that_are_named_are_there(page: Path) -> None:
    modules = ["/" + file for file in tracked() if file.endswith(".py")]
    words = [word for span in spans(page.read_text()) for word in span.split()]
    absent = [word for word in words if FOLDERS.fullmatch(word) and not (REPOSITORY / word).exists()]
    named = [word for word in words if re.fullmatch(r"[\w./]+\.py", word)]
    absent += [word for word in named if not any(module.endswith(f"/{word}") for module in modules)]
    assert absent == []


@EACH_PAGE
def test_a_sentence_that_claims_a_test_links_it(page: Path) -> None:
    unlinked = []
    for sentence in sentences(page.read_text()):
        named = [span for span in spans(re.sub(r"\[`[^`]*`\]\([^)]*\)", "", sentence)) if re.match("tests/.", span)]
        claims = CLAIM.search(sentence) and not any("tests/" in link for link in links(sentence))
        if named or claims:
            unlinked.append(sentence)
    assert unlinked == []


@EACH_PAGE
def test_commands_that_are_shown_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    wrong = []
    for line in shown(page.read_text()):
        wrong += [f"make {target}" for target in re.findall(r"^make ([a-z][\w-]*)", line) if target not in targets]
        for arguments in re.findall(r"(?:^|[ /])opintel ([a-z][^&|;#]*)", line):
            wrong += [f"opintel {arguments}: {problem}" for problem in misused(arguments.split())]
        for script, arguments in re.findall(r"\b((?:benchmarks|scripts)/\w+\.py)([^&|;#]*)", line):
            source = (REPOSITORY / script).read_text()
            wrong += [f"{script} {o}" for o in re.findall(r"--[\w-]+", arguments) if f'"{o}"' not in source]
    assert wrong == []


@pytest.mark.parametrize(("page", "fence"), EXAMPLES, ids=[f"{name_of(page)}:{f.line}" for page, f in EXAMPLES])
def test_examples_run(page: Path, fence: Any) -> None:
    code = compile("\n" * (fence.line - 1) + fence.code, str(page), "exec")
    exec(code, dict(GIVEN))


def test_the_readme_names_every_folder() -> None:
    (table,) = tables(sections((REPOSITORY / "README.md").read_text())["Where things are"])
    named = {span.strip("/") for row in table for span in spans(row["folder"])}
    assert named == {file.split("/")[0] for file in tracked() if "/" in file and not file.startswith(".")}


def test_the_design_names_every_room() -> None:
    (table,) = tables(sections((REPOSITORY / "docs" / "design.md").read_text())["Rooms"])
    named = [word.strip("/") for row in table for span in spans(row["room"]) for word in span.split()]
    rooms = {file.split("/")[1] for file in tracked() if re.match(r"opintel/[a-z]\w*(/|\.py$)", file)}
    assert sorted(named) == sorted(rooms)


def tracked() -> list[str]:
    """The files of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return [file for file in listed.stdout.splitlines() if (REPOSITORY / file).exists()]


def shown(text: str) -> Iterator[str]:
    """The command lines of a page: its code spans and the lines of its fences without a language."""
    yield from spans(text)
    for fence in fences(text):
        if not fence.language:
            yield from fence.code.replace("\\\n", " ").splitlines()


def misused(words: list[str]) -> Iterator[str]:
    """What is wrong with a command line, by its command and the names of its options."""
    command: click.Command | None = group
    while isinstance(command, click.Group) and words and re.fullmatch("[a-z0-9]+", words[0]):
        command = command.get_command(click.Context(command), words.pop(0))
    if command is None:
        yield "no such command"
        return
    known = {"--help", *(option for parameter in command.params for option in parameter.opts)}
    yield from (f"no option {word}" for word in words if word.startswith("-") and word.split("=")[0] not in known)
