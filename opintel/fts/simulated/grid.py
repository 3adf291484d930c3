"""The simulator's grid: sites and storages of a fictional world, and the links between them with their habits.

`simulate` draws traffic from a `Topology`, `story` picks the subjects of faults in it. All names are under `.example`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LINKS = 1500
"""The busiest pairs of storages are kept as links; about 1200 of them move a file in an hour at the usual rate."""

LARGEST_SHARE = 0.015
"""Of all files, on one link: traffic is heavy-tailed, but no link is the whole grid."""

_CITIES: dict[str, tuple[str, ...]] = {
    "europe": (
        *("geneva", "bologna", "lyon", "karlsruhe", "barcelona", "abingdon", "amsterdam", "lund", "lisbon", "porto"),
        *("madrid", "valencia", "rome", "pisa", "milan", "naples", "paris", "nantes", "annecy", "marseille"),
        *("hamburg", "munich", "aachen", "goettingen", "freiburg", "prague", "krakow", "poznan", "warsaw", "vienna"),
        *("ljubljana", "budapest", "athens", "glasgow", "manchester", "lancaster", "durham", "oslo", "helsinki"),
        *("brussels", "bern", "bucharest", "dubna", "edinburgh"),
    ),
    "america": (
        *("batavia", "upton", "vancouver", "chicago", "boston", "lincoln", "madison", "pasadena", "nashville"),
        *("gainesville", "arlington", "norman", "toronto", "saopaulo", "santiago"),
    ),
    "asia": (
        *("taipei", "daejeon", "tokyo", "tsukuba", "kyoto", "beijing", "mumbai", "kolkata", "melbourne"),
        *("bangkok", "seoul"),
    ),
}
_TIER0 = "geneva"
_TIER1 = (
    *("bologna", "lyon", "karlsruhe", "barcelona", "abingdon", "amsterdam", "lund"),
    *("batavia", "upton", "vancouver", "taipei", "daejeon"),
)
_AFTERNOON_UTC = {"europe": 14.0, "america": 20.0, "asia": 7.0}
"""Hour, UTC, at which a region submits most."""

_PROTOCOLS = {
    "dcache": ("davs", "root", "gsiftp", "srm"),
    "eos": ("davs", "root", "gsiftp"),
    "storm": ("davs", "gsiftp", "srm"),
    "xrootd": ("davs", "root"),
    "echo": ("davs", "root", "gsiftp"),
}
_PREFERENCE = {"davs": 0.62, "root": 0.18, "gsiftp": 0.12, "srm": 0.08}
_PORTS = {
    "dcache": {"davs": 2880, "root": 1094, "gsiftp": 2811, "srm": 8443},
    "storm": {"davs": 8443, "gsiftp": 2811, "srm": 8444},
}
_USUAL_PORTS = {"davs": 443, "root": 1094, "gsiftp": 2811, "srm": 8443}


class Storage(NamedTuple):
    """One storage endpoint."""

    host: str
    site: str
    tier: int
    region: str
    software: str
    tape: bool
    ipv4: str
    ipv6: str

    @property
    def protocols(self) -> tuple[str, ...]:
        """What it speaks; a tape front end is reached by SRM and HTTPS."""
        spoken = _PROTOCOLS[self.software]
        return tuple(p for p in spoken if p in ("davs", "srm")) if self.tape else spoken

    def port(self, protocol: str) -> int:
        """TCP port of a protocol."""
        return _PORTS.get(self.software, _USUAL_PORTS)[protocol]

    def folder(self, vo: str) -> str:
        """Where a VO's files lie, from the root."""
        area = "tape" if self.tape else "disk"
        return {
            "dcache": f"/pnfs/{self.host.partition('.')[2]}/{area}/{vo}",
            "eos": f"/eos/{vo}/{area}",
            "storm": f"/storage/{vo}{area}",
            "xrootd": f"/{vo}/{area}",
            "echo": f"/{vo}:{area}",
        }[self.software]


class Link(NamedTuple):
    """One direction between two storages, with the protocol it uses."""

    source: Storage
    destination: Storage
    protocol: str


