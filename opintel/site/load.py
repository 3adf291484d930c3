"""The one loader of a site's YAML: `site.yaml`, the streams in `streams/` and what is made of findings in `alerts/`,
overridden by the environment.

A site's folder is given, or named by `OPINTEL_CONFIG`, or the shipped one. Every key of a stream and of `site.yaml` can
be overridden by an environment variable: `OPINTEL_SITE__BUS__USER=…` is `bus.user` in `site.yaml`,
`OPINTEL_STREAMS__FTS__WINDOW=5m` is `window` in `streams/fts.yaml`, two underscores go one level down, and what a
variable's name cannot hold is written `_`: `OPINTEL_STREAMS__FTS__DETECTORS__FTS_SILENCE__…` is the detector
`fts.silence`. Secrets are never written in YAML: see `opintel.site.secrets`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import yaml

from opintel.alerts.settings import AlertSettings, Budgets, Calendar, Lifecycle, Routes, SiteTopology
from opintel.site.errors import ConfigError
from opintel.site.reading import registered, struct
from opintel.site.settings import Site, SiteSettings, Source, StreamSettings
from opintel.site.shipped import shipped_folder
from opintel.site.yaml_places import Document, Loader, Problem, YamlPlace, did_you_mean, insert, matching, read_yaml
from opintel.streams.connectors import SOURCES

PREFIX, SITE_PREFIX = "OPINTEL_STREAMS__", "OPINTEL_SITE__"
LEAST_BYTES = 10**9
"""Of a partition's records that the log keeps: a restart reads what came since the last checkpoint."""
_URL = re.compile(r"file:|.*://")
_ALERTS: dict[str, tuple[str, type[msgspec.Struct]]] = {
    "budgets": ("budgets", Budgets),
    "incidents": ("lifecycle", Lifecycle),
    "routes": ("routes", Routes),
    "maintenance": ("calendar", Calendar),
    "topology": ("topology", SiteTopology),
}
"""File of `alerts/` → its field of `AlertSettings`, and the type of that."""


def load_site(directory: Path | None = None) -> Site:
    """The settings in `directory`, else in the folder that `OPINTEL_CONFIG` names, else the shipped ones.

    Raises ConfigError with all problems. What takes a domain, a secret or another file to tell is found by
    `opintel.site.check`.
    """
    site, problems = read_site(directory)
    if problems:
        raise ConfigError(problems)
    return site


def read_site(directory: Path | None = None) -> tuple[Site, list[Problem]]:
    """The same, and what is wrong with it: a stream that has problems is among the documents only, a file of `alerts/`
    or a `site.yaml` that has some is as if it were not there. Raises ConfigError where there is no site to read.
    """
    given = directory or (Path(os.environ["OPINTEL_CONFIG"]) if os.environ.get("OPINTEL_CONFIG") else None)
    folder = given or shipped_folder()
    if not folder.is_dir():
        raise ConfigError([Problem(str(folder), 0, "", "no such folder; `opintel init DIR` makes one")])
    missing = [name for name in ("streams", "alerts") if not (folder / name).is_dir()]
    if missing:
        raise ConfigError([Problem(str(folder), 0, "", f"has no folder `{name}`") for name in missing])
    root = str(folder) + os.sep if given else ""
    problems: list[Problem] = []
    written = _optional(folder / "site.yaml", f"{root}site.yaml", problems)
    documents: dict[str, Document] = {}
    for path in sorted((folder / "streams").glob("*.y*ml")):
        shipped = shipped_folder() / "streams"
        documents[path.stem], found = read_yaml(path, f"{root}streams/{path.name}", shipped=shipped)
        problems += found
    if not documents:
        problems.append(Problem(str(folder / "streams"), 0, "", "holds no *.yaml; a stream is one file"))
    problems += _override(documents, written)
    settings = struct(written, (), written.data, SiteSettings, problems) or SiteSettings()
    streams: dict[str, StreamSettings] = {}
    sources: dict[str, Source] = {}
    for name, document in documents.items():
        if not document.data:
            continue
        own = {key: below for key, below in document.data.items() if key not in SOURCES}
        stream = struct(document, (), own, StreamSettings, problems, also=SOURCES)
        source = _source(document, problems)
        if stream is not None:
            problems += _rules(name, stream, document, streams)
            streams[name] = stream
            if source is not None:
                sources[name] = source
    alerts, alert_documents = _alerts(folder / "alerts", f"{root}alerts", problems)
    for key in ("checkpoints", "models", "archive"):
        url = getattr(settings, key)
        if url and given and not _URL.match(url):
            settings = msgspec.structs.replace(settings, **{key: str(folder / os.path.expanduser(url))})
    return Site(folder, streams, sources, alerts, settings, written, documents, alert_documents), problems


