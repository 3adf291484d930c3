"""Files of samples as tests write them, in the layouts of the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from gw.messages import GPS
from opintel.detector import Decoded, Message
from opintel.gw.files import PARSERS
from opintel.gw.files.messages import messages
from opintel.gw.samples import PieceRow
from opintel.gw.wire import GwWire
from opintel.rows import Batch
from opintel.streams.connectors.framing import FileForms
from opintel.streams.connectors.merged import MergedFiles

FLAGS = ("DATA", "CBC_CAT1", "CBC_CAT2")


def noise(samples: int, seed: int = 1) -> np.ndarray[Any, Any]:
    """White strain of 1e-21."""
    return np.random.default_rng(seed).normal(0, 1e-21, samples)


def gwosc(
    path: Path,
    strain: np.ndarray[Any, Any],
    rate: float = 256,
    *,
    start: float = GPS,
    mask: Sequence[int] | None = None,
    detector: str | None = "H1",
) -> Path:
    """GWOSC's layout; `mask` a second, all bits set where None."""
    seconds = int(np.ceil(len(strain) / rate))
    with h5py.File(path, "w") as file:
        data = file.create_dataset("strain/Strain", data=strain, compression="gzip")
        data.attrs.update({"Xstart": start, "Xspacing": 1 / rate, "Npoints": len(strain), "Yunits": ""})
        if detector is not None:
            file["meta/Detector"] = detector
        file["meta/UTCstart"] = "2015-09-14T09:50:30"  # a second late, as in a file of the field
        bits = np.array([7] * seconds if mask is None else mask, dtype=np.uint32)
        for group, name, names, flags in (
            ("simple", "DQmask", "DQShortnames", FLAGS),
            ("injections", "Injmask", "InjShortnames", ("NO_CBC_HW_INJ",)),
        ):
            data = file.create_dataset(f"quality/{group}/{name}", data=bits)
            data.attrs.update({"Xstart": int(start), "Xspacing": 1.0})
            file[f"quality/{group}/{names}"] = np.array(flags, dtype="S20")
    return path


def auxiliary(path: Path, channels: Mapping[str, tuple[np.ndarray[Any, Any], Mapping[str, Any]]]) -> Path:
    """The layout of the GW170814 auxiliary release: path of a group → its samples and attributes."""
    with h5py.File(path, "w") as file:
        for name, (samples, about) in channels.items():
            group = file.create_group(name)
            group["data"] = samples
            group.attrs.update({"gps_start": GPS, "fs": 16, "fs0": 16, "unit": "ct", "valid": 1, "note": ""} | about)
    return path


def bodies(path: Path, state: Sequence[str] = ()) -> tuple[list[bytes], list[str]]:
    """(messages, what was not read) of a file."""
    with path.open("rb") as file:
        found = list(messages(file, {"state": list(state)}))
    return [one for one in found if isinstance(one, bytes)], [one for one in found if isinstance(one, str)]


def read(path: Path, wire: GwWire | None = None) -> Decoded[PieceRow]:
    """The rows of a file of which everything is read."""
    wire = wire or GwWire()
    every, unread = bodies(path, wire.parsing["state"])
    assert not unread
    found = wire.decode([Message(body) for body in every])
    assert not found.rejects
    return found


def merged(paths: list[Path], limit: int = 2000) -> list[list[Message]]:
    """The chunks in which complete files are read."""
    wire = GwWire()

    def times_of(messages: Any) -> Any:
        found = wire.decode(messages)
        return found.message, found.rows.time

    source, chunks = MergedFiles(paths, times_of, FileForms("text", PARSERS, wire.parsing)), list[list[Message]]()
    position = None
    while (chunk := source.chunk(position, limit)).messages:
        chunks.append(chunk.messages)
        position = chunk.after
    return chunks


def series(rows: Batch[PieceRow], key: str) -> tuple[int, np.ndarray[Any, Any]]:
    """(ns UTC of the first sample, all samples) of a key whose pieces follow each other."""
    here = [n for n in range(len(rows)) if rows.key.values[rows.key.code[n]] == key]
    for before, after in pairwise(here):
        samples = rows.payload.values.sizes[before]
        assert rows.time[after] - rows.time[before] == round(samples * 1e9 / rows.payload.rate[before])
    return int(rows.time[here[0]]), np.concatenate([rows.payload.values.at(n) for n in here])
