"""Queues that stand still: the optimiser says that files wait for a link, and none of them ends.

Records come from stage 1 and carry the optimiser's last word on each link's queue. Where most queues of an endpoint, or
of the instance, stand still, that is one finding about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from opintel.detector import Closing, Emit, Judge, Most
from opintel.evidence import Table, capped
from opintel.finding import Effect, Finding, Window, clock, finding_id
from opintel.fts.link_windows import WITHIN, LinkWindow, link_windows
from opintel.stats.counts import Floats, Ints
from opintel.stats.habits import Habits

FLOOR = -12.0
"""log10 p below which findings tie."""
HALF_LIFE = 3 * 86_400 * 10**9
LEAST = 200.0
"""Queues that were seen to move, below which nothing is said."""
LONGEST = 144
"""Windows (a day of ten minutes) after which a queue is taken to stand still for good and is forgotten."""
LEAST_LONGEST, TAIL = 2.0, 4.0
"""Windows that the longest earlier wait is taken to have lasted at least; exponent of the tail beyond it."""
PRIOR_MOVES, PRIOR_WAITS = 20.0, 5.0
"""Weight of the habit of all links in a link's own: of beginning to wait, and of waiting on."""
MEMBERS, SHARE = 3, 0.75
"""So many queues of an endpoint, and this share of those in which files wait, are the endpoint's matter."""
OF_INSTANCE, SHARE_OF_INSTANCE = 10, 0.5
"""The same of an instance."""
LISTED = 30
CAP = 50_000
SEPARATOR = "\x1f"


class QueueSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of `QueueJudge`."""

    emit: Emit = -4.0
    """Findings with log10 p at most this are emitted."""
    max_findings: Most = 100
    """At most so many a window, the most surprising first."""


class _Waiting(NamedTuple):
    """A link in whose queue files wait, and none ended, for `run` windows in a row."""

    link: LinkWindow
    run: int
    log10_p: float


class QueueJudge(Judge):
    """How long files wait without any that ends, against how long they did on all links of the instance before.

    In each window a link with files in its queue either moves (a file ended, well or badly) or waits. A wait of r
    windows has p = P(its queue begins to wait) · P(a wait lasts r windows or more), decayed. The first is the link's
    own habit, shrunk to that of all links (a Beta prior). The second is the larger of what was seen on all links,
    falling with the fourth power of r beyond the longest wait, and of the link's own habit, s^(r - 1), where s is how
    often a waiting window is followed by another (shrunk likewise). A link whose own waits were as long is no news.
    Links of which the optimiser says nothing keep their wait as it is.

    >>> from opintel.detector import Controls, Record
    >>> judge, found, none = QueueJudge(), [], (0, 0.0, 0.0)
    >>> for n in range(110):
    ...     window = Window(n * 600 * 10**9, (n + 1) * 600 * 10**9)
    ...     files = {source: 0 if source == "a" and n >= 100 else 5 for source in "abcd"}
    ...     links = [LinkWindow(s, "z", ok, 0, 0, ok, 0, [], none, [], 0, 40) for s, ok in files.items()]
    ...     records = [Record(window, "link", f"{link.source}|z", "fts1", link) for link in links]
    ...     found += judge.judge(Closing(window, "fts1", records, Controls(), QueueSettings(), "", complete=True))
    >>> found[0].summary
    'a to z stands still since 16:40: 40 files wait in its queue, 0 active, and none ended'
    """

    name = "fts.queues"
    version = 1
    Settings = QueueSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        """Tests of the last window by kind."""
        self._links = Habits(("run", "longest", "seen", "chances", "begun", "waited"), CAP)
        self._waits = np.zeros(LONGEST + 1)
        """Decayed: how often a queue moved at once (0), or after so many windows."""

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of kind `stuck`, most surprising first."""
        window, settings = closing.window, closing.settings
        self.tests = {"stuck": 0}
        if not closing.complete:
            return []
        links = link_windows(closing.records)
        moving = [w for w in links if w.ok + w.failed + w.aborted]
        held = [w for w in links if w.submitted and not w.ok + w.failed + w.aborted]
        at = self._links.rows([_key(w) for w in held])
        run, longest = self._links.get(at, "run") + 1.0, self._links.get(at, "longest")
        judged = self._waits.sum() >= LEAST
        log_p = np.where(judged & (run > longest), self._log_p(at, run), 0.0)
        waiting = [_Waiting(*said) for said in zip(held, run.astype(np.int64).tolist(), log_p.tolist(), strict=True)]
        busy = [w for w in moving if w.submitted]
        self.tests = {"stuck": len(held) + len(busy) if judged else 0}
        findings = self._findings(closing, waiting, busy)
        self._learn(moving, at, run, window, settings.emit)
        return findings[: settings.max_findings]

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {"links": self._links.state(), "waits": self._waits.tolist()}

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        self._links.restore(state["links"])
        self._waits = np.array(state["waits"])

    def _log_p(self, at: Ints, run: Floats) -> Floats:
        """log10 p of waits of so many windows of these links, floored."""
        waits, queues = float(self._waits[1:].sum()), float(self._waits.sum())
        windows = float(self._waits @ np.arange(LONGEST + 1))
        begun, waited = self._links.get(at, "begun"), self._links.get(at, "waited")
        begins = (begun + PRIOR_MOVES * (waits + 0.5) / (queues + 1.0)) / (self._links.get(at, "chances") + PRIOR_MOVES)
        goes_on = (waited - begun + PRIOR_WAITS * (windows - waits + 0.5) / (windows + 1.0)) / (waited + PRIOR_WAITS)
        seen = np.flatnonzero(self._waits > 0.5)
        longest = max(float(seen[-1]) if len(seen) else 0.0, LEAST_LONGEST)
        length = np.minimum(run, LONGEST).astype(np.int64)
        lasts = (
            (self._waits[::-1].cumsum()[::-1][length] + 1.0) / (waits + 1.0) * np.minimum(1.0, longest / run) ** TAIL
        )
        log_p = np.log10(np.minimum(begins, 1.0) * np.maximum(lasts, goes_on ** (run - 1.0)))
        return np.asarray(np.clip(log_p, FLOOR, 0.0), dtype=np.float64)

    def _learn(self, moving: Sequence[LinkWindow], at: Ints, run: Floats, window: Window, emit: float) -> None:
        size = window.end - window.start
        keep = 0.5 ** (size / HALF_LIFE)
        self._waits *= keep
        known = set(self._links.keys())
        moved = [w for w in moving if w.submitted or _key(w) in known]
        rows = self._links.rows([_key(w) for w in moved])
        lasted = self._links.get(rows, "run")
        # a wait that was told as a fault is not how long files usually wait
        usual = (lasted > 0) & (lasted <= LONGEST) & (self._log_p(rows, np.maximum(lasted, 1.0)) > emit)
        np.add.at(self._waits, lasted[usual].astype(np.int64), 1.0)
        self._waits[0] += sum(lasted[n] == 0 and w.submitted > 0 for n, w in enumerate(moved))
        gained = {"chances": np.where((lasted == 0) | usual, 1.0, 0.0), "begun": usual, "waited": usual * lasted}
        self._links.put(
            rows,
            run=np.zeros(len(rows)),
            longest=np.maximum(self._links.get(rows, "longest"), lasted),
            seen=np.full(len(rows), float(window.end)),
            **{column: keep * self._links.get(rows, column) + gain for column, gain in gained.items()},
        )
        self._links.put(at, run=run, seen=np.where(run > LONGEST, 0.0, float(window.end)))
        self._links.forget(window.end - LONGEST * size)

    def _findings(self, closing: Closing, waiting: Sequence[_Waiting], busy: Sequence[LinkWindow]) -> list[Finding]:
        hits = [w for w in waiting if w.log10_p <= closing.settings.emit]
        if len(hits) >= OF_INSTANCE and len(hits) >= SHARE_OF_INSTANCE * (len(waiting) + len(busy)):
            return [self._finding(closing, {}, f"{closing.scope} stands still", hits)]
        found = []
        left = list(hits)
        for label in ("destination", "source"):
            hosts = sorted({getattr(w.link, label) for w in left})
            for host in hosts:
                mine = [w for w in left if getattr(w.link, label) == host]
                others = sum(getattr(w.link, label) == host for w in waiting) + sum(
                    getattr(w, label) == host for w in busy
                )
                if len(mine) >= MEMBERS and len(mine) >= SHARE * others:
                    subject = {"endpoint": host, "role": label}
                    found.append(self._finding(closing, subject, f"{host} stands still as {label}", mine))
                    left = [w for w in left if w not in mine]
        for w in left:
            subject = {"source": w.link.source, "destination": w.link.destination}
            what = f"{w.link.source} to {w.link.destination} stands still"
            if w.link.local:
                subject, what = {"endpoint": w.link.source, "role": "both"}, f"{w.link.source} stands still {WITHIN}"
            found.append(self._finding(closing, subject, what, [w]))
        return sorted(found, key=lambda f: (f.log10_p or 0.0, sorted(f.subject.items())))

    def _finding(self, closing: Closing, subject: dict[str, str], what: str, its: Sequence[_Waiting]) -> Finding:
        window = closing.window
        labels = {"scope": closing.scope, **subject}
        since = window.end - max(w.run for w in its) * (window.end - window.start)
        queued, active = sum(w.link.submitted for w in its), sum(w.link.active for w in its)
        wait = f"{queued} files wait in {'its queue' if len(its) == 1 else f'{len(its)} queues'}"
        ranked = sorted(its, key=lambda w: (-w.link.submitted, w.link.source, w.link.destination))[:LISTED]
        columns = ["source", "destination", "queued", "active", "windows"]
        rows: list[list[str | float | int | None]] = [
            [w.link.source, w.link.destination, w.link.submitted, w.link.active, w.run] for w in ranked
        ]
        return Finding(
            id=finding_id(self.name, self.version, closing.model, labels, window),
            detector=self.name,
            kind="stuck",
            subject=labels,
            window=window,
            log10_p=min(w.log10_p for w in its),
            basis="extrapolated",
            effect=Effect(float(queued), "files waiting"),
            severity="critical" if not subject else "warning",
            summary=f"{what} since {clock(since, window.end)}: {wait}, {active} active, and none ended",
            evidence=capped([Table("Queues that stand still", columns, rows)]),
            model=closing.model,
        )


def _key(link: LinkWindow) -> str:
    return link.source + SEPARATOR + link.destination