def _source(document: Document, problems: list[Problem]) -> Source | None:
    """The live source that a stream's YAML names, each kind under a key of its own."""
    kinds = [key for key in SOURCES if key in document.data]
    if len(kinds) > 1:
        both = " and ".join(f"`{kind}`" for kind in kinds)
        problems.append(document.problem((kinds[-1],), f"a stream has one source, got {both}"))
    elif kinds:
        try:
            kind = registered(SOURCES, kinds[0])
        except ValueError as error:
            problems.append(document.problem((kinds[0],), str(error)))
            return None
        settings = struct(document, (kinds[0],), document.data[kinds[0]], kind, problems)
        return None if settings is None else Source(kinds[0], settings)
    return None


def _alerts(folder: Path, shown: str, problems: list[Problem]) -> tuple[AlertSettings, dict[str, Document]]:
    """The settings in `alerts/`; a file that is missing or empty keeps its defaults."""
    documents: dict[str, Document] = {}
    parts: dict[str, msgspec.Struct] = {}
    for name, (field, kind) in _ALERTS.items():
        documents[name] = _optional(folder / f"{name}.yaml", f"{shown}/{name}.yaml", problems)
        part = struct(documents[name], (), documents[name].data, kind, problems)
        if part is not None:
            parts[field] = part
    known = [f"{name}.yaml" for name in _ALERTS]
    for path in sorted(folder.glob("*.y*ml")):
        if path.name not in known:
            near = did_you_mean(path.name, known)
            problems.append(Problem(f"{shown}/{path.name}", 0, "", f"nothing reads a file of this name{near}"))
    return AlertSettings(**parts), documents  # type: ignore[arg-type]


def _optional(path: Path, shown: str, problems: list[Problem]) -> Document:
    """A file that may be missing, or hold comments only."""
    if not os.path.lexists(path):
        return Document({}, {(): YamlPlace(shown, 0)}, path.parent)
    document, found = read_yaml(path, shown, blank=True)
    problems += found
    return document


def _rules(
    stem: str, settings: StreamSettings, document: Document, others: Mapping[str, StreamSettings]
) -> list[Problem]:
    """What the fields of a stream must keep between them."""
    rules = [
        ("name", settings.name == stem, f"is {settings.name!r}; a stream is named as its file, {stem!r}"),
        ("partitions", settings.partitions <= settings.shards, f"at most `shards` ({settings.shards})"),
        ("window", settings.window > 0, "longer than 0"),
        ("skew", settings.skew <= settings.lateness, "at most `lateness`: else one fast clock makes the rest late"),
        ("interval", 0 < settings.interval <= settings.window, "longer than 0, at most `window`"),
        ("ttl", settings.ttl >= settings.window, "at least `window`"),
        ("retention", settings.retention >= settings.window + settings.lateness, "at least `window` + `lateness`"),
        ("phase", settings.phase < settings.window, "less than `window`"),
        (
            "retention_bytes",
            settings.retention_bytes == 0 or settings.retention_bytes >= LEAST_BYTES * settings.partitions,
            f"at least {LEAST_BYTES // 10**9}GB for each of its {settings.partitions} partitions",
        ),
    ]
    out = [document.problem((key,), text) for key, holds, text in rules if not holds]
    for name, other in others.items():
        if other.topic == settings.topic:
            out.append(document.problem(("topic",), f"{settings.topic!r} is the topic of stream {name!r} already"))
    return out


def _override(documents: dict[str, Document], written: Document) -> list[Problem]:
    """Puts the environment's values over those of the files."""
    problems = []
    for variable in sorted(v for v in os.environ if v.startswith(PREFIX)):
        first, *parts = variable.removeprefix(PREFIX).split("__")
        document = documents.get(matching(first, documents))
        if document is None or not parts or not all(parts):
            right = f"{PREFIX}STREAM__KEY of a stream in {', '.join(sorted(documents)) or 'streams/'}"
            problems.append(Problem(variable, 0, "", f"is no setting; expected {right}"))
        else:
            problems += _set(document, variable, parts, [*StreamSettings.__struct_fields__, *SOURCES])
    for variable in sorted(v for v in os.environ if v.startswith(SITE_PREFIX)):
        problems += _set(
            written, variable, variable.removeprefix(SITE_PREFIX).split("__"), SiteSettings.__struct_fields__
        )
    return problems


def _set(document: Document, variable: str, parts: list[str], first: Iterable[str]) -> list[Problem]:
    path: list[str] = []
    level = document.data
    for part in parts:
        names = list(level) + ([] if path else list(first))
        path.append(matching(part, names))
        below = level.get(path[-1])
        level = below if isinstance(below, dict) else {}
    try:
        insert(document, tuple(path), yaml.load(os.environ[variable], Loader), YamlPlace(variable, 0))  # noqa: S506
    except (yaml.YAMLError, ValueError) as error:
        return [Problem(variable, 0, ".".join(path), " ".join(str(error).split()))]
    return []
