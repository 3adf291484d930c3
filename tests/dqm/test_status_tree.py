"""The status tree: states of folders from those of their children, by weight."""

from __future__ import annotations

import pytest

from opintel.dqm.quality.tree import Leaf, StatusTree, TreeRules, most_telling, status_tree

PATHS = ("T/a/x", "T/a/y", "T/b/x", "T/b/y", "T/b/z", "T/c/x")


def tree(bad: set[str], rules: TreeRules, judged: bool = True) -> StatusTree:
    return status_tree([Leaf(path, judged, path in bad) for path in PATHS], rules)


def states(found: StatusTree) -> dict[str, str]:
    return {folder.path: folder.status for folder in found.folders}


def test_by_default_one_bad_histogram_spoils_all_above_it() -> None:
    found = tree({"T/b/y"}, TreeRules())
    assert states(found) == {"": "bad", "T": "bad", "T/a": "good", "T/b": "bad", "T/c": "good"}
    assert found.spoiling == {"T/b/y"}
    assert [(f.histograms, f.judged, f.bad) for f in found.folders] == [
        (6, 6, 1),
        (6, 6, 1),
        (2, 2, 0),
        (3, 3, 1),
        (1, 1, 0),
    ]


@pytest.mark.parametrize(
    ("bad", "rules", "expected"),
    [
        ({"T/b/y"}, TreeRules(minor=["*/b/y"]), ("minor", "minor", set())),
        ({"T/b/y"}, TreeRules(tolerated=0.4), ("minor", "minor", set())),  # one of three
        ({"T/b/y"}, TreeRules(tolerated=0.4, weights={"*/y": 3.0}), ("bad", "minor", set())),  # 3 of 5; one folder of 3
        ({"T/b/y"}, TreeRules(tolerated=0.4, critical=["*/y"]), ("bad", "bad", {"T/b/y"})),
        ({"T/b/x", "T/b/y"}, TreeRules(tolerated=0.4, critical=["T/b"]), ("bad", "bad", {"T/b/x", "T/b/y"})),
        ({"T/b/x", "T/b/y"}, TreeRules(tolerated=0.4), ("bad", "minor", set())),
        ({"T/b/x", "T/b/y", "T/c/x"}, TreeRules(tolerated=0.4), ("bad", "bad", {"T/b/x", "T/b/y", "T/c/x"})),
        ({"T/b/y"}, TreeRules(weights={"*": 0.0}), ("minor", "minor", set())),
    ],
)
def test_weights_and_critical_patterns_say_what_goes_up(
    bad: set[str], rules: TreeRules, expected: tuple[str, str, set[str]]
) -> None:
    found = tree(bad, rules)
    assert (states(found)["T/b"], states(found)[""], found.spoiling) == expected


def test_what_was_not_judged_is_never_good() -> None:
    assert set(states(tree(set(), TreeRules(), judged=False)).values()) == {"insufficient"}
    assert [folder.status for folder in status_tree([], TreeRules()).folders] == ["insufficient"]


def test_a_long_tree_shows_what_is_not_good_with_all_above_it_and_a_deep_one_ends() -> None:
    leaves = [Leaf(f"d{n}/e/f/h", True, n == 77) for n in range(100)]
    shown = most_telling(status_tree(leaves, TreeRules()).folders, 10)
    assert len(shown) <= 10
    assert {"", "d77", "d77/e", "d77/e/f"} <= {folder.path for folder in shown}
    deep = status_tree([Leaf("/".join("x" * 250), True, True)], TreeRules())
    assert len(deep.folders) == 13
    assert deep.folders[-1].bad == 1
