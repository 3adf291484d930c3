"""Families of causes as their page shows them: how large each is now and usually, and the texts that no family fits.

Reads hours of traffic and `cause` and `unclassified` findings. All texts are untrusted; the templates escape them.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from opintel.console.drawing import Spark, spark
from opintel.console.transfers import DAY, HOUR
from opintel.evidence import Series, Texts
from opintel.finding import Finding, finding_json, rfc3339
from opintel.fts.causes.families import UNCLASSIFIED, Family, family_of
from opintel.fts.clusters.words import cause_words
from opintel.fts.texts.causes import cause
from opintel.fts.traffic import HourTraffic
from opintel.store import Store
from opintel.store import schema as t
from opintel.store.queries import read_finding

Json = dict[str, Any]
PAST = 7 * DAY
"""What is usual is looked for in it."""
DRAWN = 48
"""Hours of a sparkline."""
JUMPS_READ, NOTICES_READ, QUEUE_SHOWN = 500, 2000, 100
PHRASE = 80
"""Characters of a proposed phrase."""


class FamilyStanding(NamedTuple):
    """A family in numbers."""

    name: str
    meaning: str
    action: str
    now: float | None
    """Share of the last hour's attempts; None where there were none."""
    usual: float | None
    """The median share of the hours before; None where there are none."""
    errors: int
    """In the last hour."""
    day: int
    """In the last 24 hours."""
    last: str | None
    """End of the last hour in which it came, RFC 3339."""
    example: str
    spark: Spark | None


def families_of(detectors: Mapping[str, Any]) -> tuple[Family, ...]:
    """The families that a stream's settings (detector → its own) name for its hours of traffic."""
    return msgspec.convert((detectors.get("fts.traffic") or {}).get("families", []), tuple[Family, ...])


def standings(hours: Sequence[HourTraffic], families: Sequence[Family]) -> list[FamilyStanding]:
    """Every family, those with most errors in the last hour first, then in the last day; last those of no error."""
    known = {family.name: family for family in families}
    counts = [Counter({one.family: one.errors for one in hour.causes}) for hour in hours]
    names = dict.fromkeys([*(name for count in counts for name in count), *known])
    end = hours[-1].window.end if hours else 0
    found = []
    for name in names:
        family = known.get(name)
        shares = [_share(hour, count[name]) for hour, count in zip(hours, counts, strict=True)]
        before = [share for share in shares[:-1] if share is not None]
        seen = [(hour, count) for hour, count in zip(hours, counts, strict=True) if count[name]]
        drawn = _series(name, hours[-DRAWN:], shares[-DRAWN:], end) if seen else None
        examples = [one.example for hour, _ in seen[-1:] for one in hour.causes if one.family == name]
        found.append(
            FamilyStanding(
                name,
                family.meaning if family else "",
                family.action if family else "",
                shares[-1] if shares else None,
                median(before) if before else None,
                counts[-1][name] if counts else 0,
                sum(count[name] for hour, count in seen if hour.window.end > end - DAY),
                rfc3339(seen[-1][0].window.end) if seen else None,
                next(iter(examples), ""),
                None if drawn is None else spark(drawn),
            )
        )
    return sorted(found, key=lambda one: (one.last is None, -one.errors, -one.day, one.name))


def jumps(store: Store, stream: str, scope: str, through: int) -> dict[str, Json]:
    """Family → the newest finding of the last 24 hours that its share jumped, in JSON form."""
    found: dict[str, Json] = {}
    for one in _findings(store, stream, "cause", through - DAY, JUMPS_READ):
        if one.subject.get("scope") == scope and one.window.end <= through:
            found.setdefault(one.subject.get("family", ""), finding_json(one))
    return found


class QueuedText(NamedTuple):
    """A text that waits for a rule."""

    text: str
    cause: str
    """Without what clients wrap around it."""
    errors: int
    """In the hours that are looked at."""
    first: str
    last: str
    """RFC 3339: start of the first window or hour in which it came, end of the last."""
    example: str
    rule: str
    """YAML that would sort it."""


