"""Whether a site can run: all that its services open is opened here, short of connecting, and every name in `alerts/`
that nothing answers to is found. `opintel check` prints it, `opintel run` begins with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from importlib.util import find_spec

from opintel.extras import install
from opintel.loopback import is_loopback
from opintel.site.downtimes import planned
from opintel.site.errors import ConfigError
from opintel.site.grid_sites import hosts_by_site
from opintel.site.names import unknown_names, unused_names
from opintel.site.secrets import opened
from opintel.site.settings import Site
from opintel.site.sinks import open_sinks
from opintel.site.sources import open_source
from opintel.site.watched import pipelines_of, public_key_warning, watched_streams
from opintel.site.yaml_places import Problem


def require(
    site: Site,
    services: Collection[str] = ("ingest", "clusters", "delivery"),
    *,
    fed: Collection[str] = (),
    known: Iterable[Problem] = (),
) -> None:
    """Raises ConfigError with all that keeps these services of a site from running.

    `fed`: streams whose live source is not used, as they are read from files. `known`: what reading its YAML has found
    already.
    """
    problems = [*known, *watched_streams(site)[1]]
    problems += unknown_names(site, pipelines_of(site))
    problems += _bus_problems(site)
    problems += _downtime_problems(site)
    problems += _topology_problems(site)
    problems += _store_problems(site)
    problems += _url_problems(site, "checkpoints", site.settings.checkpoints)
    problems += _url_problems(site, "models", site.settings.models)
    problems += _url_problems(site, "archive", site.settings.archive)
    if "ingest" in services:
        problems += _source_problems(site, [name for name in site.sources if name not in fed])
    if "clusters" in services:
        problems += _encoder_problems(site)
    if "delivery" in services:
        problems += _sink_problems(site)
    if problems:
        raise ConfigError(problems)


def notes(site: Site) -> list[str]:
    """What an operator should know of a site, whether it can run or not."""
    pipelines = pipelines_of(site)
    wires = {name: pipeline.wire for name, pipeline in pipelines.items() if name in site.streams}
    unused = map(str, unused_names(site, pipelines))
    return [note for note in (_open_bus(site), public_key_warning(site, wires), *unused) if note]


def _bus_problems(site: Site) -> list[Problem]:
    bus = site.settings.bus
    if bus is not None:
        try:
            opened(site.written, ("bus",), bus, lambda secrets: bus.client(bus.password(secrets)))
        except ConfigError as error:
            return error.problems
    return []


def _source_problems(site: Site, names: Iterable[str]) -> Iterator[Problem]:
    for name in names:
        try:
            open_source(site, name).close()
        except ConfigError as error:
            yield from error.problems


def _encoder_problems(site: Site) -> Iterator[Problem]:
    if site.settings.clusters.encoder != "tfidf" and find_spec("sentence_transformers") is None:
        yield site.written.problem(("clusters", "encoder"), f"needs the extra `nlp`: {install('nlp')}")


def _sink_problems(site: Site) -> list[Problem]:
    try:
        for sink in open_sinks(site).values():
            sink.close()
    except ConfigError as error:
        return error.problems
    return []


def _downtime_problems(site: Site) -> Iterator[Problem]:
    for n, file in enumerate(site.alerts.calendar.files):
        try:
            planned(file)
        except (OSError, ValueError) as error:
            yield site.alert_documents["maintenance"].problem(("files", n, "path"), str(error))


def _topology_problems(site: Site) -> Iterator[Problem]:
    for n, path in enumerate(site.alerts.topology.files):
        try:
            hosts_by_site(path)
        except (OSError, ValueError) as error:
            yield site.alert_documents["topology"].problem(("files", n), str(error))


def _open_bus(site: Site) -> str:
    """What to say of a cluster across a network that everybody there can listen to."""
    bus = site.settings.bus
    if bus is None or bus.tls or all(is_loopback(server.rpartition(":")[0].strip("[]")) for server in bus.bootstrap):
        return ""
    return "site.yaml: the bus is reached without TLS: who listens on the network reads all records"


def _store_problems(site: Site) -> Iterator[Problem]:
    """What is wrong with the URL of the store; its text, which may hold a password, is not shown."""
    if not site.settings.store:
        return
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    text = ""
    try:
        url = make_url(site.settings.store)
        url.get_dialect()
        if url.port is not None and not 0 < url.port < 65536:
            text = "its port is not one of 1 to 65535"
    except NoSuchModuleError:
        text = f"SQLAlchemy knows no database {url.drivername!r}"
    except ArgumentError:
        text = "is no SQLAlchemy URL"
    except ValueError:
        text = "is no SQLAlchemy URL: its port is no number"
    if text:
        yield site.written.problem(("store",), f"{text}; expected one such as postgresql+psycopg://USER@HOST/DATABASE")


def _url_problems(site: Site, key: str, url: str | None) -> Iterator[Problem]:
    """Protocols that fsspec does not know, in a URL that may be a chain of them (`simplecache::s3://...`)."""
    if url is None or "://" not in url:
        return
    from fsspec import available_protocols

    known = available_protocols()
    for protocol in (link.partition("://")[0] for link in url.split("::") if "://" in link):
        if protocol in ("s3", "s3a") and find_spec("s3fs") is None:
            yield site.written.problem((key,), f"{protocol}:// needs the extra `s3`: {install('s3')}")
        if protocol not in known:
            text = f"fsspec knows no protocol {protocol!r}; expected a folder or a URL such as s3://BUCKET/FOLDER"
            yield site.written.problem((key,), text)
