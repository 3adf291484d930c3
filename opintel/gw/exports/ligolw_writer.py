"""LIGO Light-Weight XML (LIGO-T990023) written: tables as text between XML tags, by which triggers are exchanged.

A table is an Arrow table: int32 is `int_4s`, int64 `int_8s`, float32 `real_4`, float64 `real_8`, text `lstring`; null
is a blank.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pyarrow as pa

DTD = "http://ldas-sw.ligo.caltech.edu/doc/ligolwAPI/html/ligolw_dtd.txt"
_TYPES = {pa.int32(): "int_4s", pa.int64(): "int_8s", pa.float32(): "real_4", pa.float64(): "real_8"}
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that no XML text may hold."""


def document(tables: Mapping[str, pa.Table]) -> bytes:
    """A LIGO_LW document of tables by name; the same tables, the same bytes.

    >>> print(document({"segment": pa.table({"segment_id": [0, 1], "comment": ['a "b" <c>', None]})}).decode())
    <?xml version='1.0' encoding='utf-8'?>
    <!DOCTYPE LIGO_LW SYSTEM "http://ldas-sw.ligo.caltech.edu/doc/ligolwAPI/html/ligolw_dtd.txt">
    <LIGO_LW>
      <Table Name="segment:table">
        <Column Name="segment_id" Type="int_8s"/>
        <Column Name="comment" Type="lstring"/>
        <Stream Name="segment:table" Delimiter="," Type="Local">
          0,"a \\"b\\" &lt;c&gt;",
          1,,
        </Stream>
      </Table>
    </LIGO_LW>
    <BLANKLINE>
    """
    lines = ["<?xml version='1.0' encoding='utf-8'?>", f'<!DOCTYPE LIGO_LW SYSTEM "{DTD}">', "<LIGO_LW>"]
    for name, table in tables.items():
        lines += [f"  <Table Name={quoteattr(name + ':table')}>"]
        lines += [
            f'    <Column Name={quoteattr(field.name)} Type="{_TYPES.get(field.type, "lstring")}"/>'
            for field in table.schema
        ]
        lines += [f'    <Stream Name={quoteattr(name + ":table")} Delimiter="," Type="Local">']
        columns = [map(_written_as(column.type), column.to_pylist()) for column in table.columns]
        lines += [f"      {','.join(row)}," for row in zip(*columns, strict=True)]
        lines += ["    </Stream>", "  </Table>"]
    return "\n".join([*lines, "</LIGO_LW>", ""]).encode()


def written(path: Path, content: bytes) -> None:
    """Writes a document, packed where the file's name ends in `.gz`."""
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _written_as(kind: pa.DataType) -> Callable[[Any], str]:
    """How a value of a column stands in a stream."""
    if pa.types.is_string(kind):
        return _quoted
    digits = {pa.float32(): ".9g", pa.float64(): ".17g"}.get(kind, "d")
    return lambda value: "" if value is None else format(value, digits)


def _quoted(value: str | None) -> str:
    if value is None:
        return ""
    clean = _NO_XML.sub("\ufffd", value).replace("\\", "\\\\").replace('"', '\\"')
    return escape(f'"{clean}"')
