"""Typed settings of a site: its `site.yaml` and the YAML of its `streams/` folder, overridden by the environment, and
where `alerts/` is.

Services and commands call `load_site`; `opintel check` shows every problem that it finds. A site's folder is given, or
named by `OPINTEL_CONFIG`, or the shipped defaults. Every key can be overridden by an environment variable:
`OPINTEL_SITE__BUS__USER=…` is `bus.user` in `site.yaml`, `OPINTEL_STREAMS__FTS__WINDOW=5m` is `window` in
`streams/fts.yaml`, two underscores go one level down, and what a variable's name cannot hold is written `_`:
`OPINTEL_STREAMS__FTS__DETECTORS__FTS_SILENCE__…` is the detector `fts.silence`. Secrets are never written in YAML: a
key `x_file` or `x_env` names the file (relative to the YAML's folder) or the environment variable that holds `x`.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import msgspec
import yaml

from opintel.durations import Duration as Duration
from opintel.durations import duration as duration
from opintel.finding import NS
from opintel.site.shipped import shipped_folder
from opintel.sizes import Size, size
from opintel.streams.connectors.prometheus_settings import PrometheusSettings
from opintel.streams.connectors.stomp import StompSettings
from opintel.streams.controls import NOT_PLAIN, is_plain
from opintel.streams.kafka.settings import KafkaSettings, KafkaSourceSettings
from opintel.yaml_places import (
    Document,
    Loader,
    Path_,
    Place,
    Problem,
    did_you_mean,
    insert,
    matching,
    read_yaml,
)

T = TypeVar("T", bound=msgspec.Struct)
Cluster = TypeVar("Cluster", bound=KafkaSettings | PrometheusSettings)

PREFIX, SITE_PREFIX = "OPINTEL_STREAMS__", "OPINTEL_SITE__"
MAX_SECRET = 64 * 1024
LEAST_BYTES = 10**9
"""Of a partition's records that the log keeps: a restart reads what came since the last checkpoint."""
_NAME = r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}$"
_URL = re.compile(r"file:|.*://")
Name = Annotated[str, msgspec.Meta(pattern=_NAME)]


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of `streams/`: what is watched. Durations in ns (text such as 10m in YAML)."""

    name: Name
    domain: Name
    topic: Name
    partitions: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 4
    shards: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 64
    window: Duration = Duration(600 * NS)
    lateness: Duration = Duration(300 * NS)
    skew: Duration = Duration(120 * NS)
    """How far a live event time may lie after its arrival; at most `lateness`."""
    interval: Duration = Duration(60 * NS)
    """Between two ticks of a live source."""
    max_keys: Annotated[int, msgspec.Meta(ge=1)] = 4096
    """Keys a shard may hold; above it new keys are refused."""
    ttl: Duration = Duration(30 * 86_400 * NS)
    """A key unseen for this long is forgotten; in a shard that is full, for `quiet`."""
    quiet: Duration = Duration(21_600 * NS)
    """A scope without records for this long is no longer judged until one comes."""
    retention: Duration = Duration(14 * 86_400 * NS)
    """How long the log keeps the stream's records …"""
    retention_bytes: Size = Size(0)
    """… and how many bytes of them at most in each of its two topics; 0: however many."""
    stomp: StompSettings | None = None
    """The live broker, if there is one …"""
    kafka: KafkaSourceSettings | None = None
    """… or the topics that others write it to …"""
    prometheus: PrometheusSettings | None = None
    """… or the server that collects it."""
    wire: dict[str, Any] = {}
    """Keywords of the domain's wire format."""
    detectors: dict[str, dict[str, Any]] = {}
    """Detector → its settings; those left out have their defaults."""


class SiteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`site.yaml`: what all streams share. Everything in it may be left out, and the file too."""

    bus: KafkaSettings | None = None
    """The cluster that holds the log; left out: the embedded log in the data folder."""
    replication: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1
    """Copies that the cluster keeps of each of our topics."""
    checkpoints: str | None = None
    """Folder (relative to that of `site.yaml`) or fsspec URL that all workers reach; left out: in the data folder."""
    store: str | None = None
    """SQLAlchemy URL; left out: SQLite in the data folder."""


class Site(NamedTuple):
    """All settings of a site. `documents` and `written` keep where each was written; they hold no secret."""

    folder: Path
    streams: dict[str, StreamSettings]
    alerts: Path
    """The folder of budgets and routes, for `opintel.alerts.settings`."""
    documents: dict[str, Document]
    settings: SiteSettings = SiteSettings()
    written: Document = Document({}, {(): Place("site.yaml", 0)})
    """`site.yaml` as it was read."""


class ConfigError(ValueError):
    """The configuration cannot be used; `problems` says why, each with file, line, key and what would be right."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def load_site(directory: Path | None = None) -> Site:
    """The settings in `directory`, else in the folder that `OPINTEL_CONFIG` names, else the shipped ones.

    Raises ConfigError with all problems. What only a domain can judge (wire keywords, detectors' settings) is
    checked by `wire_settings` and `detector_settings`.
    """
    given = directory or (Path(os.environ["OPINTEL_CONFIG"]) if os.environ.get("OPINTEL_CONFIG") else None)
    folder = given or shipped_folder()
    if not folder.is_dir():
        raise ConfigError([Problem(str(folder), 0, "", "no such folder; `opintel init DIR` makes one")])
    missing = [name for name in ("streams", "alerts") if not (folder / name).is_dir()]
    if missing:
        raise ConfigError([Problem(str(folder), 0, "", f"has no folder `{name}`") for name in missing])
    problems: list[Problem] = []
    documents: dict[str, Document] = {}
    written = Document({}, {(): Place("site.yaml", 0)})
    if (folder / "site.yaml").exists() and not _blank(folder / "site.yaml"):
        written, problems = read_yaml(folder / "site.yaml", str(folder / "site.yaml") if given else "site.yaml")
    for path in sorted((folder / "streams").glob("*.y*ml")):
        shown = str(path) if given else f"streams/{path.name}"
        documents[path.stem], found = read_yaml(path, shown)
        problems += found
    if not documents:
        problems.append(Problem(str(folder / "streams"), 0, "", "holds no *.yaml; a stream is one file"))
    problems += _override(documents, written)
    settings = _struct(written, (), _listed(written.data, "bus"), SiteSettings, problems) or SiteSettings()
    streams: dict[str, StreamSettings] = {}
    for name, document in documents.items():
        data = _listed(document.data, "kafka")
        stream = _struct(document, (), data, StreamSettings, problems) if data else None
        if stream is not None:
            problems += _rules(name, stream, document, streams)
            if stream.kafka is not None:
                stream = msgspec.structs.replace(stream, kafka=_absolute(stream.kafka, folder / "streams"))
            if stream.prometheus is not None:
                stream = msgspec.structs.replace(stream, prometheus=_absolute(stream.prometheus, folder / "streams"))
            streams[name] = stream
    if problems:
        raise ConfigError(problems)
    if settings.bus is not None:
        settings = msgspec.structs.replace(settings, bus=_absolute(settings.bus, folder))
    if settings.checkpoints and given and not _URL.match(settings.checkpoints):
        settings = msgspec.structs.replace(settings, checkpoints=str(folder / os.path.expanduser(settings.checkpoints)))
    return Site(folder, streams, folder / "alerts", documents, settings, written)


def wire_settings(site: Site, stream: str, constructor: Callable[..., Any]) -> dict[str, Any]:
    """Keywords for a domain's wire, checked against its signature, with secrets read. Raises ConfigError."""
    document, problems = site.documents[stream], list[Problem]()
    given = site.streams[stream].wire
    hints = get_type_hints(constructor.__init__ if inspect.isclass(constructor) else constructor)
    known = {n: hints.get(n, Any) for n in inspect.signature(constructor).parameters}
    out: dict[str, Any] = {}
    for key, value in given.items():
        path: Path_ = ("wire", key)
        secret = key.removesuffix("_file").removesuffix("_env")
        if key in known and not _is_secret(key):
            out[key] = _value(document, path, value, known[key], problems)
        elif key in known:
            problems.append(document.problem(path, f"a secret is not written in YAML; use `{key}_file` or `{key}_env`"))
        elif secret != key and secret in known:
            text = _secret(document, site.folder / "streams", path, value, problems)
            out[secret] = text.encode() if known[secret] is bytes else text
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
        settings = _struct(document, ("detectors", name), given.get(name) or {}, kind, problems)
        if settings is not None:
            out[name] = settings
    if not problems and not is_plain(given):
        problems.append(document.problem(("detectors",), f"travels as a control: {NOT_PLAIN}, numbers finite"))
    if problems:
        raise ConfigError(sorted(problems))
    return out


def stomp_password(site: Site, stream: str) -> str:
    """The password of a stream's broker, '' where none is set. Raises ConfigError where it cannot be read."""
    return _password(site.documents[stream], site.folder / "streams", "stomp", site.streams[stream].stomp)


