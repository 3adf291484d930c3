"""What is used of kafka-python though it is not documented: listed in one place, and there in the installed version."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

import opintel.streams.kafka as room

LISTED = [
    (re.search(r"`(kafka[\w.]*:\w+)`", entry)[1], name)  # type: ignore[index]
    for entry in (room.__doc__ or "").split("\n- ")[1:]
    for names in re.findall(r"`(\.[^`]*)`", entry)
    for name in names.replace(".", "").split()
]
NODES = [
    node for path in Path(room.__file__).parent.glob("[a-z]*.py") for node in ast.walk(ast.parse(path.read_bytes()))
]


@pytest.mark.parametrize(("place", "name"), LISTED)
def test_what_is_listed_is_there(place: str, name: str) -> None:
    module, _, owner = place.partition(":")
    found = getattr(importlib.import_module(module), owner)
    assert hasattr(found, name) or f"self.{name} =" in inspect.getsource(found)


def test_what_is_imported_is_listed() -> None:
    imported = {
        f"{node.module}:{name.name}"
        for node in NODES
        if isinstance(node, ast.ImportFrom) and re.match(r"kafka\.(net|protocol|coordinator)\b", node.module or "")
        for name in node.names
    }
    assert imported == {place for place, _ in LISTED} - {"kafka:KafkaProducer"}


def test_private_names_are_listed() -> None:
    attributes = [node for node in NODES if isinstance(node, ast.Attribute) and node.attr.startswith("_")]
    own = {node.attr for node in attributes if isinstance(node.ctx, ast.Store)}
    own |= {node.target.attr for node in NODES if isinstance(node, ast.AnnAssign) and hasattr(node.target, "attr")}
    own |= {node.name for node in NODES if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)}
    own -= {"_sock_recv", "_build_transport"}  # in place of theirs
    used = {node.attr for node in attributes} - own - {"_replace", "_asdict", "__name__", "__class__", "__cause__"}
    assert used - {"_fields"} <= {name for _, name in LISTED}