class Topology(NamedTuple):
    """Storages, links (the busiest first) and the links' habits, one array entry a link."""

    storages: tuple[Storage, ...]
    links: tuple[Link, ...]
    share: Floats
    """Of the grid's new files, on the week's average; adds up to 1."""
    bandwidth: Floats
    """Median bytes/s of one transfer."""
    failure: Floats
    """Probability that an attempt fails without any fault."""
    peak_hour: Floats
    """Hour UTC of the daily maximum."""
    chronic: frozenset[str]
    """Hosts and `source|destination` pairs that always fail a lot: bad habits, no faults."""

    def traffic(self, role: str) -> dict[str, float]:
        """host → its share of the files as `source` or `destination`."""
        out = dict.fromkeys((s.host for s in self.storages), 0.0)
        for link, share in zip(self.links, self.share.tolist(), strict=True):
            out[(link.source if role == "source" else link.destination).host] += share
        return out


def build(rng: np.random.Generator) -> Topology:
    """A grid of 70 sites: names and places are always the same, traffic and habits are drawn from `rng`."""
    storages = _storages()
    scale = np.array([_weight(s) for s in storages])
    weight_out = scale * rng.lognormal(0.0, 0.35, len(storages)).clip(0.5, 1.6)
    weight_in = scale * rng.lognormal(0.0, 0.35, len(storages)).clip(0.5, 1.6)
    weight = np.outer(weight_out, weight_in) * rng.lognormal(0.0, 0.9, (len(storages), len(storages)))
    sites = np.array([s.site for s in storages])
    weight[sites[:, None] == sites[None, :]] = 0.0
    chosen = _busiest(weight)
    pairs = [divmod(int(flat), len(storages)) for flat in chosen]
    links = tuple(_link(storages[a], storages[b], rng) for a, b in pairs)

    failure = rng.beta(0.5, 24.5, LINKS)
    bad_hosts = rng.choice(len(storages) - 40, 2, replace=False) + 40
    for host in bad_hosts:
        of_host = np.array([host in pair for pair in pairs])
        failure[of_host] = np.maximum(failure[of_host], rng.uniform(0.10, 0.20))
    bad_links = rng.choice(np.arange(60, 500), 8, replace=False)
    failure[bad_links] = rng.uniform(0.10, 0.40, len(bad_links))
    share = weight.ravel()[chosen] ** 1.4
    share = np.minimum(share / share.sum(), LARGEST_SHARE)
    return Topology(
        storages,
        links,
        share / share.sum(),
        rng.lognormal(np.log(30e6), 0.7, LINKS),
        failure,
        np.array([_AFTERNOON_UTC[link.destination.region] for link in links]),
        frozenset(
            [storages[host].host for host in bad_hosts]
            + [f"{links[i].source.host}|{links[i].destination.host}" for i in bad_links]
        ),
    )


def _busiest(weight: Floats) -> npt.NDArray[np.int64]:
    """Flat indices of `LINKS` pairs, the heaviest first; every storage keeps its best one as source and destination."""
    rank = weight.copy()
    every = np.arange(len(weight))
    rank[every, weight.argmax(axis=1)] += weight.max()
    rank[weight.argmax(axis=0), every] += weight.max()
    chosen = np.argsort(-rank, axis=None, kind="stable")[:LINKS]
    return chosen[np.argsort(-weight.ravel()[chosen], kind="stable")]


def _storages() -> tuple[Storage, ...]:
    software = ("dcache", "eos", "storm", "dcache", "xrootd", "dcache", "echo", "storm")
    found: list[tuple[int, str, str, str, bool]] = []
    for region, cities in _CITIES.items():
        for city in cities:
            tier = 0 if city == _TIER0 else 1 if city in _TIER1 else 2
            found.append((tier, f"tier{tier}.{city}", region, "se01", False))
            if tier < 2:
                found.append((tier, f"tier{tier}.{city}", region, "tape01", True))
    found.sort(key=lambda one: (one[4], one[0]))
    return tuple(
        Storage(
            host=f"{name}.{site}.example",
            site=site,
            tier=tier,
            region=region,
            software=("dcache" if number % 2 else "storm") if tape else software[number % len(software)],
            tape=tape,
            ipv4=f"198.51.100.{10 + number}",
            ipv6=f"2001:db8:{0x40 + number:x}:{number % 7 + 1}::{number + 0x21:x}",
        )
        for number, (tier, site, region, name, tape) in enumerate(found)
    )


def _weight(storage: Storage) -> float:
    if storage.tape:
        return 0.7
    return {0: 2.7, 1: 2.0, 2: 1.0}[storage.tier]


def _link(source: Storage, destination: Storage, rng: np.random.Generator) -> Link:
    common = [p for p in source.protocols if p in destination.protocols]
    weights = np.array([_PREFERENCE[p] for p in common])
    return Link(source, destination, common[int(rng.choice(len(common), p=weights / weights.sum()))])
