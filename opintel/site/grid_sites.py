"""Which hosts a grid site has, by files that others keep: CRIC's services in JSON, or a site's hosts in YAML.

`alerts/topology.yaml` names the files. They may come from anywhere: what they hold is checked and bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import yaml

from opintel.alerts.settings import GridSite, SiteTopology

MOST_BYTES, MOST_HOSTS = 64 << 20, 50_000
"""Of a file."""


def with_files(topology: SiteTopology) -> SiteTopology:
    """The topology with the hosts of its files. OSError, or ValueError that names the file and what is wrong."""
    sites = dict(topology.sites)
    for path in topology.files:
        for site, hosts in hosts_by_site(path).items():
            known = sites.get(site, GridSite())
            sites[site] = msgspec.structs.replace(known, hosts=sorted({*known.hosts, *hosts}))
    return msgspec.structs.replace(topology, sites=sites)


def hosts_by_site(path: str) -> dict[str, set[str]]:
    """Site → its hosts, of `SERVICE: {rcsite, endpoint, protocols}` or `SITE: [service, …]` as CRIC's
    `core/service/query/?json` has it (also `&groupby=rcsite`), or `SITE: [host, …]`."""
    with Path(path).open("rb") as opened:
        body = opened.read(MOST_BYTES + 1)
    if len(body) > MOST_BYTES:
        raise ValueError(f"{path}: expected at most {MOST_BYTES} bytes")
    try:
        data = msgspec.json.decode(body) if body.lstrip()[:1] == b"{" else yaml.safe_load(body)
    except (msgspec.DecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON or YAML, got {' '.join(str(error).split())[:200]}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected services as CRIC has them, or SITE: [host, …], got {type(data).__name__}")
    found: dict[str, set[str]] = {}
    count = 0
    for name, entry in data.items():
        for service in entry if isinstance(entry, list) else [entry]:
            for host in _hosts(service):
                site = service.get("rcsite") if isinstance(service, dict) else None
                found.setdefault(str(site or name)[:200], set()).add(host)
                count += 1
                if count > MOST_HOSTS:
                    raise ValueError(f"{path}: expected at most {MOST_HOSTS} hosts")
    if not found:
        raise ValueError(f"{path}: expected hosts of sites, got none")
    return found


def _hosts(service: Any) -> Iterator[str]:
    """The hosts of a service as CRIC has it, or the host itself."""
    if isinstance(service, dict):
        protocols = service.get("protocols")
        parts = protocols.values() if isinstance(protocols, dict) else ()
        places = [service.get("endpoint"), *(part.get("endpoint") for part in parts if isinstance(part, dict))]
    else:
        places = [service]
    for place in places:
        if isinstance(place, str) and place:
            try:
                host = urlsplit(place if "://" in place else f"//{place}").hostname
            except ValueError:  # of an address in brackets that is none
                continue
            if host:
                yield host
