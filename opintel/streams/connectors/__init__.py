"""Connectors: transports that deliver `Message`s with their place in a source.

What a message means, and whether it is right, is the business of a domain's `wire.py`.
"""

from __future__ import annotations

MAX_BODY = 1 << 20
"""Bytes of a line or broker message that are kept."""


def cut(body: bytes, limit: int = MAX_BODY) -> bytes:
    """`body`, or its first `limit` bytes and a NUL: no JSON text ends so, and no wire takes it for whole."""
    return body if len(body) <= limit else body[:limit] + b"\x00"
