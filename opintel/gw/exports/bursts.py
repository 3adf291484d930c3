"""Triggers as `sngl_burst` tables of LIGO_LW, and as HDF5 in Omicron's layout.

A table of triggers has the columns of `opintel.gw.triggers.find_triggers`: `channel`, GPS seconds `t_peak t_start
t_end`, Hz `f_peak f_low f_high`, `q`, `snr`. An empty one keeps its columns in both formats.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import opintel
from opintel.extras import install
from opintel.finding import NS
from opintel.gw.exports.ligolw_reader import MOST_BYTES, read_table
from opintel.gw.exports.ligolw_writer import document, written
from opintel.gw.segments import nanoseconds

TIMES = ("t_peak", "t_start", "t_end")
FREQUENCIES = ("f_peak", "f_low", "f_high")
SUFFIXES = (".xml", ".xml.gz", ".h5", ".hdf5")
_OMICRON = {
    **{"time": "t_peak", "frequency": "f_peak", "tstart": "t_start", "tend": "t_end"},
    **{"fstart": "f_low", "fend": "f_high", "snr": "snr", "q": "q"},
}
Floats = NDArray[np.float64]


def write_triggers(triggers: pa.Table, path: Path) -> None:
    """Writes triggers as the file's name says: LIGO_LW for `.xml` and `.xml.gz`, HDF5 for `.h5` and `.hdf5`."""
    if path.name.endswith(SUFFIXES[:2]):
        written(path, document({"process": process(), "sngl_burst": sngl_burst(triggers)}))
    elif path.name.endswith(SUFFIXES[2:]):
        _write_hdf5(triggers, path)
    else:
        raise ValueError(f"expected a name that ends in {', '.join(SUFFIXES)}, got {path.name}")


def read_sngl_burst(source: Path | bytes, *, most_bytes: int = MOST_BYTES) -> pa.Table:
    """The triggers of a LIGO_LW file, in its order; what the file does not say is NaN.

    `channel` gets the interferometer in front where it lacks it; without `stop_time` an event ends `duration` after
    its start, without `flow` and `fhigh` its band is `bandwidth` around `central_freq`, which also stands in for
    `peak_frequency`. `q` is what the parameter of this name says. Raises ValueError as
    `opintel.gw.exports.ligolw_reader.read_table` does.
    """
    table = read_table(source, "sngl_burst", most_bytes=most_bytes)

    def of(*names: str) -> Floats:
        for name in names:
            if name in table.column_names:
                return cast(Floats, table[name].cast(pa.float64()).to_numpy())
        return np.full(table.num_rows, np.nan)

    def seconds(which: str) -> Floats:
        return of(f"{which}_time") + np.nan_to_num(of(f"{which}_time_ns")) / NS

    def either(first: Floats, second: Floats) -> Floats:
        return np.where(np.isfinite(first), first, second)

    start, middle, half = seconds("start"), of("central_freq", "peak_frequency"), of("bandwidth") / 2
    is_q = np.array([name == "q" for name in _texts(table, "param_one_name")], dtype=bool)
    columns = {
        "t_peak": either(seconds("peak"), start),
        "t_start": start,
        "t_end": either(seconds("stop"), start + of("duration")),
        "f_peak": of("peak_frequency", "central_freq"),
        "f_low": either(of("flow"), middle - half),
        "f_high": either(of("fhigh"), middle + half),
        "q": np.where(is_q, of("param_one_value"), np.nan),
        "snr": of("snr"),
    }
    named = zip(_texts(table, "ifo"), _texts(table, "channel"), strict=True)
    channel = [c if not ifo or c.startswith(f"{ifo}:") else f"{ifo}:{c}" for ifo, c in named]
    return pa.table({"channel": pa.array(channel, pa.string()), **columns})


def sngl_burst(triggers: pa.Table) -> pa.Table:
    """Triggers as the columns of a `sngl_burst` table, in their order, with identifiers from 0 on."""
    columns: dict[str, pa.Array] = {
        "process:process_id": pa.array(np.zeros(triggers.num_rows, dtype=np.int64)),
        "event_id": pa.array(np.arange(triggers.num_rows)),
    }
    split = [name.rpartition(":") for name in triggers["channel"].to_pylist()]
    columns["ifo"] = pa.array([ifo or None for ifo, _, _ in split], pa.string())
    columns["search"] = pa.array(["opintel"] * len(split), pa.string())
    columns["channel"] = pa.array([name for _, _, name in split], pa.string())
    for ours, theirs in zip(TIMES, ("peak", "start", "stop"), strict=True):
        columns |= gps_columns(theirs, nanoseconds(np.nan_to_num(triggers[ours].to_numpy())))
    (t_start, t_end), (f_peak, low, high) = (
        [triggers[name].to_numpy() for name in names] for names in (TIMES[1:], FREQUENCIES)
    )
    single = {
        **{"duration": t_end - t_start, "peak_frequency": f_peak, "central_freq": (low + high) / 2},
        **{"bandwidth": high - low, "flow": low, "fhigh": high, "snr": triggers["snr"].to_numpy()},
    }
    columns |= {name: pa.array(values.astype(np.float32)) for name, values in single.items()}
    columns["param_one_name"] = pa.array(["q"] * len(split), pa.string())
    columns["param_one_value"] = pa.array(triggers["q"].to_numpy())
    return pa.table(columns)


def gps_columns(name: str, time: NDArray[np.int64]) -> dict[str, pa.Array]:
    """GPS ns as the columns `NAME_time` (s) and `NAME_time_ns`; a time that does not fit raises ValueError."""
    parts = {f"{name}_time": time // NS, f"{name}_time_ns": time % NS}
    return {key: pa.array(part).cast(pa.int32()) for key, part in parts.items()}


def process() -> pa.Table:
    """The `process` table of what opintel writes: program and version, nothing of the machine or the time."""
    texts = {"program": "opintel", "version": opintel.__version__, "comment": None, "node": None, "username": None}
    columns = {name: pa.array([text], pa.string()) for name, text in texts.items()}
    columns |= {name: pa.array([None], pa.int32()) for name in ("unix_procid", "start_time", "end_time")}
    return pa.table({"process_id": pa.array([0], pa.int64()), **columns})


def _write_hdf5(triggers: pa.Table, path: Path) -> None:
    """One compound dataset `triggers`, a row a trigger, as Omicron writes it, and the channel beside."""
    try:
        import h5py
    except ImportError as error:
        raise ValueError(f"writing HDF5 needs h5py: {install('gw')}") from error
    names = [name.encode() for name in triggers["channel"].to_pylist()]
    width = max(map(len, names), default=1)
    rows = np.zeros(len(names), dtype=[*((name, "<f8") for name in _OMICRON), ("channel", f"S{width}")])
    rows["channel"] = names
    for name, ours in _OMICRON.items():
        rows[name] = triggers[ours].to_numpy()
    with h5py.File(path, "w") as file:
        file.create_dataset("triggers", data=rows)


def _texts(table: pa.Table, name: str) -> list[str]:
    if name not in table.column_names:
        return [""] * table.num_rows
    return [text or "" for text in table[name].to_pylist()]
