"""A short story of the shipped DQM stream for the contract tests: the simulated detector with all its faults, a second
run beside the first, and a subsystem of odd histograms; parts revised in time and too late, copies, and controls.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from opintel.detector import Message
from opintel.dqm.elements import BinAxis, MonitorElement
from opintel.dqm.histograms import Histograms, Listing
from opintel.dqm.quality.judge import set_hash
from opintel.dqm.simulated.detector_model import element as modelled
from opintel.dqm.simulated.simulate import DqmSimulator
from opintel.dqm.wire import DqmWire
from opintel.dqm.wire.arrow_parts import KEY
from opintel.dqm.wire.encoder import parts_of
from opintel.dqm.wire.heads import Head
from opintel.finding import NS
from opintel.streams.records import NEVER, Control
from opintel.streams.stream import Stream

DQM_STREAM = Stream("dqm", "dqm.histograms", partitions=2, window=60 * NS, lateness=30 * NS, skew=30 * NS)
STORY = DqmSimulator(seed=1, hours=0.6, histograms=12, length=75.0)
BESIDE = DqmSimulator(seed=2, hours=0.13, start=STORY.start + 700 * NS + 7, histograms=12, length=75.0, faults=())
"""A run of a smaller number that is taken while the first one goes on."""
MINUTE = 60 * NS
_PATHS = BinAxis(labels=tuple(f"path{n}" for n in range(8)))
_ENERGY = BinAxis.regular(20, 0.0, 10.0, "energy", "GeV")
_COARSE = BinAxis.regular(10, 0.0, 10.0, "energy", "GeV")
_GROWN = BinAxis(labels=tuple(f"path{n}" for n in (9, 0, 1, 2, 3, 4, 5, 10)))


@cache
def dqm_messages() -> Sequence[tuple[int, bytes]]:
    """(arrival, message), in order of arrival."""
    rng = np.random.default_rng(11)
    sent = [*STORY.messages(), *BESIDE.messages(), *_references()]
    for n, (arrival, body) in enumerate(list(sent)):
        if n % 9 == 0 and _said(body).get("subsystem") in ("Pixel", "Calo"):
            sent.append((arrival + int(rng.choice([2, 8, 90])) * NS, _revised(body)))
        if n % 7 == 0:
            sent.append((arrival + int(rng.choice([1, 20])) * NS, body))
    for n, one in enumerate(STORY.lumisections):
        for dataset in ("express", "physics"):
            head = Head(one.run, one.number, one.start, one.end, "Odd", dataset)
            arrival = one.end + (4 + n % 3) * NS
            said = Listing(5, luminosity=one.luminosity) if dataset == "express" else None
            sent += [(arrival, body) for body in parts_of(head, _odd(n, rng), said)]
    middle = STORY.start + 20 * MINUTE
    return sorted([*sent, (middle, b"garbage"), (middle + 1, sent[0][1][:700]), (middle + 2, b"{}")])


@cache
def dqm_controls() -> Sequence[tuple[int, Control]]:
    """(messages before it, control): a set of references that is pinned, references that start over, runs that are
    banned or of another class, and settings of both stages."""
    arrivals = [arrival for arrival, _ in dqm_messages()]

    def at(minute: int, kind: str, subject: str, version: int, value: Any) -> tuple[int, Control]:
        place = int(np.searchsorted(arrivals, STORY.start + minute * MINUTE))
        return place, Control(f"{kind}-{subject}-{version}", kind, subject, version, NEVER, value)

    found = [
        at(0, "run", str(BESIDE.lumisections[0].run), 1, {"run_type": "cosmics"}),
        at(15, "reference", "Pixel", 1, _pin("gold")),
        at(18, "reference", "Calo", 1, {"fresh": True}),
        at(21, "settings", DQM_STREAM.name, 1, {"dqm.histograms": {"emit": -3.0, "least": 3}}),
        at(24, "reference", "Calo", 2, {"ban": [STORY.lumisections[0].run]}),
        at(26, "reference", "Odd", 1, ["no", "reference"]),
        at(28, "settings", DQM_STREAM.name, 2, {"dqm.quality": {"emit": -2.0, "minor": ["*/phi"]}}),
        at(31, "reference", "Pixel", 2, {}),
    ]
    return sorted(found, key=lambda one: one[0])


def _odd(n: int, rng: np.random.Generator) -> Iterator[MonitorElement]:
    """What is thin or does not come, is weighted, stands out a little now and then, is not finite, falls back to
    nothing, or changes its bins or labels."""

    def of(path: str, axis: BinAxis, values: Any, **about: Any) -> MonitorElement:
        given: dict[str, Any] = {"storage": "count", "variances": None, "flow": False} | about
        return MonitorElement(f"Odd/{path}", (axis,), values=np.asarray(values, dtype=np.float64), **given)

    counts = rng.poisson(30.0, 20).astype(np.float64)
    thin = rng.poisson(0.8, 20)
    if n % 8 != 7:
        yield of("thin", _ENERGY, thin)
    if n > 8 and n % 4 < 2:
        counts[7] *= 2.0
    yield of("weighted", _ENERGY, 2.5 * counts, storage="weighted", variances=6.25 * counts)
    yield of("rebinned", _COARSE if 12 <= n < 21 else _ENERGY, rng.poisson(30.0, 10 if 12 <= n < 21 else 20))
    yield of("paths", _GROWN if n >= 14 else _PATHS, rng.poisson(60.0, 8))
    if n % 6 == 0:
        counts[3] = (np.nan, np.inf, -1.0)[n // 6 % 3]
    if n % 5 == 0:
        counts = 0 * counts
    yield of("broken", _ENERGY, counts)


def _references() -> Iterator[tuple[int, bytes]]:
    """The set `gold` of a subsystem in two windows, some of it revised."""
    (pixel,) = [one for one in STORY.detector if one.name == "Pixel"]
    expected = pixel.expected(50.0, 50.0, np.zeros(len(pixel.low)))
    contents, variances = pixel.contents(expected, np.zeros(len(expected)), np.random.default_rng(3))
    plots = [(plot, slice(plot.begin, plot.end)) for plot in pixel.plots]
    all_of_it = [modelled(plot, 0, np.round(contents[at], 3), variances[at]) for plot, at in plots]
    for minute, revision, some in ((9, 1, all_of_it[:2]), (9, 2, all_of_it[:2]), (14, 1, all_of_it[2:])):
        start = STORY.start + minute * MINUTE
        head = Head(0, 0, start, start + NS, "Pixel", revision=revision, reference="gold")
        changed = [one._replace(values=one.values + (revision == 1 and one.path.endswith("charge"))) for one in some]
        yield from ((start + 2 * NS, body) for body in parts_of(head, changed))


def _pin(name: str) -> dict[str, Any]:
    """What the control says that pins the set: how many there are, and their hash."""
    found: dict[str, tuple[int, int]] = {}
    for _, body in _references():
        rows = DqmWire().decode([Message(body)]).rows
        payload = rows.payload
        assert isinstance(payload, Histograms)
        for n, key in enumerate(rows.key.tolist()):
            one = (int(payload.revision[n]), zlib.crc32(payload.values.at(n).tobytes()))
            found[key] = max(found.get(key, (0, 0)), one)
    checksums = {key: checksum for key, (_, checksum) in found.items()}
    return {"set": name, "n": len(checksums), "hash": set_hash(checksums.items())}


def _said(body: bytes) -> dict[str, Any]:
    """The head of an Arrow message."""
    head: dict[str, Any] = json.loads(pa.ipc.open_stream(body).schema.metadata[KEY])
    return head


def _revised(body: bytes) -> bytes:
    """A message sent again with a little less in it."""
    table = pa.ipc.open_stream(body).read_all()
    values = table.column("values").combine_chunks()
    fewer = pa.ListArray.from_arrays(values.offsets, pa.array(np.floor(0.97 * values.values.to_numpy()).astype("<f4")))
    table = table.set_column(table.schema.get_field_index("values"), "values", fewer)
    head = json.dumps(_said(body) | {"revision": 3}).encode()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.with_metadata({KEY: head})) as writer:
        writer.write_table(table)
    revised: bytes = sink.getvalue().to_pybytes()
    return revised
