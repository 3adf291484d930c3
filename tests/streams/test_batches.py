"""Record batches as a broker stores them: what is sound is read, what is not becomes one placeholder with its range."""

from __future__ import annotations

import struct

import pytest
from crafted import CODECS, batch, bomb, compress, record, records, varint
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatchBuilder

from opintel.streams.kafka.batches import Batches, Item
from opintel.streams.log import REFUSED

Plain = tuple[int, bytes]
GOOD = records([b"g0", b"g1"])
values = st.lists(st.binary(max_size=300) | st.sampled_from([b"x" * 64, b"y" * 8192, b"z" * 70_000]), max_size=6)


def plain(items: list[Item]) -> list[Plain]:
    return [(position, value) for position, value, _ in items]


def taken(data: bytes, position: int = 0, end: int = 1 << 40, limit: int = 1000, **more: object) -> list[Plain]:
    batches = Batches("t-0", data, position, end, **more)  # type: ignore[arg-type]
    out: list[Plain] = []
    while items := batches.take(limit, 1 << 30):
        assert len(items) <= limit
        out += plain(items)
    return out


def at(base: int, data: bytes) -> bytes:
    """A sound batch at another place; the base offset is not part of the checksum."""
    return struct.pack(">q", base) + data[8:]


def reasons(items: list[Item]) -> list[tuple[int, str]]:
    return [(position, value[1:].decode()) for position, value in items if value.startswith(REFUSED)]


@settings(max_examples=100, deadline=None)
@given(batches=st.lists(values, max_size=5), codec=st.sampled_from(CODECS), limit=st.integers(1, 7), data=st.data())
def test_any_batches_are_read_from_any_place_in_any_pieces(
    batches: list[list[bytes]], codec: str, limit: int, data: st.DataObject
) -> None:
    made, truth, base = [], [], 3
    for held in batches:
        if held:
            made.append((base + len(held), records(held, base=base, codec=codec)))
            truth += [(base + n, value) for n, value in enumerate(held)]
            base += len(held) + 2  # positions may be missing
    position = data.draw(st.integers(0, base))
    stored = b"".join(batch for end, batch in made if end > position)  # as a broker sends them
    expected = [item for item in truth if item[0] >= position]
    assert taken(stored, position, base, limit) == expected
    cut = data.draw(st.integers(0, len(stored)))
    assert taken(stored[:cut], position, base, limit) == expected[: len(taken(stored[:cut], position, base))]


def test_what_is_appended_while_a_broker_answers_is_read() -> None:
    """It looks up the end before it reads, so that the answer's records may go beyond the end that it tells."""
    stored = GOOD + at(2, GOOD) + at(4, GOOD)
    for end in range(7):
        assert taken(stored, 0, end) == [(n, b"g%d" % (n % 2)) for n in range(6)], end


def test_what_kafka_python_writes_is_read() -> None:
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
    for n in range(200):
        builder.append(n, 1_700_000_000_000 + 50 * n, b"k" * (n * 3), b"v" * n, [("h", b"x" * n)])
    assert taken(bytes(builder.build())) == [(n, b"v" * n) for n in range(200)]


@pytest.mark.parametrize("codec", CODECS[1:])
def test_a_bomb_is_one_placeholder_with_its_range(codec: str) -> None:
    data = GOOD + at(2, bomb(codec, 80 << 20)) + at(3, GOOD)
    items = taken(data)
    assert [p for p, _ in items] == [0, 1, 2, 3, 4]
    ((position, why),) = reasons(items)
    assert position == 2
    assert why.startswith(f"t-0, records 2 to 2, {codec}, ")
    assert why.endswith("bytes: it inflates to more than 67108864 bytes")


def test_millions_of_small_records_are_not_held_at_once() -> None:
    many = 1_000_000
    body = compress("zstd", [record(n, b"") for n in range(1000)])
    data = batch(body, many, many - 1, codec=4)
    ((position, why),) = reasons(taken(data))
    assert position == many - 1
    assert "claims 1000000 records" in why
    assert reasons(taken(batch(body, 2**31 - 1, 2**31 - 2, codec=4), end=2**31))
    batches = Batches("t-0", batch(body, 1000, 999, codec=4), 0, 1000)
    assert len(batches.take(10, 1 << 20)) == 10


