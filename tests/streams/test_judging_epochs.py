"""Stage 2 and a raw topic that is re-created: what the old one's partitions closed and what the new one's do is never
taken together, and no split into batches changes what comes of it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from contract.cases import TOY_STREAM
from contract.toy import TOY
from hypothesis import given
from hypothesis import strategies as st
from stored import stored

from opintel.detector import Record
from opintel.finding import Window
from opintel.streams.findings import Found, Judged, decode
from opintel.streams.judging import JudgeStage
from opintel.streams.records import Closed, Derived, derived_codec

CODEC = derived_codec(TOY.record)
SIZE, PARTITIONS = TOY_STREAM.window, TOY_STREAM.partitions


def closed(partition: int, epoch: str, windows: int) -> bytes:
    return CODEC.encode(Closed(partition, PARTITIONS, epoch, windows * SIZE))


def record(window: int, total: int, key: str = "a.k") -> bytes:
    return CODEC.encode(Derived([Record(Window(window * SIZE, (window + 1) * SIZE), "sum", key, "a", [1, total])]))


def stage() -> JudgeStage:
    return JudgeStage(TOY_STREAM, TOY, 0, "derived")


def judged(made: JudgeStage, values: list[bytes], splits: set[int] = frozenset()) -> list[Any]:
    """What comes of the values, in batches that end at `splits`."""
    out: list[Any] = []
    batch: list[tuple[int, bytes]] = []
    for position, value in enumerate(values):
        batch.append((position, value))
        if position in splits or position == len(values) - 1:
            for _ in range(100):
                given_out = made.process(stored(batch), careful=False)
                out += [decode(e.value) for e in (*given_out.records, *given_out.closing)]
                batch = []
                if not made.pending:
                    break
    return out


def ends(found: list[Any]) -> list[int]:
    return [f.window.end // SIZE for f in found if isinstance(f, Judged)]


def test_a_new_epoch_waits_for_all_its_partitions() -> None:
    made = stage()
    old = [record(0, 1), *(closed(p, "old", 1) for p in range(PARTITIONS))]
    assert ends(judged(made, old)) == [1]
    new = [record(1, 2), *(closed(p, "new", 9) for p in range(PARTITIONS - 1))]
    # the last one of the old topic said more than it did before: that is another topic's
    assert ends(judged(made, [*new, closed(PARTITIONS - 1, "old", 9)])) == []
    assert ends(judged(made, [closed(PARTITIONS - 1, "new", 3)])) == [2, 3]
    assert made.frontier == 3 * SIZE


def test_a_new_epoch_that_begins_earlier_judges_nothing_twice() -> None:
    made = stage()
    assert ends(judged(made, [record(0, 1), record(1, 1), *(closed(p, "old", 2) for p in range(PARTITIONS))])) == [1, 2]
    again = [record(0, 5), record(1, 5), record(2, 5), *(closed(p, "new", 3) for p in range(PARTITIONS))]
    assert ends(judged(made, again)) == [3]
    assert made.repeated == 2


def test_a_checkpoint_without_epochs_is_read_on() -> None:
    made = stage()
    judged(made, [record(0, 1), *(closed(p, "raw", 1) for p in range(PARTITIONS))])
    before = msgspec.msgpack.decode(msgspec.msgpack.encode(made.state()))
    del before["epochs"]
    after = stage()
    after.restore(before)
    assert after.frontier == SIZE
    assert ends(judged(after, [record(1, 1), *(closed(p, "raw", 2) for p in range(PARTITIONS))])) == [2]


def test_a_record_that_cannot_be_is_set_aside_and_its_neighbours_are_judged() -> None:
    good = [Record(Window(0, SIZE), "sum", key, "a", [1, 1, 1]) for key in ("a.k", "a.l")]
    off = Record(Window(1, SIZE + 1), "sum", "a.m", "a", [1, 1, 1])
    together = CODEC.encode(Derived([good[0], off, good[1]]))
    closing = [closed(p, "raw", 1) for p in range(PARTITIONS)]
    made, alone = stage(), stage()
    (aside,) = made.process(stored([(7, together)]), careful=False).asides
    assert (aside.kind, aside.position, aside.row) == ("dead", 7, 1)
    assert "expected a window on Grid" in aside.reason
    assert b"a.m" in aside.excerpt
    alone.process(stored([(7, CODEC.encode(Derived(good)))]), careful=False)
    assert judged(made, closing) == judged(alone, closing)
    assert made.state() == alone.state()


def test_a_count_in_the_place_of_a_record_quarantines_nobody() -> None:
    made = stage()
    count = CODEC.encode(Derived([Record(Window(0, SIZE), "sum", "a.m", "a", 7)]))
    (aside,) = made.process(stored([(3, count)]), careful=False).asides
    assert "a count is of quarantined rows" in aside.reason
    assert ends(judged(made, [record(0, 1), *(closed(p, "raw", 1) for p in range(PARTITIONS))])) == [1]


EPOCHS, WINDOWS = st.sampled_from(["old", "new"]), st.integers(0, 4)
said = st.one_of(
    st.builds(lambda p, epoch, n: [closed(p, epoch, n)], st.integers(0, PARTITIONS - 1), EPOCHS, WINDOWS),
    st.builds(lambda epoch, n: [closed(p, epoch, n) for p in range(PARTITIONS)], EPOCHS, WINDOWS),
    st.builds(lambda *r: [record(*r)], WINDOWS, st.integers(0, 3), st.sampled_from(["a.k", "a.l"])),
)


@given(st.lists(said, min_size=1, max_size=20), st.sets(st.integers(0, 40)))
def test_no_split_into_batches_changes_what_is_judged(parts: list[list[bytes]], splits: set[int]) -> None:
    values = [value for part in parts for value in part]
    one_by_one, split = judged(stage(), values, set(range(len(values)))), judged(stage(), values, splits)
    for kind in (Found, Judged):  # in a batch all findings go ahead of what says that they are complete
        assert [f for f in split if isinstance(f, kind)] == [f for f in one_by_one if isinstance(f, kind)]