class UnclassifiedTexts:
    """The queue of texts that no family fits."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._notices: dict[str, tuple[int, dict[tuple[str, str], tuple[int, int]]]] = {}
        self._lock = threading.Lock()

    def read(
        self, stream: str, scope: str, hours: Sequence[HourTraffic], families: Sequence[Family]
    ) -> tuple[list[QueuedText], int]:
        """The texts that the families of today do not fit either, the most frequent first, and how many there are."""
        seen: dict[str, list[Any]] = {}
        for hour in hours:
            for text, errors, example in hour.odd:
                at = seen.setdefault(text, [0, hour.window.start, 0, example])
                at[0] += errors
                at[2] = hour.window.end
        begin = hours[0].window.start if hours else 0
        for (where, text), (start, errors) in self._first(stream).items():
            if where == scope and text in seen:
                seen[text][1] = min(seen[text][1], start)
            elif where == scope and start >= begin:
                seen[text] = [errors, start, start, text]
        odd = {text: at for text, at in seen.items() if family_of(text, families) == UNCLASSIFIED}
        ranked = sorted(odd, key=lambda text: (-odd[text][0], text))
        listed = [
            QueuedText(text, cause(text), errors, rfc3339(first), rfc3339(max(first, last)), example, rule(text))
            for text in ranked[:QUEUE_SHOWN]
            for errors, first, last, example in (odd[text],)
        ]
        return listed, len(ranked)

    def _first(self, stream: str) -> dict[tuple[str, str], tuple[int, int]]:
        """(scope, text) → start of the window in which it was new, and its errors then."""
        f = t.finding.c
        with self._lock:
            with self._store.read() as connection:
                query = sa.select(sa.func.count()).where(f.stream == stream, f.kind == UNCLASSIFIED)
                count = connection.execute(query).scalar_one()
            known = self._notices.get(stream)
            if known is None or known[0] != count:
                found: dict[tuple[str, str], tuple[int, int]] = {}
                for one in _findings(self._store, stream, UNCLASSIFIED, None, NOTICES_READ):
                    samples = [sample for b in one.evidence if isinstance(b, Texts) for sample in b.samples]
                    for text, errors in samples:
                        found[one.subject.get("scope", ""), text] = (one.window.start, errors)
                known = self._notices[stream] = (count, found)
            return known[1]


def rule(text: str) -> str:
    """The lines for `models/fts-causes.yaml` that would sort a masked text: a family with a phrase of its own words.

    >>> print(rule("the frobnicator refused <PATH> at <HOST>"))
      - name: NAME
        meaning: what it means, for the operator
        action: what to do first
        phrases: ["the frobnicator refused"]
    """
    phrase = _phrase(text)
    lines = [
        "  - name: NAME",
        "    meaning: what it means, for the operator",
        "    action: what to do first",
        f"    phrases: [{msgspec.json.encode(phrase).decode()}]",
    ]
    return "\n".join(lines)


def _phrase(text: str) -> str:
    """A regular expression that finds the text: its longest piece without a variable."""
    words = cause_words(text)
    pieces = [" ".join(piece.split()) for piece in re.split(r"<[^<>]*>|\d+", cause(text)[:1000])]
    fitting = [piece for piece in pieces if piece and piece in words]
    longest = max(fitting or [words], key=len)[: PHRASE * 2]
    cut = longest if len(longest) <= PHRASE else longest[:PHRASE].rpartition(" ")[0] or longest[:PHRASE]
    return re.sub(r"([.^$*+?()\[\]{}|\\])", r"\\\1", cut.strip(" :;,.-") or cut)


def _share(hour: HourTraffic, errors: int) -> float | None:
    total = hour.total
    attempts = total.ok + total.failed + total.aborted + total.retries
    return min(1.0, errors / attempts) if attempts else None


def _series(name: str, hours: Sequence[HourTraffic], shares: Sequence[float | None], end: int) -> Series:
    """Hours of which nothing is known are gaps."""
    values: Mapping[int, float | None] = dict(zip((hour.window.start // HOUR for hour in hours), shares, strict=True))
    last = (end - 1) // HOUR
    numbers = range(last - DRAWN + 1, last + 1)
    marked = (last * HOUR, (last + 1) * HOUR)
    times = [number * HOUR for number in numbers]
    return Series(name, times, [values.get(number) for number in numbers], "share of attempts", marked=marked)


def _findings(store: Store, stream: str, kind: str, since: int | None, limit: int) -> list[Finding]:
    """The newest of a kind, the newest first."""
    f = t.finding.c
    query = sa.select(f.content).where(f.stream == stream, f.kind == kind)
    if since is not None:
        query = query.where(f.window_end > since)
    with store.read() as connection:
        contents = connection.execute(query.order_by(f.window_end.desc(), f.id.desc()).limit(limit)).scalars().all()
    return [read_finding(content) for content in contents]
