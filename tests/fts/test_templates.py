"""The miner: same ids everywhere, counts that add up, merges that depend on the set of forms, bounded memory."""

from __future__ import annotations

import csv
import random
import tracemalloc
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opintel.fts.templates.miner import OVERFLOW, TemplateMiner

messages = st.lists(
    st.one_of(
        st.builds("no answer from rack {}{} today".format, st.sampled_from("AB"), st.integers(0, 9)),
        st.builds("link {}{} of eth{} is down".format, st.sampled_from("xy"), st.integers(0, 4), st.integers(0, 4)),
        st.builds("error {} at step {}".format, st.sampled_from([401, 503]), st.integers(0, 99)),
        st.builds("pool {} said: disk is full now".format, st.text("abcdefgh", min_size=1, max_size=2)),
        st.builds(
            "from {} or a{}: no {}".format, st.sampled_from(["/a/b", "a.b.ch:1"]), st.integers(0, 3), st.just("x")
        ),
        st.text(max_size=30),
    ),
    max_size=80,
)


def partition(miner: TemplateMiner, ids: list[str]) -> set[frozenset[int]]:
    groups: defaultdict[str, set[int]] = defaultdict(set)
    for row, id in enumerate(ids):
        groups[miner.resolve(id)].add(row)
    return {frozenset(rows) for rows in groups.values()}


@given(messages, st.lists(st.integers(0, 80), max_size=5), st.integers(0, 80))
def test_splits_and_restores_change_nothing(texts: list[str], cuts: list[int], restart: int) -> None:
    whole = TemplateMiner()
    expected = whole.assign(texts, range(len(texts)))
    miner, ids = TemplateMiner(), []
    bounds = sorted({0, len(texts), *(min(cut, len(texts)) for cut in [*cuts, restart])})
    for start, end in pairwise(bounds):
        ids += miner.assign(texts[start:end], range(start, end))
        if end >= restart:
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(miner.state()))
            miner = TemplateMiner()
            miner.restore(state)
    assert ids == expected
    assert partition(miner, ids) == partition(whole, expected)
    assert {miner.resolve(id): miner.template(id) for id in ids} == {
        whole.resolve(id): whole.template(id) for id in ids
    }


@given(messages, st.randoms(use_true_random=False))
def test_the_partition_does_not_depend_on_the_order(texts: list[str], random) -> None:
    order = list(range(len(texts)))
    random.shuffle(order)
    one, other = TemplateMiner(), TemplateMiner()
    ids = one.assign(texts)
    shuffled = other.assign([texts[row] for row in order])
    back = [""] * len(texts)
    for place, row in enumerate(order):
        back[row] = shuffled[place]
    assert partition(one, ids) == partition(other, back)


@given(messages, st.integers(0, 10))
def test_counts_add_up_at_any_capacity(texts: list[str], capacity: int) -> None:
    miner = TemplateMiner(capacity)
    ids = miner.assign(texts)
    assert sum(miner.template(id).count for id in {miner.resolve(id) for id in ids}) == len(texts)
    assert len(set(ids) - {OVERFLOW}) <= capacity


def test_known_forms_survive_the_cap() -> None:
    miner = TemplateMiner(2)
    known = miner.assign(["disk full", "no route"])
    assert miner.assign(["login refused", "disk full", "quota gone", "no route"]) == [
        OVERFLOW,
        known[0],
        OVERFLOW,
        known[1],
    ]


def test_names_in_one_frame_merge_into_one_template() -> None:
    miner = TemplateMiner()
    ids = miner.assign([f"no answer from rack C{n} today" for n in range(5)], [5, 4, 3, 2, 1])
    assert len(set(ids)) == 5
    assert {miner.resolve(id) for id in ids} == {ids[0]}
    merged = miner.template(ids[3])
    assert (merged.id, merged.text, merged.count) == (ids[0], "no answer from rack <*> today", 5)
    assert (merged.first_seen, merged.last_seen) == (1, 5)
    assert merged.examples[0] == "no answer from rack C0 today"


def test_causes_and_codes_do_not_merge() -> None:
    miner = TemplateMiner()
    causes = [f"globus_xio: System error in {word}: Broken pipe" for word in ("recv", "send", "writev", "connect")]
    codes = [f"the server responded with an error {code} and closed" for code in range(500, 560)]
    ids = miner.assign(causes + codes)
    assert len({miner.resolve(id) for id in ids}) == 64


def test_a_snapshot_does_not_change_afterwards() -> None:
    miner = TemplateMiner()
    miner.assign(["disk full"])
    before = miner.state()
    copy = msgspec.msgpack.encode(before)
    miner.assign(["Disk full", "disk full "])
    assert msgspec.msgpack.encode(before) == copy


def test_any_text_may_come() -> None:
    """Also one that is in no UTF-8, and one of megabytes; an example holds no secret."""
    miner = TemplateMiner()
    texts = [
        "\ud800",
        "a \udcff b",
        "",
        "x" * 5_000_000,
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2ln refused",
        "\x00",
    ]
    ids = miner.assign(texts)
    assert ids == TemplateMiner().assign(texts)
    told = miner.template(ids[4])
    assert (told.text, told.examples) == ("Bearer REDACTED refused", ("Bearer REDACTED refused",))


def test_a_fresh_first_word_a_message_costs_bounded_memory() -> None:
    rng = random.Random(1)
    miner = TemplateMiner(capacity=1000)
    tracemalloc.start()
    for _ in range(3):
        words = ["".join(rng.choices("abcdefghij", k=9)) for _ in range(3000)]
        miner.assign([f"{word} no space left on device {word}" for word in words])
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert used < 30e6
    assert len(miner.state()["forms"]) == 1001


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="2 messages and 1 times"):
        TemplateMiner().assign(["a", "b"], [1])
    with pytest.raises(KeyError, match="no template"):
        TemplateMiner().template("t-0")
    with pytest.raises(ValueError, match="format 9"):
        TemplateMiner().restore({"format": 9})


def test_merges_of_real_messages_mix_no_families(shared_data: Path) -> None:
    miner = TemplateMiner()
    with (shared_data / "fts" / "fts_10k_messages.csv").open(newline="") as file:
        ids = miner.assign([row["message"] for row in csv.DictReader(file)])
    assert len({miner.resolve(id) for id in ids}) <= 260
    families: defaultdict[str, set[str]] = defaultdict(set)
    with (shared_data / "fts" / "fts_patterns_labelled.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            families[miner.resolve(miner.assign([row["example"]])[0])].add(row["family"])
    assert max(map(len, families.values())) == 1
