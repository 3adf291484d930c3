"""nanoDQMIO in Parquet, as CMS' DIALS keeps it: a row a histogram and lumisection, with the columns `fromrun`,
`fromlumi`, `hname`, `histo` (contents), `entries`, `Xmin`, `Xmax`, `Xbins`, and for maps `Ymin`, `Ymax`, `Ybins`.

Contents are without flow bins, or with both: their number says which. Those of a map go through y first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from opintel.dqm.elements import MonitorElement
from opintel.dqm.files.found import FileElement, Unread, said
from opintel.dqm.files.root_histograms import numbers_axis
from opintel.dqm.histograms import MAX_LUMISECTION, MAX_RUN, MAX_VALUES

COLUMNS = ("fromrun", "fromlumi", "hname", "histo", "Xmin", "Xmax", "Xbins")
MAPPED = ("Ymin", "Ymax", "Ybins")
MAX_ROWS = 1_000_000
BLOCK = 1000
"""Rows that are taken at once."""


def is_nanodqmio(names: list[str]) -> bool:
    """Whether a table with these columns is nanoDQMIO."""
    return set(COLUMNS) <= set(names)


def read(file: BinaryIO) -> Iterator[FileElement | Unread]:
    """The rows by run, lumisection and name. Raises ValueError where it is no such table."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        parquet = ParquetFile(file, memory_map=False, pre_buffer=False)
        names = parquet.schema_arrow.names
        if not is_nanodqmio(names):
            raise ValueError(f"expected the columns {', '.join(COLUMNS)}")
        if parquet.metadata.num_rows > MAX_ROWS:
            raise ValueError(f"expected at most {MAX_ROWS} rows, got {parquet.metadata.num_rows}")
        wanted = [name for name in (*COLUMNS, *MAPPED, "entries") if name in names]
        table = parquet.read(wanted, use_threads=False)
    except pa.ArrowException as error:
        raise ValueError(f"expected Parquet: {said(error)}") from error
    order = table.select(COLUMNS[:3]).append_column("row", pa.array(np.arange(len(table))))
    order = order.sort_by([(name, "ascending") for name in COLUMNS[:3]])["row"].to_numpy()
    for begin in range(0, len(order), BLOCK):
        rows = table.take(order[begin : begin + BLOCK])
        columns = {name: rows[name].to_pylist() for name in rows.column_names if name != "histo"}
        contents = rows["histo"]
        for n in range(len(rows)):
            row = {name: column[n] for name, column in columns.items()}
            try:
                yield _element(row, contents[n])
            except Exception as problem:  # whatever a damaged row makes it raise
                yield Unread(f"run {row['fromrun']} LS {row['fromlumi']} {row['hname']}"[:300], said(problem))


def _element(row: dict[str, Any], contents: Any) -> FileElement:
    run, lumisection, path = row["fromrun"], row["fromlumi"], row["hname"]
    if not isinstance(path, str) or not path:
        raise ValueError("hname: expected a name")
    for name, value, most in (("fromrun", run, MAX_RUN), ("fromlumi", lumisection, MAX_LUMISECTION)):
        if not isinstance(value, int) or not 0 <= value <= most:
            raise ValueError(f"{name}: expected 0 to {most}, got {value!r}")
    numbers = np.asarray(contents.values, np.float64) if contents.is_valid else None
    if numbers is None or contents.values.null_count:
        raise ValueError("histo: expected numbers, got a null")
    sides = [("X", int(row["Xbins"]))] + ([("Y", int(row["Ybins"]))] if row.get("Ybins") else [])
    if not all(0 < bins <= MAX_VALUES for _, bins in sides) or len(numbers) > MAX_VALUES:
        raise ValueError(f"expected at most {MAX_VALUES} bins, got {[bins for _, bins in sides]}")
    axes = tuple(numbers_axis(bins, float(row[f"{side}min"]), float(row[f"{side}max"]), (), "") for side, bins in sides)
    plain, with_flow = (tuple(axis.bins + more for axis in axes) for more in (0, 2))
    shape = next((shape for shape in (plain, with_flow) if np.prod(shape) == len(numbers)), None)
    if shape is None:
        raise ValueError(f"histo: expected {np.prod(plain)} values, or {np.prod(with_flow)}, got {len(numbers)}")
    entries = row.get("entries")
    values = numbers.reshape(shape).T
    element = MonitorElement(
        path, axes, "count", values, None, shape == with_flow, None if entries is None else float(entries)
    )
    return FileElement(element, run, lumisection)
