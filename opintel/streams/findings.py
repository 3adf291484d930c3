"""The two records of the findings topic: `Found` (one finding) and `Judged` (a window of a scope has been
judged).

Stage 2 writes, for each window of a scope, first its findings and then one `Judged`, so that 'no finding'
differs from 'stands still'; after a crash it may write them again. The alert service reads them, the only one
to decide on them.
"""

from __future__ import annotations

import msgspec

from opintel.evidence import MAX_BYTES
from opintel.finding import Finding, Window
from opintel.streams.log import REFUSED

FORMAT = 1
LIMIT = 4 * MAX_BYTES
"""Bytes of one record; above it a value is refused unread."""
KINDS_LIMIT = 256


class Found(msgspec.Struct, tag="finding", array_like=True, frozen=True):
    """One finding of a stream. Its scope is among the labels of its subject."""

    stream: str
    finding: Finding


class Judged(msgspec.Struct, tag="judged", array_like=True, frozen=True):
    """All findings of `scope` for windows up to `window` have been written before this record."""

    stream: str
    scope: str
    window: Window
    tests: dict[str, int]
    """Finding kind → number of tests made in this window: what a false-alarm budget is shared among."""
    complete: bool
    """False where the input ended inside the window: no finding then does not mean healthy."""

    def __post_init__(self) -> None:
        if len(self.tests) > KINDS_LIMIT or any(n < 0 for n in self.tests.values()):
            raise ValueError(f"tests: at most {KINDS_LIMIT} kinds, none negative")


_decoder = msgspec.msgpack.Decoder(Found | Judged)


def encode(record: Found | Judged) -> bytes:
    """One format byte, then msgpack. Raises ValueError above `LIMIT` bytes."""
    body = msgspec.msgpack.encode(record)
    if len(body) >= LIMIT:
        raise ValueError(f"a findings record holds at most {LIMIT} bytes, this one {len(body)}")
    return bytes([FORMAT]) + body


def decode(data: bytes) -> Found | Judged:
    """The inverse of `encode`. Raises ValueError with the reason for anything that is not such a record."""
    if data[:1] == REFUSED:
        raise ValueError(f"no findings record: {data[1:500].decode('utf-8', 'replace')}")
    if not 1 < len(data) <= LIMIT:
        raise ValueError(f"a findings record has 2 to {LIMIT} bytes, got {len(data)}")
    if data[0] != FORMAT:
        raise ValueError(f"findings record of format {data[0]}, this build reads {FORMAT}")
    try:
        record: Found | Judged = _decoder.decode(memoryview(data)[1:])
    except RecursionError as error:
        raise ValueError("findings record nested too deeply") from error
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a findings record: {error}") from error
    return record
