"""Arrow IPC streams and files, record batch by record batch; as a program, the process that `columnar` starts.

An IPC file is a stream between a mark and a footer, so that both are read alike, also while they grow. Only the headers
of messages are looked at to find the batches; a batch is read with the schema and the dictionaries that it needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from opintel.streams.connectors.columnar import MessageOutput, RowSpan, said, serve

MAX_HEADER = 16 << 20
"""Bytes of a message's header."""
HALF = "it ends within a message"
_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class Broken(ValueError):
    """What follows is no Arrow."""


class Short(Broken):
    """The bytes end in the midst of a message."""


class StoredBatch(NamedTuple):
    """A record batch between two offsets, and where the other messages are that its reader needs."""

    begin: int
    end: int
    rows: int
    number: int
    needed: list[tuple[int, int]]

    @property
    def span(self) -> RowSpan:
        """Its bytes stand for its rows."""
        length = self.end - self.begin
        unit = max(1, -(-self.rows // length))
        return RowSpan(f"record batch {self.number}", self.rows, unit, 0, -(-self.rows // unit), length, self.begin)


def whole(file: BinaryIO, end: int, final: bool) -> int:
    """Up to where there is something to read until `end`: a batch, what is no Arrow, or half a message if `final`."""
    through = 0
    try:
        for batch in _batches(file, end):
            through = batch.end
    except Short:
        return end if final else through
    except Broken:
        return end
    return through


def read(file: BinaryIO, size: int, sink: MessageOutput) -> None:
    """Writes the batches before `sink.end`, and what is wrong there."""
    import pyarrow as pa

    batches, wrong = list[StoredBatch](), ""
    try:
        batches.extend(_batches(file, size))
    except Broken as problem:
        wrong = str(problem) if not batches or batches[-1].end < sink.end else ""
    batches = [batch for batch in batches if batch.begin < sink.end]
    if batches and sink.end < batches[-1].end and not batches[-1].span.begins(sink.end):
        wrong = HALF  # when it was read first; it has grown since
        batches.pop()
    within = [batch for batch in batches if batch.begin < sink.offset < batch.end]
    if within and not within[0].span.begins(sink.offset):
        sink.offset = 0  # it is in place of another file
    for batch in batches:
        if batch.end <= sink.offset:
            continue
        row = 0
        try:
            places = (*batch.needed, (batch.begin, batch.end))
            table = pa.ipc.open_stream(b"".join(_piece(file, *place) for place in places) + _END).read_all()
            table.validate(full=True)
            step = batch.span.step(table.nbytes)
            for row in range(0, table.num_rows, step):
                sink.take(batch.span, row, table.slice(row, step))
        except Exception as problem:  # whatever damaged buffers make it raise
            sink.refuse(f"{batch.span.name} was not read on from its row {row + 1}: {said(problem)}", batch.end)
    if wrong:
        sink.refuse(f"after record batch {len(batches)}: {wrong}", sink.end)


def _batches(file: BinaryIO, end: int) -> Iterator[StoredBatch]:
    """The record batches with rows before `end`. Raises Broken where it is not Arrow all along, or has no batch."""
    from opintel import arrow_ipc as ipc

    schema: list[tuple[int, int]] = []
    dictionaries: dict[int, list[tuple[int, int]]] = {}
    at = len(ipc.FILE) if _piece(file, 0, min(len(ipc.FILE), end)) == ipc.FILE else 0
    found = 0
    while at < end or not found:
        prefix = _piece(file, at, min(at + 8, end))
        if len(prefix) < 8:
            raise Short(HALF if at else "no Arrow: too short")
        length = int.from_bytes(prefix[4:], "little")
        if not prefix.startswith(ipc.START) or length > MAX_HEADER:
            raise Broken(f"no Arrow message at byte {at}")
        if not length:
            break
        body = at + 8 + length
        if body > end:
            raise Short(HALF)
        try:
            message = ipc.described(memoryview(_piece(file, at + 8, body)))
        except ipc.FAULTS as error:
            raise Broken(f"no Arrow message at byte {at}: {error}") from error
        place = (at, body + message.body)
        if place[1] > end:
            raise Short(HALF)
        if message.kind == ipc.SCHEMA:
            schema, dictionaries = [place], {}
        elif message.kind == ipc.DICTIONARY:
            dictionaries[message.dictionary] = [
                *(dictionaries.get(message.dictionary, ()) if message.delta else ()),
                place,
            ]
        elif message.kind == ipc.RECORD_BATCH and message.rows:
            if message.rows < 0 or not schema:
                raise Broken(f"no record batch at byte {at}")
            found += 1
            yield StoredBatch(*place, message.rows, found, schema + [d for its in dictionaries.values() for d in its])
        at = place[1]
    if not found:
        raise Broken("no record batch with rows")


def _piece(file: BinaryIO, begin: int, end: int) -> bytes:
    file.seek(begin)
    return file.read(end - begin)


if __name__ == "__main__":
    serve(read, "Arrow")
