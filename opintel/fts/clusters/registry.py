"""The registry of clusters: names that stay, whatever the next clustering makes of the same errors.

Each clustering is new: its labels mean nothing beyond it. `renewed` finds in it the clusters that are known, by their
members and then by their centroids, and says what became of them. A name is never given to another cluster, and one
that went has its name back when it returns. What operators say goes over what the clustering says: the members of a
pinned cluster stay in it, a title stays with its cluster, and what was joined into another cluster is part of it,
however the two are found. Pure: same input, same output, in any order of the clusters found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.fts.clusters.density import TOGETHER
from opintel.fts.clusters.names import cluster_name

EXEMPLARS: Final = 5
"""Most central members by which a cluster is recognised when the others are forgotten."""
MOST: Final = 1000
"""Clusters that are kept; those that are not live any more are forgotten, the longest gone first."""

State = Literal["live", "merged", "gone"]
Vectors = NDArray[np.float64]


class Form(NamedTuple):
    """A form of error."""

    template: str
    text: str


class KnownCluster(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster with a name."""

    name: str
    state: State = "live"
    born: int
    last: int
    """Time of the last clustering in which it had members."""
    exemplars: tuple[Form, ...]
    title: str | None = None
    """What operators call it."""
    pinned: bool = False
    into: str | None = None
    """The cluster of which it is part; with `joined` because operators say so."""
    joined: bool = False


class RegistryChange(NamedTuple):
    """What happened to a cluster in a clustering."""

    cluster: str
    kind: str
    """`born`, `split` (detail: `from`), `returned`, `merged` (detail: `into`), `gone`."""
    detail: dict[str, Any]


class Renewed(NamedTuple):
    """The registry after a clustering."""

    clusters: list[KnownCluster]
    """In order of name."""
    owner: dict[str, str]
    """Template → the name of its cluster; those of none are left out."""
    changes: list[RegistryChange]


def renewed(
    known: Iterable[KnownCluster],
    owner: Mapping[str, str],
    forms: Sequence[Form],
    labels: NDArray[np.int64],
    vectors: Vectors,
    elsewhere: Mapping[str, Vectors],
    at: int,
) -> Renewed:
    """What is known, with a clustering of `forms` (N of different templates; `labels` (N,), -1 is noise; unit `vectors`
    (N, D)) at the time `at`.

    `owner`: template → cluster after the last clustering. `elsewhere`: vectors of exemplars that are no longer among
    the forms, in the same space. Two clusters match where they share at least half of the smaller one, most shared
    first; those that are left match where their centroids are no further apart than one cluster is wide (`TOGETHER`).

    >>> forms = [Form(f"t{n}", text) for n, text in enumerate(["disk full", "no space", "quota used", "timeout"])]
    >>> vectors, labels = np.eye(4), np.array([0, 0, 0, -1])
    >>> first = renewed([], {}, forms, labels, vectors, {}, at=1)
    >>> [(c.cluster, c.kind) for c in first.changes], first.owner
    ([('space', 'born')], {'t0': 'space', 't1': 'space', 't2': 'space'})
    >>> again = renewed(first.clusters, first.owner, forms, labels, vectors, {}, at=2)
    >>> again.changes, again.owner == first.owner, again.clusters[0].last
    ([], True, 2)
    """
    before = {cluster.name: cluster for cluster in sorted(known, key=lambda cluster: cluster.name)}
    place = {form.template: n for n, form in enumerate(forms)}
    was = {template: name for template, name in owner.items() if template in place and name in before}
    for cluster in before.values():  # an exemplar that was forgotten and is back belongs where it was
        if cluster.state == "live":
            for template in (form.template for form in cluster.exemplars if form.template in place):
                was.setdefault(template, cluster.name)
    pinned = {template: name for template, name in was.items() if before[name].pinned}
    groups, now = _beside_pinned(_groups(forms, labels), pinned)
    matched = _by_members(before, was, groups)
    centroids = {name: _centroid(c, was, place, vectors, elsewhere) for name, c in before.items()}
    matched |= _by_centroids(before, centroids, groups, matched, place, vectors)
    taken = set(before)
    clusters, changes = dict(before), list[RegistryChange]()
    for n, group in enumerate(groups):
        name = matched.get(n)
        if name is None:
            ordered = _central(group, place, vectors)
            name = cluster_name([forms[place[template]].text for template in ordered], taken)
            taken.add(name)
            parent = _most(was.get(template) for template in group)
            kind, detail = ("born", {}) if parent is None else ("split", {"from": parent})
            changes.append(RegistryChange(name, kind, detail))
            clusters[name] = KnownCluster(name=name, born=at, last=at, exemplars=())
        elif clusters[name].state != "live":
            changes.append(RegistryChange(name, "returned", {}))
        now |= dict.fromkeys(group, name)
    members: dict[str, list[str]] = {}
    for template, name in now.items():
        members.setdefault(name, []).append(template)
    for name, cluster in clusters.items():
        if own := members.get(name):
            exemplars = _exemplars(cluster, own, forms, place, vectors)
            kept = cluster.into if cluster.joined else None
            clusters[name] = msgspec.structs.replace(cluster, state="live", last=at, exemplars=exemplars, into=kept)
        elif cluster.state == "live" and not cluster.pinned:
            ended, change = _ended(cluster, was, now, clusters)
            clusters[name] = ended
            changes += change
    return Renewed(_bounded(clusters.values()), now, changes)


