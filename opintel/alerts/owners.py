"""Whose a host is: its grid site and who answers tickets about it, by `topology.yaml`, else by the host's domain.

A round notes it in the history of the incidents that it opens, so that tickets and pages say whom to ask.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from opintel.alerts.settings import SiteTopology

_HOST = re.compile(r"(?=.{1,253}$)(?:[a-z0-9_-]{1,63}\.)+[a-z]{2,63}")
_SHARED = frozenset({"ac", "co", "com", "edu", "go", "gov", "net", "or", "org", "res"})
"""Below a country's domain these are not an institution's."""


class Owner(NamedTuple):
    """`site` is a site of the topology or a domain; `support_unit` GGUS's, empty where none is known."""

    host: str
    site: str
    support_unit: str


def owner(topology: SiteTopology, name: str) -> Owner | None:
    """Who runs a host, given with or without its port; None for what is no host.

    >>> from opintel.alerts.settings import GridSite
    >>> topology = SiteTopology(sites={"DESY-HH": GridSite(hosts=["se01.desy.example"], support_unit="NGI_DE")})
    >>> owner(topology, "se01.desy.example:2880")
    Owner(host='se01.desy.example', site='DESY-HH', support_unit='NGI_DE')
    >>> [found.site for host in ("se.hep.ac.uk", "x.cern.ch", "L1:STRAIN") if (found := owner(topology, host))]
    ['hep.ac.uk', 'cern.ch']
    """
    host = name.partition(":")[0].lower()
    for site, grid_site in topology.sites.items():
        if host in grid_site.hosts:
            return Owner(host, site, grid_site.support_unit)
    if not _HOST.fullmatch(host):
        return None
    labels = host.split(".")
    shared = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _SHARED
    return Owner(host, ".".join(labels[-3 if shared else -2 :]), "")
