"""What a message says of all that is in it: which lumisection of which subsystem, or which set of references.

Everything is untrusted; what is wrong raises ValueError, "expected …, got …".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from opintel.dqm.histograms import HISTOGRAM, MAX_LUMISECTION, MAX_RUN, REFERENCE
from opintel.finding import NS, parse_rfc3339

EARLIEST, LATEST = 946_684_800 * NS, 4_102_444_800 * NS
"""2000 to 2100: times outside are no times."""
LONGEST = 7 * 86_400 * NS
"""Of a lumisection, or of a run that comes as one."""
MAX_NAME, MAX_PATH = 200, 512
"""Bytes of a subsystem, a dataset, a set of references; of a path."""
MAX_REVISION = (1 << 31) - 1
MAX_PARTS = 1_000_000
MAX_CONDITION = 1024
"""Bytes of a menu or a type of run."""
MAX_PILEUP = 1e6


class Head(NamedTuple):
    """The lumisection of a message, or the time at which references are published."""

    run: int
    """Of references: where they come from, 0 where that is not one run."""
    lumisection: int
    """0 for references."""
    start: int
    end: int
    """ns UTC, exclusive."""
    subsystem: str
    dataset: str = ""
    revision: int = 1
    cumulative: bool = False
    reference: str = ""
    """Name of the set, of references; else empty."""
    run_type: str = ""
    menu: str = ""
    stable_beams: bool | None = None
    pileup: float | None = None
    """As in `Listing`; in each message, because references are those of the same conditions."""

    @property
    def category(self) -> str:
        """What references have to agree in; empty where nothing is known."""
        beams = "" if self.stable_beams is None else "stable" if self.stable_beams else "not stable"
        known = self.run_type or self.menu or beams
        return f"{self.run_type}|{self.menu}|{beams}" if known else ""

    @property
    def kind(self) -> int:
        """HISTOGRAM or REFERENCE."""
        return REFERENCE if self.reference else HISTOGRAM

    @property
    def prefix(self) -> str:
        """What stands before the path in the keys of its rows."""
        return f"{self.subsystem}|{self.dataset}|"

    def plain(self, part: tuple[int, int] | None = None) -> dict[str, Any]:
        """The head as a message has it; `part`: k of n."""
        said = {name: value for name, value in self._asdict().items() if value != self._field_defaults.get(name)}
        if self.reference:
            del said["lumisection"]
        return said | ({"part": list(part)} if part else {})


class SentHead(msgspec.Struct):
    """A head as it is sent, unchecked; a message may hold more."""

    subsystem: str
    start: int | str
    end: int | str
    run: int
    lumisection: int | None = None
    dataset: str = ""
    revision: int = 1
    cumulative: bool = False
    reference: str = ""
    part: tuple[int, int] | None = None
    run_type: str = ""
    menu: str = ""
    stable_beams: bool | None = None
    pileup: float | None = None

    def checked(self) -> Head:
        """Raises ValueError."""
        start, end = _time("start", self.start), _time("end", self.end)
        if not 0 < end - start <= LONGEST:
            raise ValueError(f"expected an end after start, by at most {LONGEST // NS} s, got {(end - start) / NS} s")
        if (self.lumisection is None) != bool(self.reference):
            raise ValueError("expected a lumisection or a reference, got " + ("both" if self.reference else "neither"))
        lumisection = 0 if self.lumisection is None else self.lumisection
        _within("run", self.run, 0, MAX_RUN)
        if self.lumisection is not None:
            _within("lumisection", lumisection, 0, MAX_LUMISECTION)
        _within("revision", self.revision, 1, MAX_REVISION)
        if self.part is not None:
            _within("part", self.part[1], 1, MAX_PARTS)
            _within("part", self.part[0], 1, self.part[1])
        if not self.subsystem:
            raise ValueError("subsystem: expected a name, got none")
        for name in ("subsystem", "dataset", "reference"):
            if wrong := wrong_name(getattr(self, name), MAX_NAME, "|"):
                raise ValueError(f"{name}: {wrong}")
        for name in ("run_type", "menu"):
            if wrong := wrong_name(getattr(self, name), MAX_CONDITION):
                raise ValueError(f"{name}: {wrong}")
        if self.pileup is not None and not 0 <= self.pileup <= MAX_PILEUP:
            raise ValueError(f"pileup: expected 0 to {MAX_PILEUP:.0f}, got {self.pileup}")
        found = Head(self.run, lumisection, start, end, self.subsystem, self.dataset, self.revision, self.cumulative)
        found = found._replace(reference=self.reference, run_type=self.run_type, menu=self.menu)
        return found._replace(stable_beams=self.stable_beams, pileup=self.pileup)


def wrong_name(text: str, most: int, without: str = "") -> str:
    """What is wrong with a name; empty where nothing is.

    >>> wrong_name("Calo|x", 200, "|"), wrong_name("Calo", 200)
    ("expected no '|' in a name, got 'Calo|x'", '')
    """
    if len(text) > most or len(text.encode("utf-8", "replace")) > most:
        return f"expected at most {most} bytes, got {text[:50]!r} and more"
    if not text.isprintable():
        return f"expected printable characters, got {text[:100]!r}"
    if without and without in text:
        return f"expected no {without!r} in a name, got {text[:100]!r}"
    return ""


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name}: expected {low} to {high}, got {value}")


def _time(name: str, value: int | str) -> int:
    """ns UTC."""
    try:
        time = parse_rfc3339(value) if isinstance(value, str) else value
    except (ValueError, OverflowError):
        raise ValueError(f"{name}: expected RFC 3339 or ns since 1970, got {str(value)[:50]!r}") from None
    if not EARLIEST <= time < LATEST:
        raise ValueError(f"{name}: expected a time in 2000 to 2100, RFC 3339 or ns, got {str(value)[:50]}")
    return time
