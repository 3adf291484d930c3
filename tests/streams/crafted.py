"""Record batches made by hand, sound and hostile, and the request that puts them on a real broker's topic."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import cramjam
import crc32c
import lz4.frame
import zstandard
from kafka.net.compat import KafkaNetClient
from kafka.protocol.producer import ProduceRequest

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
ZEROS = bytes(1 << 20)


def varint(number: int) -> bytes:
    """Zigzag."""
    n = number << 1 if number >= 0 else (-number << 1) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def record(
    delta: int, value: bytes | None, key: bytes | None = None, headers: Sequence[tuple[bytes, bytes]] = ()
) -> bytes:
    body = b"\x00" + varint(1000 * delta) + varint(delta)
    for part in (key, value):
        body += varint(-1) if part is None else varint(len(part)) + part
    body += varint(len(headers)) + b"".join(varint(len(k)) + k + varint(len(v)) + v for k, v in headers)
    return varint(len(body)) + body


def huge_record(size: int) -> Iterator[bytes]:
    """The pieces of a first record whose value is so many zeros, in whole MiB."""
    start = b"\x00" + varint(0) + varint(0) + varint(-1) + varint(size)
    yield varint(len(start) + size + 1) + start
    for _ in range(size // len(ZEROS)):
        yield ZEROS
    yield b"\x00"


def batch(
    body: bytes, count: int, last: int, *, base: int = 0, codec: int = 0, attributes: int = 0, producer: int = -1
) -> bytes:
    """A v2 batch around a body that is compressed already."""
    times = (0, 0, producer, 0 if producer >= 0 else -1, 0 if producer >= 0 else -1)
    checked = struct.pack(">hiqqqhii", attributes | codec, last, *times, count) + body
    return struct.pack(">qiibI", base, len(checked) + 9, 0, 2, crc32c.crc32c(checked)) + checked


def records(values: Sequence[bytes | None], *, base: int = 0, codec: str = "none") -> bytes:
    """A sound batch."""
    body = compress(codec, [b"".join(record(n, value) for n, value in enumerate(values))])
    return batch(body, len(values), len(values) - 1, base=base, codec=CODECS.index(codec))


def bomb(codec: str, size: int) -> bytes:
    """A sound batch of one record that is this large when inflated."""
    return batch(compress(codec, huge_record(size)), 1, 0, codec=CODECS.index(codec))


def compress(codec: str, pieces: Iterable[bytes]) -> bytes:
    return _COMPRESS[codec](pieces)


def _gzip(pieces: Iterable[bytes]) -> bytes:
    stream = zlib.compressobj(1, wbits=31)
    return b"".join([*map(stream.compress, pieces), stream.flush()])


def _lz4(pieces: Iterable[bytes]) -> bytes:
    stream = lz4.frame.LZ4FrameCompressor(block_size=lz4.frame.BLOCKSIZE_MAX64KB, block_linked=False)
    return b"".join([stream.begin(), *map(stream.compress, pieces), stream.flush()])


def _zstd(pieces: Iterable[bytes]) -> bytes:
    stream = zstandard.ZstdCompressor(level=1).compressobj()
    return b"".join([*map(stream.compress, pieces), stream.flush()])


def _snappy(pieces: Iterable[bytes]) -> bytes:
    blocks = [bytes(cramjam.snappy.compress_raw(piece)) for piece in pieces]
    return b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1) + b"".join(struct.pack(">i", len(b)) + b for b in blocks)


_COMPRESS: dict[str, Callable[[Iterable[bytes]], bytes]] = {
    "none": b"".join,
    "gzip": _gzip,
    "snappy": _snappy,
    "lz4": _lz4,
    "zstd": _zstd,
}


def produce(bootstrap: str, topic: str, data: bytes) -> int:
    """Appends one crafted batch to partition 0; returns the error code that the broker gave."""
    client = KafkaNetClient(bootstrap_servers=[bootstrap], request_timeout_ms=60_000)
    client._net.start()
    try:
        client._manager.bootstrap(5000)
        partition = ProduceRequest.TopicProduceData.PartitionProduceData(index=0, records=data)
        topics = [ProduceRequest.TopicProduceData(name=topic, partition_data=[partition])]
        request = ProduceRequest(version=9, transactional_id=None, acks=-1, timeout_ms=60_000, topic_data=topics)

        async def send() -> Any:
            return await client._manager.send(request)

        told = client._manager.run(send).responses[0].partition_responses[0]
        return int(told.error_code)
    finally:
        client.close()
