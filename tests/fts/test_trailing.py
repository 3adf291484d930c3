"""The last hour and day of `LinkJudge`: what one window cannot show is found, and nothing counts twice."""

from __future__ import annotations

from functools import cache

import msgspec
import numpy as np
import pytest
from link_streams import SIZE, closing

from opintel.finding import Finding, Window
from opintel.fts.judging import failures
from opintel.fts.judging.failures import LinkJudge
from opintel.fts.judging.scales import LinkCounts, Trailing
from opintel.fts.link_windows import LinkWindow


def link(ok: int, failed: int, source: str, destination: str) -> LinkWindow:
    slices = [(0, ok, failed, 0, 0.0)]
    return LinkWindow(source, destination, ok, failed, 0, ok + failed, 0, slices, (0, 0.0, 0.0), [])


def play(judged: LinkJudge, w: int, ok: int, failed: int) -> list[Finding]:
    """A link of few files beside forty that fail now and then."""
    failures = np.random.default_rng([9, w]).binomial(12, 0.02, 40).tolist()
    links = [link(12 - k, k, f"s{i % 8}", f"d{i // 8}") for i, k in enumerate(failures)]
    found = judged.judge(closing(judged, Window(w * SIZE, (w + 1) * SIZE), [link(ok, failed, "a", "b"), *links]))
    return [finding for finding in found if finding.subject.get("source") == "a"]


TAUGHT = 80


@cache
def lesson() -> bytes:
    """The state of a judge that knows the link: one file in ten fails."""
    judged, rng = LinkJudge(), np.random.default_rng(3)
    for w in range(TAUGHT):
        failed = int(rng.binomial(4, 0.1))
        play(judged, w, 4 - failed, failed)
    return msgspec.msgpack.encode(judged.state())


def taught() -> LinkJudge:
    judged = LinkJudge()
    judged.restore(msgspec.msgpack.decode(lesson()))
    return judged


def test_half_of_a_few_files_show_within_the_hour_and_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums of the following windows hold the same files: without a rule they would pass for further signs."""

    def told() -> list[Finding]:
        judged = taught()
        return [f for w in range(TAUGHT, TAUGHT + 11) for f in play(judged, w, 2, 2)]

    [found] = told()
    assert found.window.end <= (TAUGHT + 6) * SIZE
    assert "12 of 24 files in the last hour since " in found.summary
    assert found.onset == found.window.start
    monkeypatch.setattr(failures, "SURER", -99.0)
    assert len(told()) > 3


def test_a_slow_drip_is_found_within_the_day() -> None:
    """Ten of a hundred files usually; then a third of the window's four, on average."""
    judged, rng = taught(), np.random.default_rng(4)
    failed = rng.binomial(4, 0.33, 72).tolist()
    found = [f for n, k in enumerate(failed) for f in play(judged, TAUGHT + n, 4 - k, k)]
    assert found
    assert {"the last day", "the last hour"} & {" ".join(f.summary.split(" files in ")[1].split()[:3]) for f in found}


def test_a_subject_is_told_once_a_window() -> None:
    judged = taught()
    for w in range(TAUGHT, TAUGHT + 6):
        assert len(play(judged, w, 0, 12)) == 1


def counts(failed: list[int], keys: str = "ab") -> LinkCounts:
    k = np.array(failed)
    return LinkCounts([f"{key}\x1fz" for key in keys], k, k + 4, k * 0.5, k * 0.0)


def test_what_is_old_goes_and_a_restored_one_goes_on() -> None:
    straight, restored = Trailing(step=20, parts=3), Trailing(step=20, parts=3)
    for n in range(30):
        one, window = counts([n, 1], "ab" if n % 2 else "cb"), Window(10 * n, 10 * n + 10)
        for trailing in (straight, restored):
            trailing.add(window, one)
            assert trailing.whole(window) == (n % 6 == 5)
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(restored.state()))
        restored = Trailing(step=20, parts=3)
        restored.restore(state)
        assert restored.state() == straight.state()
        assert dict(zip(restored.total().keys, restored.total().failed.tolist(), strict=True)) == dict(
            zip(straight.total().keys, straight.total().failed.tolist(), strict=True)
        )
        # what lies in the last 60 ns, in steps of 20
        first = max(0, -(-(10 * n + 10 - 60) // 20) * 2)
        assert sum(straight.total().failed.tolist()) == sum(range(first, n + 1)) + n + 1 - first


def test_the_onset_is_where_the_excess_begins() -> None:
    trailing = Trailing(step=10, parts=10)
    for n, failed in enumerate([0, 1, 0, 0, 4, 5, 3]):
        k = np.array([failed])
        trailing.add(Window(10 * n, 10 * n + 10), LinkCounts(["a\x1fb"], k, k + 9, np.array([0.6]), np.array([0.0])))
    assert trailing.onset({"a\x1fb"}) == 40


def test_a_few_recalls_that_all_fail_add_up() -> None:
    """Three files a window of an endpoint with itself: too few for a window."""
    judged = LinkJudge()
    found: list[Finding] = []
    for w in range(30):
        failures = np.random.default_rng([9, w]).binomial(12, 0.08, 40).tolist()
        links = [link(12 - k, k, f"s{i % 8}", f"d{i // 8}") for i, k in enumerate(failures)]
        recalls = link(0, 3, "tape", "tape") if w >= 25 else link(3, 0, "tape", "tape")
        found += judged.judge(closing(judged, Window(w * SIZE, (w + 1) * SIZE), [recalls, *links]))
    assert "tape" in [finding.subject.get("endpoint") for finding in found]
