"""The modules that the registries name (domains, sources, sinks): a site may have written one itself, and not well."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def imported(module: str) -> ModuleType:
    """The module. Raises ValueError, with its name, where it cannot be imported for whatever reason."""
    try:
        return import_module(module)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(f"the module {module} cannot be imported: {reason}") from error
