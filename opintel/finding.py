"""The currency of the system: a `Finding` is one calibrated statement about one subject in one window.

Detectors make findings, the alert service decides on them, the store, console and archives keep them. Times are int64
nanoseconds UTC inside and RFC 3339 text outside; GPS times and lumisections exist only at the edges of a domain.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec

from opintel.evidence import Evidence, block_json

Basis = Literal["exact", "ranked", "extrapolated", "none"]
Severity = Literal["info", "warning", "critical"]
Origin = Literal["live", "replay", "backfill"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
NS = 1_000_000_000

# What is decoded from a topic is untrusted: these bounds hold for it (a constructor does not look at them).
Time = Annotated[int, msgspec.Meta(ge=-(1 << 62), le=1 << 62)]
"""ns UTC, far from where int64 ends."""
Int64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Label = Annotated[str, msgspec.Meta(max_length=1024)]
"""A name of something: a key, scope, kind, id."""

FORMAT = 1
"""Version of the encoded form; a reader accepts this one and the one before."""


class Window(msgspec.Struct, frozen=True, order=True, array_like=True):
    """Half-open span [start, end) in ns UTC."""

    start: Time
    end: Time

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise ValueError(f"a window ends after it starts, got [{self.start}, {self.end})")


class Effect(msgspec.Struct, frozen=True):
    """How large the departure is, in words an operator measures with (failed share, sigma, GB/s)."""

    value: float
    unit: str

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"an effect is finite, got {self.value!r}")


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One statement about `subject` in `window`: how surprising (`log10_p` on `basis`), how large, and why.

    `log10_p` is None exactly where `basis` is `none` (a first-seen template has no p-value, it has a rate cap).
    `id` never depends on a bus position, the origin or the build: those are provenance.
    """

    id: str
    detector: str
    kind: str
    subject: dict[str, str]
    window: Window
    log10_p: float | None
    basis: Basis
    effect: Effect
    severity: Severity
    summary: str
    evidence: tuple[Evidence, ...] = ()
    model: str = ""
    origin: Origin = "live"
    onset: int | None = None
    """When inside the window it began, ns UTC, where the detector can tell."""

    def __post_init__(self) -> None:
        if (self.log10_p is None) != (self.basis == "none"):
            raise ValueError(f"basis {self.basis!r} and log10_p {self.log10_p!r} contradict each other")
        if self.log10_p is not None and not -1e6 <= self.log10_p <= 0.0:
            raise ValueError(f"log10_p is at most 0 and finite, got {self.log10_p!r}")
        if self.onset is not None and not self.window.start <= self.onset < self.window.end:
            raise ValueError("the onset lies inside the window")
        if "\n" in self.summary:
            raise ValueError("a summary is one line")

    @property
    def began(self) -> int:
        """The onset where it is known, else the window's start; ns UTC."""
        return self.window.start if self.onset is None else self.onset

    @property
    def p_value(self) -> float | None:
        """A view of `log10_p`; underflows to 0.0 below 1e-308, which `log10_p` does not."""
        return None if self.log10_p is None else 10.0**self.log10_p


def finding_id(detector: str, major: int, model: str, subject: Mapping[str, str], natural_key: Window | str) -> str:
    """The id: a hash of detector, its major version, the model in force, the subject and the window (or natural key).

    >>> a = finding_id("fts.links", 1, "m", {"source": "a", "destination": "b"}, Window(0, 10))
    >>> a == finding_id("fts.links", 1, "m", {"destination": "b", "source": "a"}, Window(0, 10))
    True
    """
    key = [natural_key.start, natural_key.end] if isinstance(natural_key, Window) else natural_key
    return digest([detector, major, model, sorted(subject.items()), key])


def digest(value: Any) -> str:
    """A 128-bit hash, in hex, of plain data: the same in every process and on every machine."""
    return hashlib.blake2b(msgspec.json.encode(value, order="deterministic"), digest_size=16).hexdigest()


