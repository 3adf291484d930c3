"""The registry of clusters: what stays of a name from clustering to clustering.

The clusterings here are of made vectors: a form's place is in its text, and what lies together is a cluster by decree.
"""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from opintel.fts.clusters import registry
from opintel.fts.clusters.registry import Form, Renewed, renewed, root_of

Groups = dict[str, list[int]]
"""Direction (a letter) → the numbers of its forms."""
LETTERS = "abcdef"
CODES = dict(zip(LETTERS, (507, 504, 403, 404, 405, 423), strict=True))
"""Of HTTP: no space, too late, no permission, absent, not supported, busy."""


def clustered(before: Renewed | None, groups: Groups, at: int, noise: tuple[int, ...] = ()) -> Renewed:
    """A clustering in which the forms of each letter lie together; forms keep their number and text."""
    numbers = [(n, letter) for letter, those in groups.items() for n in those] + [(n, "") for n in noise]
    forms = [Form(f"t{n}", f"HTTP {CODES.get(letter, 'odd')} of {n}") for n, letter in numbers]
    labels = np.array([-1 if letter == "" else ord(letter) for _, letter in numbers], np.int64)
    vectors = np.array([direction(letter) for _, letter in numbers]).reshape(-1, len(LETTERS) + 1)
    known, owner = ([], {}) if before is None else (before.clusters, before.owner)
    return renewed(known, owner, forms, labels, vectors, {}, at)


def direction(letter: str) -> NDArray[np.float64]:
    return np.array([float(letter == other) for other in (*LETTERS, "")])


def members(found: Renewed) -> dict[str, set[int]]:
    of: dict[str, set[int]] = {}
    for template, name in found.owner.items():
        of.setdefault(name, set()).add(int(template[1:]))
    return of


def said(found: Renewed) -> list[tuple[str, str]]:
    return [(change.cluster, change.kind) for change in found.changes]


def with_(found: Renewed, name: str, **change: object) -> Renewed:
    """What an operator does to a cluster."""
    clusters = [msgspec.structs.replace(c, **change) if c.name == name else c for c in found.clusters]
    return found._replace(clusters=clusters)


FIRST = clustered(None, {"a": [1, 2, 3, 4], "b": [10, 11, 12]}, at=1)


def test_clusters_are_born_with_readable_names() -> None:
    assert members(FIRST) == {"space": {1, 2, 3, 4}, "time": {10, 11, 12}}
    assert said(FIRST) == [("space", "born"), ("time", "born")]
    [space, _] = FIRST.clusters
    assert (space.born, space.last, space.state, len(space.exemplars)) == (1, 1, "live", 4)


def test_a_cluster_that_grows_loses_or_swaps_members_keeps_its_name() -> None:
    found = clustered(FIRST, {"b": [10, 11, 13], "a": [1, 2, 3, 5, 6, 7, 8]}, at=2, noise=(4,))
    assert (members(found), said(found)) == ({"space": {1, 2, 3, 5, 6, 7, 8}, "time": {10, 11, 13}}, [])


def test_of_a_split_the_larger_part_keeps_the_name_and_of_a_merger_the_larger_one() -> None:
    split = clustered(FIRST, {"a": [1, 2, 3], "c": [4, 20, 21], "b": [10, 11, 12]}, at=2)
    assert said(split) == [("permission", "born")]  # a third of it came from there
    split = clustered(FIRST, {"a": [1, 2], "c": [3, 4, 20], "b": [10, 11, 12]}, at=2)
    assert split.changes[0].detail == {"from": "space"}
    assert members(split)["space"] == {1, 2}
    merged = clustered(split, {"a": [1, 2, 3, 4, 20], "b": [10, 11, 12]}, at=3)
    assert members(merged) == {"permission": {1, 2, 3, 4, 20}, "time": {10, 11, 12}}
    assert [(c.cluster, c.kind, c.detail) for c in merged.changes] == [("space", "merged", {"into": "permission"})]
    again = clustered(merged, {"a": [1, 2], "c": [3, 4, 20], "b": [10, 11, 12]}, at=4)
    assert members(again) == members(split)
    assert said(again) == [("space", "returned")]


