"""Queues that stand still: links, endpoints and instances; habits; calibration; restored anywhere it says the same."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from link_streams import SIZE, closing

from opintel.finding import Finding, Window
from opintel.fts.judging.queues import LONGEST, QueueJudge, QueueSettings
from opintel.fts.link_windows import LinkWindow


def link(ok: int, submitted: int, *, source: str = "a", destination: str = "z", failed: int = 0) -> LinkWindow:
    files = ok + failed
    return LinkWindow(source, destination, ok, failed, 0, files, 0, [], (0, 0.0, 0.0), [], 0, submitted, 2)


def rest(n: int = 20) -> list[LinkWindow]:
    return [link(5, 40, source=f"s{i}", destination=f"d{i % 5}") for i in range(n)]


def play(judged: QueueJudge, w: int, links: list[LinkWindow], **how: Any) -> list[Finding]:
    return judged.judge(closing(judged, Window(w * SIZE, (w + 1) * SIZE), links, **how))


def learned(windows: int = 60) -> QueueJudge:
    judged = QueueJudge()
    for w in range(windows):
        links = rest()
        if w % 6 == 5:  # now and then one waits for a window
            links[w % 20] = link(0, 40, source=f"s{w % 20}", destination=f"d{w % 5}")
        assert play(judged, w, links) == []
    return judged


def test_a_link_whose_queue_stands_still() -> None:
    judged = learned()
    found = [play(judged, 60 + i, [link(0, 100 + i), *rest()]) for i in range(10)]
    first = next(i for i, findings in enumerate(found) if findings)
    assert 2 <= first <= 5
    (last,) = found[-1]
    assert (last.kind, last.subject) == ("stuck", {"scope": "fts.example", "source": "a", "destination": "z"})
    assert last.summary == "a to z stands still since 10:00: 109 files wait in its queue, 2 active, and none ended"
    assert play(judged, 70, [link(1, 109), *rest()]) == []


@pytest.mark.parametrize(
    ("links", "subject"),
    [
        ([link(0, 50, source=f"s{i}", destination="z") for i in range(4)], {"endpoint": "z", "role": "destination"}),
        ([link(0, 50, source="a", destination=f"d{i}") for i in range(4)], {"endpoint": "a", "role": "source"}),
        ([link(0, 50, source="t", destination="t")], {"endpoint": "t", "role": "both"}),
        ([link(0, 50, source=f"s{i}", destination=f"e{i}") for i in range(30)], {}),
    ],
)
def test_many_queues_are_the_endpoint_s_or_the_instance_s(links: list[LinkWindow], subject: dict[str, str]) -> None:
    judged = learned()
    found = [play(judged, 60 + i, [*links, *rest()]) for i in range(10)]
    assert [f.subject for f in found[-1]] == [{"scope": "fts.example", **subject}]


def test_what_moves_or_is_not_known_is_not_stuck() -> None:
    judged = learned()
    assert not any(play(judged, 60 + i, [link(0, 900, failed=1), link(0, 0, source="b"), *rest()]) for i in range(20))
    assert not any(play(judged, 80 + i, [link(0, 900), *rest()], complete=False) for i in range(20))
    assert not any(play(QueueJudge(), i, [link(0, 900)]) for i in range(20))


def test_a_link_that_often_waits_so_long_is_no_news() -> None:
    judged = learned()
    for w in range(60, 60 + 16 * 4):
        play(judged, w, [link(0 if w % 16 else 5, 50), *rest()])
    assert not any(play(judged, 124 + i, [link(0, 50), *rest()]) for i in range(4))  # as long as before


def test_what_stands_still_for_good_is_forgotten() -> None:
    judged = learned()
    found = [play(judged, 60 + i, [link(0, 50), *rest()]) for i in range(LONGEST + 2)]
    assert found[LONGEST - 1]
    assert not found[-1]


def test_a_healthy_instance_hardly_ever_raises_it() -> None:
    """300 windows of 200 queues that wait with a chance of their own, drawn anew: at most three times the tests times
    1e-4, and four sigma, as a wait is seen in several windows; the seed is fixed."""
    rng, judged, tests, count = np.random.default_rng(3), QueueJudge(), 0, 0
    waits = rng.beta(1.0, 12.0, 200)
    for w in range(300):
        still = rng.random(200) < waits
        links = [link(0 if still[i] else 3, 20, source=f"s{i % 40}", destination=f"d{i % 37}") for i in range(200)]
        count += len(play(judged, w, links))
        tests += judged.tests["stuck"]
    assert tests > 50_000
    assert count <= 3 * tests * 1e-4 + 4 * np.sqrt(tests * 1e-4)


def test_restored_anywhere_it_says_the_same() -> None:
    straight, restored, loud = learned(), learned(), QueueSettings(emit=-1.0)
    for i in range(20):
        links = [link(0 if i % 7 else 4, 50), link(0 if i > 8 else 1, 9, source="b"), *rest()]
        window = Window((60 + i) * SIZE, (61 + i) * SIZE)
        state = msgspec.json.decode(msgspec.json.encode(restored.state()))
        restored = QueueJudge()
        restored.restore(state)
        one, other = (j.judge(closing(j, window, links)._replace(settings=loud)) for j in (straight, restored))
        assert one == other
