"""The examples in docstrings are true, and the public classes of detection have one."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re

import pytest

import opintel
from opintel.site.domains import DOMAINS, pipeline_of

MODULES = [
    module.name
    for module in pkgutil.walk_packages(opintel.__path__, "opintel.")
    if ".migrations" not in module.name and not module.name.endswith("__main__")
]
OPEN = ["opintel.detector", "opintel.rows", "opintel.columns", *(m for m in MODULES if m.startswith("opintel.stats."))]
"""Modules whose public classes all have an example."""
DECLARED = {"Numbers", "Packed"}
"""How `Columns` and `Batch`, which have one, say what they keep: no class to call."""


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_public_classes_have_an_example() -> None:
    public = [of for m in OPEN for of in vars(importlib.import_module(m)).values() if isinstance(of, type)]
    classes = {of for of in public if of.__module__ in OPEN and not of.__name__.startswith("_")}
    classes |= {type(judge()) for domain in DOMAINS for judge in pipeline_of(domain).judges}
    assert len(classes) > 30
    assert sorted(of.__qualname__ for of in classes if not shown(of)) == sorted(DECLARED)


def shown(of: type) -> bool:
    """Whether an example of its module is in its docstring, or names it."""
    tests = doctest.DocTestFinder().find(importlib.import_module(of.__module__))
    examples = [(test.name, example.source) for test in tests for example in test.examples]
    own, named = f"{of.__module__}.{of.__qualname__}.", re.compile(rf"\b{of.__qualname__}\b")
    return any(f"{test}.".startswith(own) or named.search(source) for test, source in examples)
