"""Writes the YAML of a site for tests, and reads back its secrets and problems."""

from __future__ import annotations

from pathlib import Path

import pytest

from opintel.site.errors import ConfigError
from opintel.site.load import load_site
from opintel.site.secrets import secrets_of
from opintel.site.settings import Site

MINIMAL = "name: fts\ndomain: fts\ntopic: fts.transfers\n"


def write(folder: Path, text: str, name: str = "fts") -> None:
    (folder / "streams" / f"{name}.yaml").write_text(text)


def secrets(site: Site) -> dict[str, str]:
    """Those of the stream's source."""
    kind, settings = site.sources["fts"]
    return secrets_of(site.documents["fts"], (kind,), settings)


def bus_secrets(site: Site) -> dict[str, str]:
    return secrets_of(site.written, ("bus",), site.settings.bus)


def problems(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_site(folder)
    return [str(problem).replace(f"{folder}/streams/", "") for problem in caught.value.problems]