def test_what_is_gone_returns_under_its_name_by_members_or_by_centroid() -> None:
    gone = clustered(FIRST, {"b": [10, 11, 12]}, at=2)
    assert said(gone) == [("space", "gone")]
    by_members = clustered(gone, {"b": [10, 11, 12], "a": [1, 2, 30]}, at=3)
    assert (said(by_members), by_members.owner["t30"]) == ([("space", "returned")], "space")
    forms = [Form(f"t{n}", "HTTP 507") for n in (31, 32, 33)]
    elsewhere = {form.template: direction("a") for form in gone.clusters[0].exemplars}
    vectors = np.array([direction("a")] * 3)
    by_centroid = renewed(gone.clusters, gone.owner, forms, np.zeros(3, np.int64), vectors, elsewhere, 3)
    assert ("space", "returned") in said(by_centroid)
    assert set(by_centroid.owner.values()) == {"space"}
    other = renewed(
        gone.clusters, gone.owner, forms, np.zeros(3, np.int64), np.array([direction("c")] * 3), elsewhere, 3
    )
    assert set(other.owner.values()) == {"space-2"}


def test_a_pinned_cluster_keeps_its_members_and_takes_what_is_found_with_them() -> None:
    pinned = with_(FIRST, "space", pinned=True)
    found = clustered(pinned, {"c": [1, 20, 21, 22], "a": [2, 3, 30], "b": [10, 11, 12]}, at=2, noise=(4,))
    assert members(found) == {"space": {1, 2, 3, 4, 30}, "permission": {20, 21, 22}, "time": {10, 11, 12}}
    empty = clustered(pinned, {"b": [10, 11, 12]}, at=3)
    assert said(empty) == []
    back = clustered(empty, {"b": [10, 11, 12]}, at=4, noise=(2,))
    assert back.owner["t2"] == "space"


def test_what_operators_join_stays_joined_and_a_title_stays_with_its_cluster() -> None:
    joined = with_(with_(FIRST, "time", into="space", joined=True), "space", title="Disks")
    apart = clustered(joined, {"a": [1, 2, 3, 4], "b": [10, 11, 12, 13]}, at=2)
    known = {c.name: c for c in apart.clusters}
    assert (root_of("time", known), known["space"].title, said(apart)) == ("space", "Disks", [])
    one = clustered(apart, {"a": [1, 2, 3, 4, 10, 11, 12, 13]}, at=3)
    assert said(one) == []
    known = {c.name: c for c in one.clusters}
    assert {root_of(name, known) for name in one.owner.values()} == {"space"}
    again = clustered(one, {"a": [1, 2, 3, 4], "b": [10, 11, 12, 13]}, at=4)
    known = {c.name: c for c in again.clusters}
    assert {root_of(name, known) for name in again.owner.values()} == {"space"}
    assert known["space"].title == "Disks"


def test_the_longest_gone_are_forgotten_but_nothing_that_operators_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "MOST", 2)
    found = with_(clustered(None, {"a": [1, 2, 3]}, at=1), "space", title="Disks")
    for at, letter in enumerate("bcd", start=2):
        found = clustered(found, {letter: [10 * at, 10 * at + 1, 10 * at + 2]}, at)
    assert [c.name for c in found.clusters] == ["absent", "space"]


partitions = st.dictionaries(
    st.sampled_from(LETTERS), st.lists(st.integers(0, 30), min_size=1, max_size=9, unique=True), max_size=6
).map(lambda found: {k: sorted(set(v) - {n for j in found if j < k for n in found[j]}) for k, v in found.items()})


@given(st.lists(partitions, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_names_are_unique_and_stay_whatever_comes(history: list[Groups], random: object) -> None:
    found: Renewed | None = None
    born: dict[str, int] = {}
    for at, groups in enumerate(history):
        earlier = found
        found = clustered(earlier, groups, at)
        assert len({c.name for c in found.clusters}) == len(found.clusters)
        assert born.items() <= {c.name: c.born for c in found.clusters}.items()
        born = {c.name: c.born for c in found.clusters}
        of = members(found)
        assert sorted(map(sorted, of.values())) == sorted(group for group in groups.values() if group)
        assert {c.name for c in found.clusters if c.state == "live"} == of.keys()
        turned = dict(sorted(groups.items(), reverse=True))
        assert clustered(earlier, turned, at) == found
        assert clustered(found, groups, at)._replace(clusters=[]) == found._replace(changes=[], clusters=[])


@given(partitions, partitions, st.data())
def test_no_clustering_takes_a_member_from_a_pinned_cluster(first: Groups, second: Groups, data: st.DataObject) -> None:
    found = clustered(None, first, at=0)
    if not found.clusters:
        return
    name = data.draw(st.sampled_from([c.name for c in found.clusters]))
    later = clustered(with_(found, name, pinned=True), second, at=1)
    there = {n for group in second.values() for n in group}
    assert members(found)[name] & there <= members(later).get(name, set())
    assert next(c for c in later.clusters if c.name == name).state == "live"