def kafka_password(site: Site, stream: str) -> str:
    """As `stomp_password`, of a stream's source topics; ConfigError also for certificates that cannot be read."""
    return _kafka_password(site.documents[stream], site.folder / "streams", "kafka", site.streams[stream].kafka)


def prometheus_secret(site: Site, stream: str) -> str:
    """As `stomp_password`, of a stream's Prometheus: a password, or a token; ConfigError also for its certificates."""
    document, settings = site.documents[stream], site.streams[stream].prometheus
    problems = _unreadable(document, "prometheus", settings)
    try:
        secret = _password(document, site.folder / "streams", "prometheus", settings)
    except ConfigError as error:
        raise ConfigError(problems + error.problems) from error
    if settings is not None and not settings.user and not (secret.isascii() and secret.isprintable()):
        key = "token_file" if settings.token_file else "token_env"
        problems.append(document.problem(("prometheus", key), "a token is one line of ASCII"))
    if problems:
        raise ConfigError(problems)
    return secret


def bus_password(site: Site) -> str:
    """As `kafka_password`, of the cluster that holds the log."""
    return _kafka_password(site.written, site.folder, "bus", site.settings.bus)


def public_key_warning(site: Site, stream: str, constructor: Callable[..., Any]) -> str:
    """What to say where people's names are hidden by the shipped, public key only; '' where there is nothing to say."""
    takes_key = "pseudonym_key" in inspect.signature(constructor).parameters
    if not takes_key or any(key.startswith("pseudonym_key_") for key in site.streams[stream].wire):
        return ""
    return (
        f"stream {stream}: names of people are hidden by the shipped public key only; "
        "set wire.pseudonym_key_file or wire.pseudonym_key_env"
    )


def _blank(path: Path) -> bool:
    """Whether a file holds at most comments."""
    try:
        with path.open("rb") as file:
            return all(line.strip()[:1] in (b"", b"#") for line in file)
    except OSError:
        return False  # its reader says why


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
        (
            "retention_bytes",
            settings.retention_bytes == 0 or settings.retention_bytes >= LEAST_BYTES * settings.partitions,
            f"at least {LEAST_BYTES // 10**9}GB for each of its {settings.partitions} partitions",
        ),
    ]
    out = [document.problem((key,), text) for key, holds, text in rules if not holds]
    sources = [key for key in ("stomp", "kafka", "prometheus") if getattr(settings, key) is not None]
    if len(sources) > 1:
        out.append(document.problem((sources[-1],), "a stream has one source: `stomp`, `kafka` or `prometheus`"))
    if settings.prometheus is not None and settings.prometheus.step > settings.window:
        out.append(document.problem(("prometheus", "step"), "at most `window`: else most windows have no sample"))
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
            problems += _set(document, variable, parts, StreamSettings)
    for variable in sorted(v for v in os.environ if v.startswith(SITE_PREFIX)):
        problems += _set(written, variable, variable.removeprefix(SITE_PREFIX).split("__"), SiteSettings)
    return problems


def _set(document: Document, variable: str, parts: list[str], kind: type[msgspec.Struct]) -> list[Problem]:
    path: list[str] = []
    level = document.data
    for part in parts:
        names = list(level) + ([] if path else list(kind.__struct_fields__))
        path.append(matching(part, names))
        below = level.get(path[-1])
        level = below if isinstance(below, dict) else {}
    try:
        insert(document, tuple(path), yaml.load(os.environ[variable], Loader), Place(variable, 0))  # noqa: S506
    except (yaml.YAMLError, ValueError) as error:
        return [Problem(variable, 0, ".".join(path), " ".join(str(error).split()))]
    return []


def _listed(data: dict[str, Any], key: str) -> dict[str, Any]:
    """`data` with the text `bootstrap: a:1,b:2` of its `key` as a list, so that one environment variable can set it."""
    cluster = data.get(key)
    if not isinstance(cluster, dict) or not isinstance(cluster.get("bootstrap"), str):
        return data
    servers = [server.strip() for server in cluster["bootstrap"].split(",")]
    return {**data, key: {**cluster, "bootstrap": servers}}


def _absolute(settings: Cluster, folder: Path) -> Cluster:
    """Certificates are relative to the YAML's folder, as files of passwords are."""
    names = {key: getattr(settings, key, None) for key in ("ca_file", "cert_file", "key_file")}
    return msgspec.structs.replace(settings, **{key: str(folder / name) for key, name in names.items() if name})