def root_of(name: str, clusters: Mapping[str, KnownCluster]) -> str:
    """The cluster of which one is part because operators say so; itself where it stands for itself."""
    seen = {name}
    while (c := clusters.get(name)) is not None and c.joined and c.into is not None and c.into not in seen:
        seen.add(name := c.into)
    return name


def _groups(forms: Sequence[Form], labels: NDArray[np.int64]) -> list[list[str]]:
    """The templates of each cluster that was found, sorted; the groups in an order that no label decides."""
    found: dict[int, list[str]] = {}
    for form, label in zip(forms, labels.tolist(), strict=True):
        if label >= 0:
            found.setdefault(label, []).append(form.template)
    return sorted(sorted(group) for group in found.values())


def _beside_pinned(groups: Sequence[list[str]], pinned: Mapping[str, str]) -> tuple[list[list[str]], dict[str, str]]:
    """What the pinned clusters leave of the groups, and their own members: those that they had, and the rest of a group
    of which at least half is theirs."""
    left, now = [], dict(pinned)
    for group in groups:
        rest = [template for template in group if template not in pinned]
        mine = _most(pinned.get(template) for template in group)
        if mine is not None:
            now |= dict.fromkeys(rest, mine)
        elif rest:
            left.append(rest)
    return left, now


def _by_members(
    before: Mapping[str, KnownCluster], was: Mapping[str, str], groups: Sequence[list[str]]
) -> dict[int, str]:
    """Group → the known cluster that it is by its members, live ones first, each once."""
    sizes = Counter(was.values())
    dormant: dict[str, list[str]] = {}
    for cluster in before.values():
        if cluster.state != "live":
            for form in cluster.exemplars:
                dormant.setdefault(form.template, []).append(cluster.name)
    pairs = []
    for n, group in enumerate(groups):
        shared = Counter(was[template] for template in group if template in was)
        pairs += [(0, -k, -k / (sizes[name] + len(group) - k), name, n) for name, k in shared.items()]
        back = Counter(name for template in group for name in dormant.get(template, ()))
        pairs += [(1, -k, 0.0, name, n) for name, k in back.items() if 2 * k >= len(before[name].exemplars)]
    matched: dict[int, str] = {}
    used = {name for name, cluster in before.items() if cluster.pinned}
    for late, shared_negative, _, name, n in sorted(pairs):
        enough = late or -2 * shared_negative >= min(sizes[name], len(groups[n]))
        if enough and n not in matched and name not in used:
            matched[n] = name
            used.add(name)
    return matched