def clock(ns: int, now: int) -> str:
    """HH:MM in UTC as of `now` (both ns UTC), with the day before it where that is another one.

    >>> clock(1_577_922_422 * NS, 1_577_923_000 * NS), clock(1_577_922_422 * NS, 1_577_996_000 * NS)
    ('23:47', '1 Jan 23:47')
    """
    then = datetime.fromtimestamp(ns // NS, UTC)
    same = then.date() == datetime.fromtimestamp(now // NS, UTC).date()
    return then.strftime("%H:%M" if same else "%-d %b %H:%M")


def rfc3339(ns: int) -> str:
    """RFC 3339 text, UTC, as many decimals as needed (none, 3, 6 or 9).

    >>> rfc3339(1_577_922_422_433_000_000)
    '2020-01-01T23:47:02.433Z'
    """
    seconds, rest = divmod(ns, NS)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{rest:09d}"
    while fraction.endswith("000"):
        fraction = fraction[:-3]
    return f"{text}.{fraction}Z" if fraction else f"{text}Z"


def parse_rfc3339(text: str) -> int:
    """ns UTC of an RFC 3339 text; the zone is required. Raises ValueError otherwise."""
    whole, dot, tail = text.partition(".")
    fraction = ""
    if dot:
        fraction = tail[: len(tail) - len(tail.lstrip("0123456789"))]
        whole += tail[len(fraction) :]
        if not fraction or len(fraction) > 9:
            raise ValueError(f"{text!r} is not an RFC 3339 time: one to nine decimals")
    moment = datetime.fromisoformat(whole)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone; write 2026-01-31T12:00:00Z")
    return int(moment.timestamp()) * NS + int(fraction.ljust(9, "0") or 0)


def finding_json(finding: Finding) -> dict[str, Any]:
    """The JSON form of INTERFACES: RFC 3339 window, `p_value` beside `log10_p`."""
    return {
        "id": finding.id,
        "detector": finding.detector,
        "kind": finding.kind,
        "subject": finding.subject,
        "window": {"start": rfc3339(finding.window.start), "end": rfc3339(finding.window.end)},
        "log10_p": finding.log10_p,
        "basis": finding.basis,
        "p_value": finding.p_value,
        "effect": {"value": finding.effect.value, "unit": finding.effect.unit},
        "severity": finding.severity,
        "summary": finding.summary,
        "evidence": [block_json(block) for block in finding.evidence],
        "model": finding.model,
        "origin": finding.origin,
        "onset": None if finding.onset is None else rfc3339(finding.onset),
    }


def same_content(one: Finding, other: Finding, *, tolerance: float = 1e-9) -> bool:
    """Whether two findings of one id say the same: numbers to a relative 1e-9, all else exactly; origin apart."""
    return not differing(one, other, tolerance=tolerance)


def differing(one: Finding, other: Finding, *, tolerance: float = 1e-9) -> list[str]:
    """The fields in which two findings do not say the same, in that sense."""
    left, right = (msgspec.to_builtins(f) for f in (one, other))
    fields = [name for name in Finding.__struct_fields__ if name != "origin"]
    return [name for name in fields if not _close(left.get(name), right.get(name), tolerance)]


def _close(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_close(a[k], b[k], tolerance) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(_close(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if (isinstance(a, float) and isinstance(b, (int, float))) or (isinstance(b, float) and isinstance(a, int)):
        return a == b or abs(a - b) <= tolerance * max(abs(a), abs(b))
    return bool(a == b)


def findings_table(findings: Iterable[Finding]) -> Any:
    """The findings as a `pyarrow.Table`, one row each; evidence as JSON text (archives, Spark)."""
    import pyarrow as pa

    rows = [
        {
            "id": f.id,
            "detector": f.detector,
            "kind": f.kind,
            "subject": list(f.subject.items()),
            "window_start": f.window.start,
            "window_end": f.window.end,
            "log10_p": f.log10_p,
            "basis": f.basis,
            "effect_value": f.effect.value,
            "effect_unit": f.effect.unit,
            "severity": f.severity,
            "summary": f.summary,
            "evidence": msgspec.json.encode(f.evidence).decode(),
            "model": f.model,
            "origin": f.origin,
            "onset": f.onset,
        }
        for f in findings
    ]
    time = pa.timestamp("ns", tz="UTC")
    text = pa.string()
    texts = ("id", "detector", "kind", "basis", "effect_unit", "severity", "summary", "evidence", "model", "origin")
    types = dict.fromkeys(texts, text) | dict.fromkeys(("window_start", "window_end", "onset"), time)
    types |= {"subject": pa.map_(text, text), "log10_p": pa.float64(), "effect_value": pa.float64()}
    schema = pa.schema(
        [(name, types[name]) for name in _COLUMNS],
        metadata={"opintel.finding.format": str(FORMAT)},
    )
    return pa.Table.from_pylist(rows, schema=schema)


_COLUMNS = (
    "id",
    "detector",
    "kind",
    "subject",
    "window_start",
    "window_end",
    "log10_p",
    "basis",
    "effect_value",
    "effect_unit",
    "severity",
    "summary",
    "evidence",
    "model",
    "origin",
    "onset",
)


def findings_from_table(table: Any) -> list[Finding]:
    """The inverse of `findings_table`."""
    import pyarrow as pa

    columns = {c: table[c].cast(pa.int64()).to_pylist() for c in ("window_start", "window_end", "onset")}
    evidence = msgspec.json.Decoder(tuple[Evidence, ...])
    return [
        Finding(
            id=row["id"],
            detector=row["detector"],
            kind=row["kind"],
            subject=dict(row["subject"]),
            window=Window(start, end),
            log10_p=row["log10_p"],
            basis=row["basis"],
            effect=Effect(row["effect_value"], row["effect_unit"]),
            severity=row["severity"],
            summary=row["summary"],
            evidence=evidence.decode(row["evidence"]),
            model=row["model"],
            origin=row["origin"],
            onset=onset,
        )
        for row, start, end, onset in zip(
            table.drop_columns(list(columns)).to_pylist(),
            columns["window_start"],
            columns["window_end"],
            columns["onset"],
            strict=True,
        )
    ]
