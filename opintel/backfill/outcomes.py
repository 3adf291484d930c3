"""What each day of a backfill came to, below a folder or fsspec URL:

    STREAM/epoch=E/day=D/findings.parquet     the findings that were made on it, times in int64 ns UTC
    STREAM/_days/E/D/{state,judged,asides.json,done}    the state that it left, …, and last what all depends on

A day without its `done`, or with one of another plan, is judged again. The same archive gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from opintel.backfill.days import Day
from opintel.finding import Finding, findings_from_table, findings_table
from opintel.streams.findings import Judged
from opintel.streams.log import Aside
from opintel.streams.urls import Location

FORMAT = 1
MOST_ASIDES = 10_000
"""Of a day, that are kept with their reasons; all are counted."""


class OutcomeError(Exception):
    """A place for outcomes that cannot be written or read."""


class Counts(msgspec.Struct, frozen=True):
    """What was read and found."""

    records: int = 0
    rows: int = 0
    findings: int = 0
    asides: dict[str, int] = {}
    """Kind → rows set aside."""

    def __add__(self, other: Counts) -> Counts:
        asides = {k: self.asides.get(k, 0) + other.asides.get(k, 0) for k in sorted({*self.asides, *other.asides})}
        return Counts(self.records + other.records, self.rows + other.rows, self.findings + other.findings, asides)


class Done(msgspec.Struct, frozen=True):
    """What a day's outcome depends on, and the checksums of what it came to."""

    format: int
    plan: str
    counts: Counts
    sums: dict[str, str]
    """Name below the root → SHA-256."""


class Outcomes:
    """The outcomes of a stream's days below a URL."""

    def __init__(self, url: str, stream: str) -> None:
        """Raises OutcomeError where fsspec cannot open the URL."""
        try:
            self._place = Location.of(url)
        except (ValueError, ImportError) as error:
            raise OutcomeError(f"output: {error}") from error
        self._shown, self._stream = self._place.hidden(url), stream

    def done(self, day: Day) -> Done | None:
        """What a day came to, if it was judged to its end over the same records by the same build."""
        body = self._get(self._name(day, "done"))
        try:
            done = None if body is None else msgspec.json.decode(body, type=Done)
        except msgspec.MsgspecError:
            return None
        return done if done is not None and done.format == FORMAT and done.plan == day.plan else None

    def put(
        self,
        day: Day,
        findings: Sequence[Finding],
        judged: Sequence[Judged],
        asides: Sequence[Aside],
        state: dict[str, Any],
        counts: Counts,
    ) -> None:
        """Keeps what a day came to."""
        files = {
            self._findings(day): _parquet(findings),
            self._name(day, "judged"): msgspec.msgpack.encode(judged),
            self._name(day, "asides.json"): msgspec.json.encode(asides[:MOST_ASIDES]),
            self._name(day, "state"): msgspec.msgpack.encode(state, order="deterministic"),
        }
        sums = {name: hashlib.sha256(body).hexdigest() for name, body in files.items()}
        done = Done(FORMAT, day.plan, counts, sums)
        for name, body in (*files.items(), (self._name(day, "done"), msgspec.json.encode(done, order="deterministic"))):
            try:
                self._place.put(name, body)
            except Exception as error:  # each file system has errors of its own
                raise self._failed(f"{name} cannot be written", error) from self._cause(error)

    def findings(self, day: Day) -> list[Finding]:
        """The findings that were made on a day that is done."""
        body = self._checked(day, self._findings(day))
        # no threads: Arrow's may outlive the interpreter, which then aborts
        return findings_from_table(pq.ParquetFile(io.BytesIO(body)).read(use_threads=False))

    def judged(self, day: Day) -> list[Judged]:
        """The windows that were judged on a day that is done."""
        return msgspec.msgpack.decode(self._checked(day, self._name(day, "judged")), type=list[Judged])

    def state(self, day: Day) -> dict[str, Any]:
        """The state that a day has left which is done."""
        return msgspec.msgpack.decode(self._checked(day, self._name(day, "state")), type=dict[str, Any])

    def _checked(self, day: Day, name: str) -> bytes:
        done, body = self.done(day), self._get(name)
        if done is None or body is None or done.sums.get(name) != hashlib.sha256(body).hexdigest():
            raise OutcomeError(f"output {self._shown}: {name} is not what its day came to; remove the day's `done`")
        return body

    def _findings(self, day: Day) -> str:
        return f"{self._stream}/epoch={day.epoch}/day={day.name}/findings.parquet"

    def _name(self, day: Day, what: str) -> str:
        return f"{self._stream}/_days/{day.epoch}/{day.name}/{what}"

    def _get(self, name: str) -> bytes | None:
        try:
            self._place.fs.invalidate_cache()
            return bytes(self._place.fs.cat_file(self._place.path(name)))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failed(f"{name} cannot be read", error) from self._cause(error)

    def _failed(self, what: str, error: Exception) -> OutcomeError:
        said = f"{type(error).__name__}: {error}"[:500]
        return OutcomeError(f"output {self._shown}: {what}: {self._place.hidden(said)}")

    def _cause(self, error: Exception) -> Exception | None:
        return None if self._place.secret else error


def _parquet(findings: Sequence[Finding]) -> bytes:
    """Sorted by window end, then id. Times are plain ns: Spark reads no timestamps of nanoseconds."""
    table = findings_table(sorted(findings, key=lambda f: (f.window.end, f.id)))
    for name in ("window_start", "window_end", "onset"):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, table[name].cast(pa.int64()))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