def _by_centroids(
    before: Mapping[str, KnownCluster],
    centroids: Mapping[str, Vectors | None],
    groups: Sequence[list[str]],
    matched: Mapping[int, str],
    place: Mapping[str, int],
    vectors: Vectors,
) -> dict[int, str]:
    """The same of those that are left, by their centroids."""
    used = {*matched.values(), *(name for name, cluster in before.items() if cluster.pinned)}
    left = [(name, c) for name, c in centroids.items() if c is not None and name not in used]
    new = [n for n in range(len(groups)) if n not in matched]
    if not left or not new:
        return {}
    own = np.array([_mean([vectors[place[template]] for template in groups[n]]) for n in new])
    cosines = own @ np.array([centroid for _, centroid in left]).T
    distances = np.round(np.sqrt(np.maximum(0.0, 2.0 - 2.0 * cosines)), 6)
    near = zip(*np.nonzero(distances <= TOGETHER), strict=True)
    pairs = [(before[left[k][0]].state != "live", distances[i, k], left[k][0], new[i]) for i, k in near]
    found: dict[int, str] = {}
    for _, _, name, n in sorted(pairs):
        if n not in found and name not in used:
            found[n] = name
            used.add(name)
    return found


def _centroid(
    cluster: KnownCluster,
    was: Mapping[str, str],
    place: Mapping[str, int],
    vectors: Vectors,
    elsewhere: Mapping[str, Vectors],
) -> Vectors | None:
    """Of the members that it had and its exemplars, as far as there are vectors of them."""
    own = {template for template, name in was.items() if name == cluster.name}
    own |= {form.template for form in cluster.exemplars}
    found = [
        vectors[place[template]] if template in place else elsewhere[template]
        for template in sorted(own)
        if template in place or template in elsewhere
    ]
    return _mean(found) if found else None


def _ended(
    cluster: KnownCluster, was: Mapping[str, str], now: Mapping[str, str], clusters: Mapping[str, KnownCluster]
) -> tuple[KnownCluster, list[RegistryChange]]:
    """A live cluster that has no members any more, and what is to be said of it."""
    into = _most(now.get(template) for template, name in was.items() if name == cluster.name)
    if into is None:
        return msgspec.structs.replace(cluster, state="gone"), [RegistryChange(cluster.name, "gone", {})]
    said = [RegistryChange(cluster.name, "merged", {"into": into})]
    if root_of(into, clusters) == root_of(cluster.name, clusters):
        said = []
    return msgspec.structs.replace(cluster, state="merged", into=cluster.into if cluster.joined else into), said


def _exemplars(
    cluster: KnownCluster, own: Sequence[str], forms: Sequence[Form], place: Mapping[str, int], vectors: Vectors
) -> tuple[Form, ...]:
    """The most central members, and the earlier exemplars where they are few."""
    central = [forms[place[template]] for template in _central(own, place, vectors)[:EXEMPLARS]]
    there = {form.template for form in central}
    return (*central, *(form for form in cluster.exemplars if form.template not in there))[:EXEMPLARS]


def _central(own: Sequence[str], place: Mapping[str, int], vectors: Vectors) -> list[str]:
    """Members, the nearest to their centroid first."""
    middle = _mean([vectors[place[template]] for template in sorted(own)])
    near = {template: round(float(vectors[place[template]] @ middle), 6) for template in own}
    return sorted(own, key=lambda template: (-near[template], template))


def _mean(vectors: Sequence[Vectors]) -> Vectors:
    total = np.sum(vectors, axis=0)
    length = float(np.linalg.norm(total))
    unit: Vectors = total / length if length > 0 else total
    return unit


def _most(names: Iterable[str | None]) -> str | None:
    """The name that at least half have, if there is one; ties in order of the name."""
    counts, n = Counter[str](), 0
    for name in names:
        n += 1
        if name is not None:
            counts[name] += 1
    name, most = min(counts.items(), key=lambda item: (-item[1], item[0]), default=("", 0))
    return name if most and 2 * most >= n else None


def _bounded(clusters: Iterable[KnownCluster]) -> list[KnownCluster]:
    ordered = sorted(clusters, key=lambda cluster: cluster.name)
    needed = {c.into for c in ordered if c.joined}
    free = [c for c in ordered if c.state != "live" and not (c.pinned or c.title or c.joined or c.name in needed)]
    drop = {c.name for c in sorted(free, key=lambda c: (c.last, c.name))[: max(0, len(ordered) - MOST)]}
    return [c for c in ordered if c.name not in drop]
