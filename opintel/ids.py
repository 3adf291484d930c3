"""Natural ids: 64-bit hashes by which a copy of a row is recognised, one at a time or a column at once.

Wires give them to rows, stage 1 drops a row whose id it knows. Signed, so that SQL and Arrow can hold them. The two
forms are different hashes: a wire uses one of them for one kind of message and keeps to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 512
"""Bytes of a text that `hashed` takes."""
_WORD, _LENGTH = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_FIRST, _SECOND = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_MASKS = np.array([(1 << 8 * n) - 1 for n in range(8)] + [(1 << 64) - 1], dtype=np.uint64)


def natural_id(*parts: str | int) -> int:
    """A signed 64-bit hash of a natural key: BLAKE2b of its parts.

    >>> natural_id("2020-01-01-2347__a__b__1__j", 0) == natural_id("2020-01-01-2347__a__b__1__j", 0)
    True
    """
    text = "\x1f".join([p if type(p) is str else str(p) for p in parts]).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big", signed=True)


def natural_ids(texts: Iterable[str]) -> NDArray[np.int64]:
    """(n,) `natural_id` of each text (UTF-8, no surrogates); parts of a key are joined by U+001F."""
    digests = [blake2b(text.encode(), digest_size=8).digest() for text in texts]
    return np.frombuffer(b"".join(digests), dtype=">i8").astype(np.int64)


def hashed(data: NDArray[np.uint8], offsets: NDArray[Any], seed: NDArray[np.int64] | int = 0) -> NDArray[np.int64]:
    """(n,) hashes of the n texts that lie in `data` between `offsets` (n + 1), each under its `seed`.

    Eight bytes at a time, each word mixed in by MurmurHash3's 64-bit finaliser (A. Appleby, public domain), which is
    a bijection: two texts collide with a chance of about 2^-64. No secret is in it: who chooses texts on purpose can
    make two collide, as he can send the same id twice. ValueError for a text above MAX_BYTES.
    """
    starts = offsets[:-1].astype(np.int64)
    lengths = np.diff(offsets.astype(np.int64))
    longest = int(lengths.max(initial=0))
    if longest > MAX_BYTES:
        raise ValueError(f"an id has at most {MAX_BYTES} bytes, got one of {longest}")
    padded = np.concatenate([data, np.zeros(8, dtype=np.uint8)])
    words = np.ndarray((len(data) + 1,), dtype="<u8", buffer=padded, strides=(1,))  # eight bytes from any place
    state = np.broadcast_to(np.asarray(seed, dtype=np.int64), lengths.shape).view(np.uint64) * _WORD
    state = _mixed(state ^ lengths.view(np.uint64) * _LENGTH)
    for at in range(0, longest, 8):
        here: Any = np.flatnonzero(lengths > at)
        if len(here) == len(lengths):
            here = slice(None)
        word = words[starts[here] + at] & _MASKS[np.minimum(lengths[here] - at, 8)]
        state[here] = _mixed(state[here] ^ word * _WORD)
    return state.view(np.int64)


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ x >> np.uint64(33)) * _FIRST
    x = (x ^ x >> np.uint64(33)) * _SECOND
    return x ^ x >> np.uint64(33)
