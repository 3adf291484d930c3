"""A toy domain of arrays for the contract tests: histograms by run and lumisection, their references and manifests.

Windows come with the data. A message is one of the parts that a lumisection is sent in: TH2 beside TH1, in path order.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.detector import Closing, Decoded, Judge, Message, Pipeline, Record, Reduced, Reducer, WindowRows, each
from opintel.finding import NS, Effect, Finding, Label, Time, digest, finding_id
from opintel.ids import natural_id
from opintel.rows import Arrays, Batch, Columns, Numbers, Row, TextColumn
from opintel.streams.records import NEVER, Control
from opintel.streams.stream import Stream

HISTOGRAM, MANIFEST, REFERENCE = range(3)
"""Kinds of row."""
MANIFEST_PATH = "manifest"
LONGEST = 1000 * NS
BINS = 1 << 16
HELD = 2
"""Sets of references that are kept of a key."""


class Histogram(msgspec.Struct, array_like=True):
    """What a row carries."""

    kind: int
    run: int
    lumisection: int
    revision: int
    length: int
    """Of the lumisection, ns."""
    nx: int
    """Bins in x; a TH2 has several rows of them."""
    about: str
    """A manifest's paths, a line each; the set that a reference belongs to."""
    values: list[float]


class Histograms(Columns):
    """`Histogram`s as columns."""

    ROW = Histogram
    kind: Annotated[NDArray[np.int32], Numbers("<i4", HISTOGRAM, REFERENCE)]
    run: Annotated[NDArray[np.int32], Numbers("<i4", 0)]
    lumisection: Annotated[NDArray[np.int32], Numbers("<i4", 0)]
    revision: Annotated[NDArray[np.int32], Numbers("<i4", 0)]
    length: Annotated[NDArray[np.int64], Numbers("<i8", 1, LONGEST)]
    nx: Annotated[NDArray[np.int32], Numbers("<i4", 1, BINS)]
    about: TextColumn
    values: Annotated[Arrays, Numbers("<f4", most=BINS, finite=False)]


class Item(msgspec.Struct, array_like=True):
    """A histogram in a message."""

    path: Label
    revision: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
    nx: Annotated[int, msgspec.Meta(ge=1, le=BINS)]
    about: Annotated[str, msgspec.Meta(max_length=1 << 16)]
    data: bytes
    """Little-endian float32."""


class Part(msgspec.Struct, array_like=True):
    """A message: part `part` of the `of` in which a lumisection of a scope is sent."""

    scope: Label
    kind: Annotated[int, msgspec.Meta(ge=HISTOGRAM, le=REFERENCE)]
    run: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
    lumisection: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
    start: Time
    length: Annotated[int, msgspec.Meta(ge=1, le=LONGEST)]
    part: int
    of: int
    items: list[Item]


class HistogramWire:
    """Parts in msgpack."""

    def decode(self, messages: Sequence[Message]) -> Decoded[Histogram]:
        return each(self.read, messages, Histograms)

    def read(self, message: Message) -> Sequence[Row[Histogram] | str]:
        try:
            part = msgspec.msgpack.decode(message.body, type=Part)
        except msgspec.DecodeError as error:
            return [f"expected a part of a lumisection: {error}"]
        return [self._row(part, item) for item in part.items]

    def _row(self, part: Part, item: Item) -> Row[Histogram] | str:
        bins, rest = divmod(len(item.data), 4)
        if rest or bins > BINS or bins % item.nx:
            return f"expected float32 in rows of {item.nx}, got {len(item.data)} bytes"
        key = f"{part.scope}|{item.path}"
        if len(key) > 512:
            return f"expected scope and path of at most 512 characters, got {len(key)}"
        identity = natural_id(key, part.kind, part.run, part.lumisection, item.revision, item.about)
        values = np.frombuffer(item.data, dtype="<f4").tolist()
        counts = (part.kind, part.run, part.lumisection, item.revision, part.length, item.nx)
        return Row(key, part.start, identity, Histogram(*counts, item.about, values))

    def redacted(self, body: bytes) -> bytes:
        return body[:100]


