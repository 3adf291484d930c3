"""Decompression with a hard limit on what comes out: gzip, snappy, LZ4 and Zstandard bodies of Kafka record batches.

Data come from anybody who may write to a topic, by `batches`; kafka-python's own codecs inflate whatever they are
given. A body is taken through in bounded pieces, so that memory is never more than the limit and a codec's window.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Final, Protocol

import cramjam
import lz4.frame
import zstandard

LIMIT = 64 << 20
"""Bytes that one batch may have when inflated."""
WINDOW = 128 << 20
"""Bytes of a Zstandard window at most: what the reference decoder takes, and the highest level needs."""
CODECS: Final = ("none", "gzip", "snappy", "lz4", "zstd")
"""By the number in a batch's attributes (KIP-98, KIP-110)."""
_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEADER = len(_XERIAL) + 8


class TooLarge(ValueError):
    """It inflates beyond the limit."""


def inflate(codec: str, body: bytes, limit: int = LIMIT) -> bytes:
    """The body of a batch, at most `limit` bytes.

    TooLarge where it is more; ValueError where it is damaged or the codec is unknown.
    """
    try:
        return _INFLATE[codec](body, limit)
    except KeyError:
        raise ValueError(f"unknown codec {codec}") from None
    except TooLarge:
        raise
    except MemoryError:
        raise
    except Exception as error:  # each library has errors of its own
        raise ValueError(f"damaged {codec} data ({error})") from error


class _Member(Protocol):
    """One gzip member or LZ4 frame being read."""

    def decompress(self, data: bytes, max_length: int) -> bytes: ...
    @property
    def unused_data(self) -> bytes | None: ...
    @property
    def eof(self) -> bool: ...


def _members(make: Callable[[], _Member], body: bytes, limit: int) -> bytes:
    """Members one after the other, as both formats allow."""
    pieces, size = [], 0
    rest: bytes | None = body
    while rest:
        member = make()
        piece = member.decompress(rest, limit + 1 - size)
        pieces.append(piece)
        size += len(piece)
        _check(size, limit)
        if not member.eof:
            raise ValueError("it is cut short")
        rest = member.unused_data
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _gzip(body: bytes, limit: int) -> bytes:
    return _members(lambda: zlib.decompressobj(wbits=31), body, limit)


def _lz4(body: bytes, limit: int) -> bytes:
    return _members(lz4.frame.LZ4FrameDecompressor, body, limit)


def _zstd(body: bytes, limit: int) -> bytes:
    pieces, size = [], 0
    want = 16 * len(body) + (1 << 16)
    with zstandard.ZstdDecompressor(max_window_size=WINDOW).stream_reader(body, read_across_frames=True) as reader:
        # a reader, because decompress() trusts the size that the frame's header states
        while piece := reader.read(min(want, limit + 1 - size)):
            pieces.append(piece)
            size += len(piece)
            _check(size, limit)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _snappy(body: bytes, limit: int) -> bytes:
    """Raw, or in the blocks of xerial's snappy-java: magic, two int32, then (int32 length, raw block) …"""
    if not body.startswith(_XERIAL):
        return _raw_snappy(body, limit)
    pieces, size, at = [], 0, _XERIAL_HEADER
    while at < len(body):
        (length,) = struct.unpack_from(">i", body, at)
        at += 4
        if not 0 <= length <= len(body) - at:
            raise ValueError("a block is cut short")
        block = body[at : at + length]
        _check(size + cramjam.snappy.decompress_raw_len(block), limit)
        pieces.append(_raw_snappy(block, limit))
        size += len(pieces[-1])
        at += length
    return b"".join(pieces)


def _raw_snappy(block: bytes, limit: int) -> bytes:
    _check(cramjam.snappy.decompress_raw_len(block), limit)  # its preamble, which the codec then keeps to
    return bytes(cramjam.snappy.decompress_raw(block))


def _check(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(f"it inflates to more than {limit} bytes")


_INFLATE: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "gzip": _gzip,
    "snappy": _snappy,
    "lz4": _lz4,
    "zstd": _zstd,
}
