"""Rows of the stream from the checked contents of a message, whatever form it had: a copy has the same id in each."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.columns import MAX_TEXT
from opintel.dqm.histograms import MANIFEST, MANIFEST_PATH, HistogramRow, Histograms, Listing
from opintel.dqm.wire.heads import MAX_CONDITION, MAX_PATH, Head, wrong_name
from opintel.ids import hashed, natural_id
from opintel.rows import Arrays, Batch, Row, TextColumn

MAX_LISTED = 100_000
"""Paths of a manifest."""


class Contents(NamedTuple):
    """Histograms of a message, checked, as columns of n rows."""

    path: TextColumn
    axes: TextColumn
    x: NDArray[np.int32]
    storage: NDArray[np.int8]
    values: Arrays
    variances: Arrays
    revision: NDArray[np.int32]
    cumulative: NDArray[np.int8]
    entries: NDArray[np.float64]


def histogram_rows(head: Head, contents: Contents) -> Batch[HistogramRow]:
    """The rows of the histograms, or references, of a message."""
    n = len(contents.x)
    paths = contents.path
    place = natural_id(head.prefix, head.kind, head.run, head.lumisection, head.reference)
    payload = Histograms(
        np.full(n, head.kind, dtype=np.int8),
        np.full(n, head.run, dtype=np.int32),
        np.full(n, head.lumisection, dtype=np.int32),
        np.full(n, head.end, dtype=np.int64),
        contents.revision,
        contents.axes,
        contents.x,
        contents.storage,
        contents.cumulative,
        contents.entries,
        contents.values,
        contents.variances,
        TextColumn([head.category], np.zeros(n, dtype=np.int32)),
        np.full(n, np.nan if head.pileup is None else head.pileup, dtype=np.float32),
        TextColumn([head.reference], np.zeros(n, dtype=np.int32)),
    )
    prefix = head.prefix
    key = TextColumn([prefix + path for path in paths.values], paths.code)
    return Batch(key, np.full(n, head.start, dtype=np.int64), _ids(place, paths, contents.revision), payload)


def _ids(place: int, paths: TextColumn, revision: NDArray[np.int32]) -> NDArray[np.int64]:
    """(n,) natural ids of rows by path and revision."""
    encoded = [path.encode() for path in paths.values]
    data = np.frombuffer(b"".join(encoded), dtype=np.uint8)
    offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(path) for path in encoded], out=offsets[1:])
    by_path = hashed(data, offsets)[paths.code]
    seeds = np.full(len(revision), place, dtype=np.int64) + revision  # beyond int64 it begins anew
    return hashed(by_path.view(np.uint8), 8 * np.arange(len(revision) + 1), seeds)


def wrong_path(path: str | None) -> str:
    """What is wrong with the path of a histogram; empty where nothing is."""
    if not path:
        return "path: expected folders and a name, got none"
    if path == MANIFEST_PATH:
        return f"path: expected folders and a name, got {path!r}, which stands for a manifest"
    wrong = wrong_name(path, MAX_PATH)
    return f"path: {wrong}" if wrong else ""


def manifest_rows(head: Head, listing: Listing) -> list[Row[HistogramRow]]:
    """The rows of a manifest: one, or several where it lists more paths than one holds. Those of one revision together
    are the manifest; each says its conditions. Raises ValueError for a manifest that cannot be taken.
    """
    _require_sound(listing)
    return [_manifest_row(head, text) for text in pieces(listing, MAX_TEXT)]


def pieces(listing: Listing, most: int) -> list[str]:
    """A manifest as JSON, in texts of at most `most` characters; together they list all of its paths."""
    written = _written(listing)
    if len(written) <= most or not listing.paths:
        return [written]
    found, begin, room = [], 0, most - len(_written(msgspec.structs.replace(listing, paths=[])))
    left = room
    for n, path in enumerate(listing.paths):
        size = len(msgspec.json.encode(path).decode()) + 1
        if size > left and n > begin:
            found.append(_written(msgspec.structs.replace(listing, paths=listing.paths[begin:n])))
            begin, left = n, room
        left -= size
    return [*found, _written(msgspec.structs.replace(listing, paths=listing.paths[begin:]))]


def _written(listing: Listing) -> str:
    return msgspec.json.encode(listing).decode()


def _manifest_row(head: Head, about: str) -> Row[HistogramRow]:
    key = head.prefix + MANIFEST_PATH
    identity = natural_id(key, MANIFEST, head.run, head.lumisection, head.revision, about)
    numbers, nan = (MANIFEST, head.run, head.lumisection, head.end, head.revision), float("nan")
    return Row(key, head.start, identity, HistogramRow(*numbers, "", 0, 0, False, nan, [], [], "", nan, about))


def _require_sound(listing: Listing) -> None:
    if listing.histograms is not None and not 0 <= listing.histograms < 1 << 31:
        raise ValueError(f"histograms: expected a count, got {listing.histograms}")
    for name in ("run_type", "menu"):
        text = getattr(listing, name)
        if len(text) > MAX_CONDITION or not text.isprintable():
            raise ValueError(f"{name}: expected at most {MAX_CONDITION} printable characters, got {text[:100]!r}")
    for name in ("luminosity", "pileup"):
        number = getattr(listing, name)
        if number is not None and not 0 <= number < 1e30:
            raise ValueError(f"{name}: expected a number of 0 or more, got {number}")
    paths = listing.paths or []
    if len(paths) > MAX_LISTED:
        raise ValueError(f"paths: expected at most {MAX_LISTED}, got {len(paths)}")
    if wrong := next(filter(None, map(wrong_path, paths)), ""):
        raise ValueError(f"paths: {wrong}")