def ends(batch: Batch[Histogram]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = batch.time + batch.payload.length
    return found


class Compared(msgspec.Struct, array_like=True, tag="compared"):
    """What the reducer says of a histogram."""

    run: int
    lumisection: int
    verdict: str
    """`good`, `bad`, `insufficient` (NaN) or `alone` (without a reference)."""
    pull: float
    superseded: int
    """Revisions that a higher one replaced."""


class Published(msgspec.Struct, array_like=True, tag="published"):
    """A reference has come."""

    set: str
    checksum: int


class Expected(msgspec.Struct, array_like=True, tag="expected"):
    """What a manifest lists."""

    run: int
    lumisection: int
    paths: list[str]


class HistogramReducer(Reducer[Histogram]):
    """Each histogram against its reference of the set that the control `reference` names; raises where a bin is 666."""

    name, version, controls = "histograms.reducer", 1, ("reference",)

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        threshold: float = 5.0
        """Pull above which a histogram is bad."""

    def __init__(self) -> None:
        self._references: dict[str, dict[str, NDArray[np.float32]]] = {}
        """Key → set → values, in order of publication."""

    def close(self, closing: WindowRows[Histogram]) -> Reduced:
        rows, records, tested = closing.rows, [], {}
        newest = np.lexsort((rows.id, rows.payload.revision, rows.payload.kind, rows.key.code))
        for key, begin, end in rows.spans():
            scope = self.scope(key)
            n = int(newest[end - 1])
            kind, payload = int(rows.payload.kind[n]), rows.payload
            values, about = payload.values.at(n), payload.about.values[payload.about.code[n]]
            number = (int(payload.run[n]), int(payload.lumisection[n]))
            said: Any
            if kind == MANIFEST:
                said = Expected(*number, about.splitlines())
            elif kind == REFERENCE:
                held = self._references.setdefault(key, {})
                held[about] = values.copy()
                for old in list(held)[:-HELD]:
                    del held[old]
                said = Published(about, zlib.crc32(values.tobytes()))
            else:
                named = closing.controls.value("reference", scope, {}).get("set")
                reference = self._references.get(key, {}).get(named)
                verdict, pull = _compared(values, reference, int(payload.nx[n]), closing.settings.threshold)
                said = Compared(*number, verdict, pull, end - begin - 1)
                kinds = tested.setdefault(scope, {"histogram": 0})
                kinds["histogram"] += verdict in ("good", "bad")
            records.append(Record(closing.window, said.__struct_config__.tag, key, scope, said))
        return Reduced(records, tested)

    def scope(self, key: str) -> str:
        return key.partition("|")[0]

    def drop(self, key: str) -> None:
        self._references.pop(key, None)

    def state(self) -> Any:
        held = [(key, name, values) for key, sets in sorted(self._references.items()) for name, values in sets.items()]
        values = Arrays.of([one for *_, one in held], "<f4")
        names = [[key, name] for key, name, _ in held]
        return [names, values.sizes.astype("<i8").tobytes(), values.values.tobytes()]

    def restore(self, state: Any) -> None:
        names, sizes, values = state
        bounds = np.cumsum(np.frombuffer(sizes, dtype="<i8"))[:-1]
        parts = np.split(np.frombuffer(values, dtype="<f4"), bounds)
        for (key, name), one in zip(names, parts if names else [], strict=True):
            self._references.setdefault(key, {})[name] = one


def _compared(values: NDArray[Any], reference: NDArray[Any] | None, nx: int, threshold: float) -> tuple[str, float]:
    """(verdict, largest pull of a column of bins)."""
    if not np.isfinite(values).all():
        return "insufficient", 0.0
    if (values == 666).any():
        raise ArithmeticError("the number of the beast")
    if reference is None or len(reference) != len(values):
        return "alone", 0.0
    found, usual = (one.astype(np.float64).reshape(-1, nx).sum(axis=0) for one in (values, reference))
    pull = float(np.abs((found - usual) / np.sqrt(np.maximum(usual, 1.0))).max())
    return ("bad" if pull > threshold else "good"), pull


class Quality(Judge):
    """Of a lumisection, by scope: what its manifest lists and is missing, what is bad again, and all of it in numbers.

    A set of references is in force once all of it has come.
    """

    name, version, controls = "histograms.quality", 1, ("reference",)

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        times: int = 2
        """Bad lumisections in a row that make a finding."""

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        self._sets: dict[str, dict[str, int]] = {}
        """Set → key → checksum, in order of publication."""
        self._bad: dict[tuple[int, str], int] = {}
        """(run, path) → bad lumisections in a row."""
        self._tested = 0

    def judge(self, closing: Closing) -> list[Finding]:
        said: dict[str, dict[str, Any]] = {}
        for record in closing.records:
            said.setdefault(record.kind, {})[record.key] = record.payload
        for key, published in said.get("published", {}).items():
            self._sets.setdefault(published.set, {})[key] = published.checksum
            for old in list(self._sets)[:-HELD]:
                del self._sets[old]
        compared: dict[str, Compared] = said.get("compared", {})
        expected: dict[str, Expected] = said.get("expected", {})
        self.tests = {"histogram": closing.tested.get("histogram", 0)}
        self._tested += self.tests["histogram"]
        if not compared and not expected:
            return []
        in_force = self._in_force(closing)
        verdicts = {key: one.verdict if in_force else "alone" for key, one in compared.items()}
        first = next(iter((*compared.values(), *expected.values())))
        findings = []
        for key, verdict in verdicts.items():
            place = (first.run, key.partition("|")[2])
            self._bad[place] = self._bad.get(place, 0) + 1 if verdict == "bad" else 0
            if self._bad[place] >= closing.settings.times:
                text = f"bad {self._bad[place]} times, pull {compared[key].pull:.6f}"
                findings.append(self._finding(closing, "histogram", text, compared[key].pull, path=place[1]))
        held = said.get("quarantined", {})
        listed = [f"{closing.scope}|{path}" for one in expected.values() for path in one.paths]
        missing = [key for key in listed if key not in compared and key not in held]
        for key in missing:
            findings.append(self._finding(closing, "missing", "it did not come", 1.0, path=key.partition("|")[2]))
        counts = {name: list(verdicts.values()).count(name) for name in ("good", "bad", "insufficient", "alone")}
        counts |= {"missing": len(missing), "held": sum(held.values())}
        counts |= {"superseded": sum(one.superseded for one in compared.values()), "so far": self._tested}
        text = f"run {first.run} lumisection {first.lumisection}: " + ", ".join(f"{n} {s}" for s, n in counts.items())
        return [*findings, self._finding(closing, "quality", f"{text}, whole {closing.complete}", counts["bad"])]

    def _in_force(self, closing: Closing) -> bool:
        """Whether all of the set that the control names is there."""
        named = closing.controls.value("reference", closing.scope)
        if named is None:
            return False
        have = self._sets.get(named["set"], {})
        return len(have) == named["n"] and fingerprint(have.items()) == named["hash"]

    def _finding(self, closing: Closing, kind: str, text: str, value: float, **labels: str) -> Finding:
        subject = {"scope": closing.scope, **labels}
        natural = f"{kind} {closing.window.start} {closing.window.end}"
        return Finding(
            id=finding_id(self.name, self.version, closing.model, subject, natural),
            detector=self.name,
            kind=kind,
            subject=subject,
            window=closing.window,
            log10_p=None,
            basis="none",
            effect=Effect(float(value), "pull"),
            severity="warning",
            summary=text,
            model=closing.model,
        )

    def state(self) -> Any:
        sets = [[name, sorted(have.items())] for name, have in self._sets.items()]
        return [sets, sorted([*place, n] for place, n in self._bad.items()), self._tested]

    def restore(self, state: Any) -> None:
        sets, bad, self._tested = state
        self._sets = {name: dict(have) for name, have in sets}
        self._bad = {(run, path): n for run, path, n in bad}


def fingerprint(checksums: Iterable[tuple[str, int]]) -> str:
    """What a control says of all references of a set: (key, checksum) of each."""
    return digest(sorted(checksums))[:16]


HISTOGRAMS = Pipeline(
    "histograms",
    Histograms,
    Compared | Published | Expected,
    HistogramWire,
    HistogramReducer,
    (Quality,),
    ends=ends,
    kinds={"histogram": ("scope", "path"), "missing": ("scope", "path"), "quality": ("scope",)},
)
HISTOGRAM_STREAM = Stream(
    "histograms", "histograms.raw", partitions=4, window=60 * NS, lateness=30 * NS, skew=15 * NS, interval=10 * NS
)
BEGIN = 1_700_000_000 * NS + 123_456_789
PATHS = {"calo|energy": (60, 60), "calo|map": (40, 1600), "calo|time": (20, 20), "tracker|charge": (100, 100)}
PATHS |= {"tracker|hits": (20, 20), "tracker|map": (40, 1600), "tracker|tracks": (35, 35)}
"""Key → bins in x, bins."""
SCOPES = ("calo", "tracker")
LENGTHS = [round(seconds * NS) for seconds in (23.31, 23.31, 10.5, 23.31, 31.07)]
MISSING = ((1, 3), (2, 3), (3, 3), (2, 4))
"""(run, lumisection) in which tracker|hits does not come; the last has no manifest either."""
RUNS = ((1, 0, 7), (2, 7, 5), (3, 320, 5))
"""(run, s after BEGIN, lumisections): the second runs beside the first, then there is a gap."""


def part(kind: int, scope: str, run: int, number: int, start: int, length: int, items: Sequence[Item]) -> list[bytes]:
    """The messages of a lumisection, three items each."""
    pieces = [items[n : n + 3] for n in range(0, len(items), 3)]
    head = (scope, kind, run, number, start, length)
    return [msgspec.msgpack.encode(Part(*head, n, len(pieces), list(piece))) for n, piece in enumerate(pieces, 1)]


def usual(key: str, version: int) -> NDArray[np.float32]:
    """A reference."""
    nx, bins = PATHS[key]
    shape = 400 + 200 * np.sin(np.arange(bins) * (1 + version) / nx)
    return np.round(shape / (bins // nx)).astype("<f4")


def references(version: int, keys: Iterable[str], at: int) -> list[tuple[int, bytes]]:
    """The messages that publish references of a set: rows beside the histograms', in a window of a second."""
    chosen = list(keys)
    found = []
    for scope in SCOPES:
        its = [key for key in chosen if key.startswith(f"{scope}|")]
        items = [Item(k.partition("|")[2], 1, PATHS[k][0], f"r{version}", usual(k, version).tobytes()) for k in its]
        found += [(at + 2 * NS, body) for body in part(REFERENCE, scope, 0, 0, at, NS, items)]
    return found


def reference_control(version: int, scope: str) -> Control:
    its = {key: zlib.crc32(usual(key, version).tobytes()) for key in PATHS if key.startswith(f"{scope}|")}
    value = {"set": f"r{version}", "n": len(its), "hash": fingerprint(its.items())}
    return Control(f"r{version}-{scope}", "reference", scope, version, NEVER, value)


@cache
def histogram_messages() -> Sequence[tuple[int, bytes]]:
    """Three runs; parts come out of order, some twice; what else is in them is in the comments."""
    rng, noise = random.Random(7), np.random.default_rng(7)
    sent = references(1, PATHS, BEGIN - 60 * NS)
    # the second set is whole only once its last reference has come, two minutes later
    sent += references(2, [key for key in PATHS if key != "calo|time"], BEGIN + 40 * NS)
    sent += references(2, ["calo|time"], BEGIN + 150 * NS)
    for run, begin, count in RUNS:
        start = BEGIN + begin * NS
        for number in range(1, count + 1):
            length = LENGTHS[(run + number) % len(LENGTHS)]
            for scope in SCOPES:
                items = []
                for key in (key for key in PATHS if key.startswith(f"{scope}|")):
                    path, nx = key.partition("|")[2], PATHS[key][0]
                    version = 2 if start > BEGIN + 60 * NS else 1
                    values = noise.poisson(usual(key, version)).astype("<f4")
                    if (path, run) == ("charge", 3) and number > 1:
                        values[40:45] = 0  # dead for four lumisections
                    if rng.random() < 0.05:
                        values[3] = np.nan
                    if (path, run, number) == ("energy", 1, 5):
                        values[9] = 666
                    if path != "hits" or (run, number) not in MISSING:
                        items.append(Item(path, 1, nx, "", values.tobytes()))
                    if rng.random() < 0.1:  # a revision, in time or long after the window has closed
                        revised = [Item(path, 2, nx, "", (values + 1).tobytes())]
                        after = start + length + rng.choice([3, 20, 25, 140]) * NS
                        sent += [(after, body) for body in part(HISTOGRAM, scope, run, number, start, length, revised)]
                paths = "\n".join(key.partition("|")[2] for key in PATHS if key.startswith(f"{scope}|"))
                listing = [Item(MANIFEST_PATH, 1, 1, paths, b"")]
                messages = part(HISTOGRAM, scope, run, number, start, length, items)
                if (run, number) != (2, 4):  # a lumisection without a manifest
                    messages += part(MANIFEST, scope, run, number, start, length, listing)
                for body in messages:
                    arrival = start + length + rng.randrange(12) * NS
                    sent.append((arrival, body))
                    if rng.random() < 0.1:
                        sent.append((arrival + 4 * NS, body))
            start += length
    sent.append((BEGIN + 90 * NS, b"garbage"))
    sent.append((BEGIN + 91 * NS, part(HISTOGRAM, "calo", 1, 1, BEGIN, NS, [Item("torn", 1, 3, "", b"12345678")])[0]))
    return sorted(sent)


def histogram_controls() -> list[tuple[int, Control]]:
    """(messages before it, control): the sets of references, and a lower threshold in the third run."""
    arrivals = [arrival for arrival, _ in histogram_messages()]
    found = [(0, reference_control(1, scope)) for scope in SCOPES]
    middle = int(np.searchsorted(arrivals, BEGIN + 50 * NS))
    found += [(middle, reference_control(2, scope)) for scope in SCOPES]
    late = int(np.searchsorted(arrivals, BEGIN + 370 * NS))
    lower = {HistogramReducer.name: {"threshold": 4.0}}
    return [*found, (late, Control("s1", "settings", HISTOGRAM_STREAM.name, 1, NEVER, lower))]
