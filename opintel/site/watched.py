"""The streams of a site, each with its domain's pipeline: what only a domain can judge (the keywords of its wire, the
settings of its detectors) is read here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar, get_type_hints

import msgspec

from opintel.detector import Pipeline, Wire
from opintel.paths import FilePath
from opintel.site.domains import pipeline_of
from opintel.site.errors import ConfigError, UserError
from opintel.site.reading import struct, value
from opintel.site.secrets import secret
from opintel.site.settings import Site, StreamSettings
from opintel.site.yaml_places import Path_, Problem, did_you_mean
from opintel.streams.controls import NOT_PLAIN, is_plain
from opintel.streams.settings import settings_types
from opintel.streams.stream import CLOCKS, Stream
from opintel.streams.windows import cut_of

T = TypeVar("T", bound=msgspec.Struct)


class Watched(NamedTuple):
    """A stream of the site with all that is needed to process it."""

    settings: StreamSettings
    stream: Stream
    pipeline: Pipeline
    wire: Wire[Any]
    detectors: dict[str, Any]
    """Settings of the detectors as plain data, what the stream's settings control carries."""

    def bounded(self) -> Watched:
        """The same on the world's clock: what claims to be later than the log's own time allows is not believed."""
        return self._replace(stream=self.stream._replace(ahead=self.stream.skew + CLOCKS))


def watch(site: Site) -> dict[str, Watched]:
    """Every stream of a site. Raises ConfigError with the problems of all."""
    found, problems = watched_streams(site)
    if problems:
        raise ConfigError(problems)
    return found


def watched_stream(site: Site, name: str) -> Watched:
    """One of them; UserError names those there are."""
    streams = watch(site)
    if name not in streams:
        raise UserError(f"no stream {name!r} is configured; there are: {', '.join(sorted(streams))}")
    return streams[name]


def watched_streams(site: Site) -> tuple[dict[str, Watched], list[Problem]]:
    """The streams of a site that can be processed, and what is wrong with the others."""
    found: dict[str, Watched] = {}
    problems: list[Problem] = []
    for name in site.streams:
        try:
            found[name] = _watched(site, name)
        except ConfigError as error:
            problems += error.problems
    return found, problems


def pipelines_of(site: Site) -> dict[str, Pipeline]:
    """Stream → its pipeline, where its domain is known, whatever else is wrong with it."""
    found: dict[str, Pipeline] = {}
    for name, document in site.documents.items():
        try:
            found[name] = pipeline_of(str(document.data.get("domain")))
        except UserError:  # `watched_streams` says it
            continue
    return found


def _watched(site: Site, name: str) -> Watched:
    settings, document, problems = site.streams[name], site.documents[name], list[Problem]()
    try:
        pipeline = pipeline_of(settings.domain)
    except UserError as error:
        raise ConfigError([document.problem(("domain",), str(error))]) from error
    wire: Any = None
    try:
        wire = pipeline.wire(**wire_settings(site, name, pipeline.wire))
    except ConfigError as error:
        problems += error.problems
    except ValueError as error:
        problems.append(document.problem(("wire",), str(error)))
    try:
        detector_settings(site, name, settings_types(pipeline))
    except ConfigError as error:
        problems += error.problems
    try:
        cut_of(settings.stream, pipeline)
    except ValueError as error:
        problems.append(document.problem(("lateness",), str(error)))
    if problems:
        raise ConfigError(problems)
    return Watched(settings, settings.stream, pipeline, wire, settings.detectors)


def wire_settings(site: Site, stream: str, constructor: Callable[..., Any]) -> dict[str, Any]:
    """Keywords for a domain's wire, checked against its signature, with secrets read. Raises ConfigError."""
    document, problems = site.documents[stream], list[Problem]()
    given = site.streams[stream].wire
    hints = get_type_hints(constructor.__init__ if inspect.isclass(constructor) else constructor)
    known = {n: hints.get(n, Any) for n in inspect.signature(constructor).parameters}
    out: dict[str, Any] = {}
    for key, written in given.items():
        path: Path_ = ("wire", key)
        stem = key.removesuffix("_file").removesuffix("_env")
        if key in known and not _is_secret(key):
            out[key] = value(document, path, written, known[key], problems)
        elif key in known:
            problems.append(document.problem(path, f"a secret is not written in YAML; use `{key}_file` or `{key}_env`"))
        elif stem != key and stem in known:
            where = value(document, path, written, FilePath if key.endswith("_file") else str, problems)
            text = secret(document, path, where, problems) if where is not None else ""
            out[stem] = text.encode() if known[stem] is bytes else text
        else:
            problems.append(document.problem(path, f"unknown key{did_you_mean(key, known)}"))
    if problems:
        raise ConfigError(problems)
    return out


def detector_settings(site: Site, stream: str, known: Mapping[str, type[T]]) -> dict[str, T]:
    """Detector → its settings, with defaults. `known`: every detector's type. Raises ConfigError."""
    document, problems = site.documents[stream], list[Problem]()
    given = site.streams[stream].detectors
    for name in given.keys() - known.keys():
        problems.append(document.problem(("detectors", name), f"unknown detector{did_you_mean(name, known)}"))
    out: dict[str, T] = {}
    for name, kind in known.items():
        settings = struct(document, ("detectors", name), given.get(name) or {}, kind, problems)
        if settings is not None:
            out[name] = settings
    if not problems and not is_plain(given):
        problems.append(document.problem(("detectors",), f"travels as a control: {NOT_PLAIN}, numbers finite"))
    if problems:
        raise ConfigError(sorted(problems))
    return out


def public_key_warning(site: Site, wires: Mapping[str, Callable[..., Any]]) -> str:
    """What to say of those streams (each with its domain's wire) in which people's names are hidden by the shipped,
    public key only; '' where there are none.
    """
    public = [
        stream
        for stream, wire in wires.items()
        if "pseudonym_key" in inspect.signature(wire).parameters
        and not any(key.startswith("pseudonym_key_") for key in site.streams[stream].wire)
    ]
    if not public:
        return ""
    return (
        f"stream {', '.join(public)}: names of people are hidden by the shipped public key only; "
        "set wire.pseudonym_key_file or wire.pseudonym_key_env"
    )


def _is_secret(key: str) -> bool:
    return key.endswith(("_key", "password", "_secret", "token"))