def _struct(document: Document, path: Path_, data: Any, kind: type[T], problems: list[Problem]) -> T | None:
    """`data` as a `kind`, field by field so that every problem is found; None where there is one."""
    before = len(problems)
    if not isinstance(data, dict):
        problems.append(document.problem(path, f"expected settings as `key: value` lines, got {_shown(data)}"))
        return None
    fields = {f.encode_name: f for f in msgspec.structs.fields(kind)}
    for key in data:
        if key not in fields:
            problems.append(document.problem((*path, key), f"unknown key{did_you_mean(str(key), fields)}"))
    values = {}
    for key, field in fields.items():
        if key in data:
            values[field.name] = _value(document, (*path, key), data[key], field.type, problems)
        elif field.required:
            problems.append(document.problem((*path, key), "missing"))
    if len(problems) > before:
        return None
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:
        problems.append(document.problem(path, str(error)))
        return None


def _value(document: Document, path: Path_, value: Any, kind: Any, problems: list[Problem]) -> Any:
    try:
        if kind is Duration:
            return duration(value)
        if kind is Size:
            return size(value)
        if get_origin(kind) in (list, tuple) and isinstance(value, list):
            inner = get_args(kind)[0]
            return get_origin(kind)(_value(document, (*path, n), v, inner, problems) for n, v in enumerate(value))
        nested = next(
            (k for k in (kind, *get_args(kind)) if isinstance(k, type) and issubclass(k, msgspec.Struct)), None
        )
        if nested is not None and value is not None:
            return _struct(document, path, value, nested, problems)
        if get_origin(kind) is dict and isinstance(value, dict):
            inner = get_args(kind)[1]
            return {key: _value(document, (*path, key), v, inner, problems) for key, v in value.items()}
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at `$")
        deeper = tuple(int(i) if i.isdigit() else i for i in re.findall(r"[^.\[\]`]+", where))
        got = "" if ", got " in text else f", got {_shown(value)}"
        problems.append(
            document.problem(
                (*path, *deeper),
                text.replace("Expected `object`", "expected `key: value` lines").replace("Expected", "expected", 1)
                + got,
            )
        )
    except ValueError as error:
        problems.append(document.problem(path, str(error)))
    return None


def _is_secret(key: str) -> bool:
    return key.endswith(("_key", "password", "_secret", "token"))


def _password(
    document: Document,
    folder: Path,
    key: str,
    settings: StompSettings | KafkaSettings | PrometheusSettings | None,
) -> str:
    """The password or token that `key` in a document names, '' where it names none. Raises ConfigError."""
    problems: list[Problem] = []
    for form in ("password_file", "password_env", "token_file", "token_env"):
        name = getattr(settings, form, None)
        if name:
            password = _secret(document, folder, (key, form), name, problems)
            if problems:
                raise ConfigError(problems)
            return password
    return ""


def _kafka_password(document: Document, folder: Path, key: str, settings: KafkaSettings | None) -> str:
    problems = _unreadable(document, key, settings)
    if settings is not None and settings.user and not (settings.password_file or settings.password_env):
        problems.append(document.problem((key, "user"), "needs password_file or password_env"))
    try:
        password = _password(document, folder, key, settings)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    return password


def _unreadable(document: Document, key: str, settings: KafkaSettings | PrometheusSettings | None) -> list[Problem]:
    """The certificates that cannot be read."""
    names = {form: getattr(settings, form, None) for form in ("ca_file", "cert_file", "key_file")}
    return [
        document.problem((key, form), f"{name} cannot be read")
        for form, name in names.items()
        if name and not os.access(name, os.R_OK)
    ]


def _secret(document: Document, folder: Path, path: Path_, name: Any, problems: list[Problem]) -> str:
    """The text that a `_file` (relative to the folder of its YAML) or `_env` key names."""
    text = ""
    if not isinstance(name, str) or not name:
        problems.append(document.problem(path, f"expected a name, got {_shown(name)}"))
        return ""
    if str(path[-1]).endswith("_env"):
        text = os.environ.get(name, "")
        reason = f"the environment variable {name} is not set or empty"
    else:
        reason = f"{name} is empty or longer than {MAX_SECRET} bytes"
        try:
            with (folder / name).open(encoding="utf-8") as file:
                text = file.read(MAX_SECRET + 1).strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = f"{name} cannot be read: {getattr(error, 'strerror', 'not UTF-8')}"
    if not 0 < len(text) <= MAX_SECRET:
        problems.append(document.problem(path, reason))
        return ""
    return text


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