@pytest.mark.parametrize(
    ("data", "why", "last"),
    [
        (GOOD[:-1] + bytes([GOOD[-1] ^ 1]), "checksum", 1),
        (GOOD[:16] + b"\x01" + GOOD[17:], "batch format 1", 0),
        (batch(b"", 5, 4), "claims 5 records", 4),
        (batch(record(0, b"x"), -1, 0), "claims -1 records", 0),
        (batch(record(0, b"x"), 1, -7), "its last offset is -7", 0),
        (batch(record(0, b"x") + record(0, b"y"), 2, 1), "not in order", 1),
        (batch(record(0, b"x") + record(5, b"y"), 2, 1), "not in order", 1),
        (batch(record(0, b"x") + varint(-20) + b"\x00" * 40, 2, 1), "beyond the batch", 1),
        (
            batch(record(0, b"x") + varint(7) + b"\x00\x00\x02\x01" + varint(1 << 30) + b"\x00" * 9, 2, 1),
            "beyond it",
            1,
        ),
        (batch(record(0, b"x") + b"\xff" * 20, 2, 1), "damaged record", 1),
        (batch(b"\x00" * 10, 1, 0, codec=5), "unknown codec 5", 0),
        (batch(b"no zstd" * 3, 1, 0, codec=4), "damaged zstd data", 0),
        (batch(record(0, b"x") + record(1, None), 2, 1), "without a value", 1),
    ],
    ids=range(13),
)
def test_what_is_wrong_is_told_and_reading_goes_on(data: bytes, why: str, last: int) -> None:
    items = taken(data + at(last + 1, GOOD))
    ((position, told),) = reasons(items)
    assert position == last
    assert why in told
    assert items[-2:] == [(last + 1, b"g0"), (last + 2, b"g1")]
    for limit in (1, 2):
        assert taken(data + at(last + 1, GOOD), limit=limit) == items


@settings(max_examples=300, deadline=None)
@given(data=st.data(), codec=st.sampled_from(CODECS))
def test_no_damage_ends_the_reader_or_turns_positions_back(data: st.DataObject, codec: str) -> None:
    stored = bytearray(GOOD + records([b"a" * 40, b"b", b"c"], base=2, codec=codec) + at(5, GOOD))
    for place in data.draw(st.lists(st.integers(0, len(stored) - 1), max_size=5)):
        stored[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):  # with a right checksum it goes deeper
        from crc32c import crc32c

        size = len(GOOD)
        length = struct.unpack_from(">i", stored, size + 8)[0]
        if 49 <= length <= len(stored) - size - 12:
            struct.pack_into(">I", stored, size + 17, crc32c(bytes(stored[size + 21 : size + 12 + length])))
    items = taken(bytes(stored), 0, 7, limit=data.draw(st.integers(1, 9)))
    positions = [p for p, _ in items]
    assert positions == sorted(set(positions))


@settings(max_examples=300, deadline=None)
@given(wrong=st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(0, 140), which=st.integers(0, 2))
def test_a_first_offset_that_cannot_be_loses_no_other_batch(wrong: int, which: int) -> None:
    """No checksum covers it."""
    sound = [records([b"%d" % (first + n) for n in range(10)], base=first) for first in (100, 110, 120)]
    sound[which] = at(wrong, sound[which])
    batches = Batches("t-0", b"".join(sound), 100, 130)
    items = []
    while some := batches.take(7, 1 << 20):
        items += plain(some)
    assert batches.position <= 130
    positions = [p for p, _ in items]
    assert positions == sorted(set(positions))
    first = 100 + 10 * which
    if not first - 10 < wrong < first + 10:  # else it may be a batch that lost records to compaction
        assert not which or batches.position == 130
        told = reasons(items)
        assert [p for p, _ in told] == [first + 9]
        assert f"records {first} to {first + 9}, " in told[0][1]
        assert f"its first offset is {wrong}" in told[0][1]
        good = [(p, b"%d" % p) for p in range(100, 130) if not first <= p < first + 10]
        assert [item for item in items if item[0] != first + 9] == good


def test_what_lies_before_the_position_takes_no_room() -> None:
    data = records([b"x" * 1000] * 100, codec="zstd")
    for position in (0, 50, 99):
        assert Batches("t-0", data, position, 100).take(1000, 1500)[0][:2] == (position, b"x" * 1000)


def test_aborted_transactions_and_control_records_are_left_out() -> None:
    def marker(base: int, producer: int, commit: bool) -> bytes:
        body = record(0, b"\x00" * 6, key=struct.pack(">hh", 0, int(commit)))
        return batch(body, 1, 0, base=base, attributes=0x30, producer=producer)

    def part(base: int, producer: int, value: bytes) -> bytes:
        return batch(record(0, value), 1, 0, base=base, attributes=0x10, producer=producer)

    data = (
        part(0, 7, b"aborted") + part(1, 8, b"kept") + marker(2, 7, False) + part(3, 7, b"again") + marker(4, 7, True)
    )
    batches = Batches("t-0", data + marker(5, 8, True), 0, 6, [(7, 0)])
    assert plain(batches.take(100, 1 << 20)) == [(1, b"kept"), (3, b"again")]
    assert not batches.more()
    assert batches.position == 6
