"""Messages in JSON: a head (`heads.SentHead`) with a manifest, or with histograms in UHI's schema by their paths.

A manifest is a message of its own where histograms come from a program that writes no Arrow, or where it is too long
for the metadata of an Arrow message. Everything is untrusted.
"""

from __future__ import annotations

import json

import msgspec
import numpy as np

from opintel.dqm.elements import STORAGES, MonitorElement, axes_text
from opintel.dqm.histograms import MAX_VALUES, HistogramRow, Histograms, Listing
from opintel.dqm.wire import uhi
from opintel.dqm.wire.assembly import Contents, histogram_rows, manifest_rows, wrong_path
from opintel.dqm.wire.heads import Head, SentHead
from opintel.dqm.wire.shapes import Shape, Shapes
from opintel.rows import Arrays, Batch, TextColumn

MAX_BYTES = 8 << 20
"""Of a message."""
MAX_RECORDS = 100_000
MAX_CONTENTS = 4 * MAX_VALUES
"""Values of all histograms of a message: a sparse one says few and means many."""


class _Message(SentHead):
    histograms: dict[str, msgspec.Raw] | None = None
    manifest: Listing | None = None


_message = msgspec.json.Decoder(_Message)


def decode(body: bytes, shapes: Shapes) -> tuple[Batch[HistogramRow], list[int], list[tuple[int, str]]]:
    """(rows, the record that each came from, (record, what is wrong with it)) of a message; never raises."""
    try:
        if len(body) > MAX_BYTES:
            raise ValueError(f"expected at most {MAX_BYTES} bytes of JSON, got {len(body)}")
        sent = _decoded(body)
        head = sent.checked()
        if (sent.histograms is None) == (sent.manifest is None):
            raise ValueError("expected histograms or a manifest")
        if sent.manifest is not None:
            if head.reference:
                raise ValueError("expected references without a manifest, got one")
            rows = Batch.of(manifest_rows(head, sent.manifest), Histograms)
            return rows, [0] * len(rows), []
    except (msgspec.DecodeError, RecursionError, OverflowError, ValueError) as error:
        return Batch.of([], Histograms), [], [(0, f"not a message of histograms: {str(error)[:300]}")]
    assert sent.histograms is not None
    return _histograms(head, sent.histograms, shapes)


def _decoded(body: bytes) -> _Message:
    """NaN and Infinity, which JSON has not and Python writes, become null."""
    try:
        return _message.decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if b"NaN" not in body and b"Infinity" not in body:
            raise
    return _message.decode(msgspec.json.encode(json.loads(body, parse_constant=lambda _: None)))


def _histograms(
    head: Head, sent: dict[str, msgspec.Raw], shapes: Shapes
) -> tuple[Batch[HistogramRow], list[int], list[tuple[int, str]]]:
    found: list[tuple[MonitorElement, Shape]] = []
    places: list[int] = []
    wrong: list[tuple[int, str]] = []
    room = MAX_CONTENTS
    for n, (path, text) in enumerate(sent.items()):
        if n == MAX_RECORDS:
            wrong.append((n, f"more than {MAX_RECORDS} histograms in a message: the rest was not read"))
            break
        try:
            if said := wrong_path(path):
                raise ValueError(said)
            element = uhi.from_json(path, text, min(room, MAX_VALUES))
            total = element.values.size * (1 if element.variances is None else 2)
            room = max(0, room - total)
            shape = shapes.of(axes_text(element.axes, element.flow))
            if total > MAX_VALUES:
                raise ValueError(f"expected at most {MAX_VALUES} values and variances, got {total}")
        except ValueError as error:
            wrong.append((n, str(error)[:300]))
            continue
        found.append((element, shape))
        places.append(n)
    if not sent:
        wrong.append((0, "no histogram in it"))
    return (histogram_rows(head, _contents(head, found)) if found else Batch.of([], Histograms)), places, wrong


def _contents(head: Head, found: list[tuple[MonitorElement, Shape]]) -> Contents:
    elements = [element for element, _ in found]
    rows = len(found)
    with np.errstate(over="ignore"):
        return Contents(
            TextColumn.of([element.path for element in elements]),
            TextColumn.of([shape.text for _, shape in found]),
            np.array([shape.x for _, shape in found], dtype=np.int32),
            np.array([STORAGES.index(element.storage) for element in elements], dtype=np.int8),
            Arrays.of([element.values for element in elements], "<f4"),
            Arrays.of([() if element.variances is None else element.variances for element in elements], "<f4"),
            np.full(rows, head.revision, dtype=np.int32),
            np.full(rows, head.cumulative, dtype=np.int8),
            np.array([np.nan if element.entries is None else element.entries for element in elements]),
        )
