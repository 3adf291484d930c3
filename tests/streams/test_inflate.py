"""Decompression keeps to its limit, whatever the data claim."""

from __future__ import annotations

import contextlib
import struct

import cramjam
import lz4.frame
import pytest
import zstandard
from crafted import CODECS, ZEROS, compress
from hypothesis import given, settings
from hypothesis import strategies as st

from opintel.streams.kafka.inflate import TooLarge, inflate

codecs = pytest.mark.parametrize("codec", CODECS[1:])


@codecs
@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_what_was_compressed_comes_back(codec: str, size: int) -> None:
    data = (bytes(range(256)) * 2000)[:size]
    assert inflate(codec, compress(codec, [data])) == data


@codecs
def test_the_limit_is_exact(codec: str) -> None:
    body = compress(codec, [ZEROS])
    assert inflate(codec, body, limit=len(ZEROS)) == ZEROS
    with pytest.raises(TooLarge, match="more than 1048575 bytes"):
        inflate(codec, body, limit=len(ZEROS) - 1)


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
def test_members_one_after_the_other_count_together(codec: str) -> None:
    body = compress(codec, [b"one"]) + compress(codec, [b"two"])
    assert inflate(codec, body) == b"onetwo"
    with pytest.raises(TooLarge):
        inflate(codec, compress(codec, [ZEROS]) * 5, limit=4 * len(ZEROS))


def test_raw_snappy_is_read_and_believed_no_further_than_the_limit() -> None:
    assert inflate("snappy", bytes(cramjam.snappy.compress_raw(b"raw" * 100))) == b"raw" * 100
    with pytest.raises(TooLarge):
        inflate("snappy", b"\xff\xff\xff\xff\x0f" + b"\x00" * 20)  # says 4 GiB


def test_sizes_in_headers_are_not_believed() -> None:
    frame = bytearray(zstandard.ZstdCompressor().compress(b"x" * 1000))
    stated = zstandard.get_frame_parameters(bytes(frame))
    assert stated.content_size == 1000
    lying = b"\x28\xb5\x2f\xfd" + bytes([0xE0]) + struct.pack("<Q", 1 << 40) + b"\x01\x00\x00"  # 1 TiB, an empty block
    with pytest.raises((ValueError, TooLarge)):
        inflate("zstd", lying, limit=1 << 20)
    window = b"\x28\xb5\x2f\xfd\x00" + bytes([(30 - 10) << 3]) + b"\x01\x00\x00"  # a window of 1 GiB
    with pytest.raises(ValueError, match="zstd"):
        inflate("zstd", window)
    with lz4.frame.LZ4FrameCompressor() as stream:
        stated_too_much = stream.begin(source_size=1 << 40) + stream.compress(b"x") + b"\x00" * 4
    with pytest.raises(ValueError, match="lz4"):
        inflate("lz4", stated_too_much)


def test_an_unknown_codec_is_named() -> None:
    with pytest.raises(ValueError, match="unknown codec 6"):
        inflate("6", b"")


@settings(max_examples=200, deadline=None)
@given(codec=st.sampled_from(CODECS[1:]), data=st.data())
def test_damage_is_a_value_error_or_bounded(codec: str, data: st.DataObject) -> None:
    body = bytearray(compress(codec, [bytes(range(256)) * 20]))
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=4)):
        body[at] = data.draw(st.integers(0, 255))
    cut = bytes(body[: data.draw(st.integers(1, len(body)))])
    with contextlib.suppress(ValueError):
        assert len(inflate(codec, cut, limit=100_000)) <= 100_000
