"""What the console and the metrics show of a running system."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from opintel.alerts.sink_metrics import sink_metrics
from opintel.console.api import metrics_endpoint, probe
from opintel.console.app import create_app
from opintel.console.asked import Asked
from opintel.console.causes import families_of
from opintel.console.views import StreamState, StreamView
from opintel.site.downtimes import Downtimes
from opintel.site.parts import Part
from opintel.site.system import System
from opintel.store import Store
from opintel.store.queries import finding_counts, incident_counts
from opintel.streams.log import LogError, LogUnavailable
from opintel.streams.loop import Watchdog
from opintel.streams.vitals import NOTHING, STALE_AFTER, Stored, Vitals, lag, stream_status

ASKED_EVERY = 3.0
"""Seconds for which an answer of the log is believed."""
log = logging.getLogger(__name__)


class View:
    """Reads the log and, with `stored`, the store. `now` in ns: of the demo's clock, or of the world's. `parts` are
    those of this process.
    """

    def __init__(
        self,
        system: System,
        watchdog: Watchdog,
        now: Callable[[], int],
        *,
        parts: Sequence[Part] = (),
        stored: bool = True,
    ) -> None:
        self._system, self._watchdog, self._now, self._parts = system, watchdog, now, parts
        self._trouble, self._ask_again = "", 0.0
        self._counts = Asked(lambda: _stored(system.store, now))
        self.vitals = Vitals(
            system.log,
            [w.stream for w in system.streams.values()],
            now=now,
            stalled=lambda: watchdog.stalled() is not None,
            stored=self._stored if stored else lambda: NOTHING,
            parts=lambda: {part.name: (part.failures, not part.trouble) for part in parts},
            archived=system.site.settings.archive is not None,
        )

    def app(self, *, token: str | None = None) -> Starlette:
        """The console's application."""
        calendar = self._system.alerts.calendar
        downtimes = Downtimes(calendar.files)
        return create_app(
            self._system.store,
            streams=self.streams,
            metrics=self.vitals.text,
            healthy=self.healthy,
            ready=self.ready,
            now=self._now,
            trouble=self.trouble,
            grouping=self._system.alerts.lifecycle.grouping,
            names={name: watched.pipeline.naming for name, watched in self._system.streams.items()},
            shifts=self._with_findings("quality"),
            interferometers=self._with_findings("observing"),
            transfers={n: families_of(self._system.streams[n].detectors) for n in self._with_findings("traffic")},
            reports={
                kind
                for watched in self._system.streams.values()
                for kind in watched.pipeline.explaining
                if watched.pipeline.kinds.get(kind) == ("scope",)
            },
            topology=self._system.alerts.topology,
            planned=lambda: [*calendar.maintenance, *downtimes.read()],
            token=token,
        )

    def _with_findings(self, kind: str) -> list[str]:
        """The streams whose domains have findings of a kind."""
        return sorted(name for name, w in self._system.streams.items() if kind in w.pipeline.kinds)

    def probes(self) -> Starlette:
        """Only what machines ask for: metrics and the two probes."""
        app = Starlette(
            routes=[
                Route("/metrics", metrics_endpoint(self.vitals.text)),
                Route("/healthz", probe(self.healthy)),
                Route("/readyz", probe(self.ready)),
            ]
        )
        app.state.guarded = True  # nothing there needs a token: numbers by stream, and nothing can be done
        return app

    def streams(self) -> list[StreamView]:
        """All streams, for the console; it says so where the log cannot be reached."""
        try:
            return [self._view(name) for name in sorted(self._system.streams)]
        except LogUnavailable as error:
            raise HTTPException(503, f"The log cannot be reached: {error}") from error
        except LogError as error:
            raise HTTPException(503, f"The log is not complete: {error}") from error

    def healthy(self) -> tuple[bool, str]:
        """Whether the process does its work."""
        found = self._watchdog.stalled()
        return (True, "ok") if found is None else (False, f"{found[0]} has not come back for {found[1]:.0f} s")

    def ready(self) -> tuple[bool, str]:
        """Whether it has caught up so far that its answers are current."""
        try:
            behind = {name: lag(self._system.log, w.stream) for name, w in self._system.streams.items()}
        except LogUnavailable as error:
            return False, f"the log cannot be reached: {error}"
        except LogError as error:
            return False, f"the log is not complete: {error}"
        late = [f"{name} is {n} records behind" for name, n in behind.items() if n > 10_000]
        return (not late, "; ".join(late) or "ok")

    def trouble(self) -> str:
        """What makes the pages old news, for the console; asked at most every few seconds."""
        now = time.monotonic()
        if now >= self._ask_again:
            self._ask_again = now + ASKED_EVERY
            self._trouble = self._look()
            self._ask_again = time.monotonic() + ASKED_EVERY
        return self._trouble

    def _stored(self) -> Stored | None:
        try:
            return self._counts.answer()
        except (SQLAlchemyError, TimeoutError) as error:
            log.debug("no metrics of the store: %s", error)
            return None

    def _look(self) -> str:
        failing = [f"{part.name}: {part.trouble}" for part in self._parts if part.trouble]
        if failing:
            return "A part does not work and is tried again, the others go on. (" + "; ".join(failing) + ")"
        try:
            for watched in self._system.streams.values():
                self._system.log.end(watched.stream.topic, 0)
        except (LogError, LogUnavailable) as error:
            return f"The log cannot be reached: what stands here is old, and nothing new is judged. ({error})"
        return ""

    def _view(self, name: str) -> StreamView:
        stream = self._system.streams[name].stream
        status = stream_status(self._system.log, stream)
        age = None if status.arrival is None else max(0.0, (self._now() - status.arrival) / 1e9)
        stale = age is not None and age > STALE_AFTER * stream.interval / 1e9
        silent: StreamState = "idle" if age is None or not status.live else "stale" if stale else "live"
        asides = status.asides
        dead = [
            a for t in (f"{name}.ingest", stream.topic, stream.derived) for a in self._system.log.asides(t, "dead", 20)
        ]
        return StreamView(
            name=name,
            messages=status.messages,
            findings=sum(n for (s, _), n in finding_counts(self._system.store).items() if s == name),
            lag=status.lag,
            freshness=age,
            watermark=status.watermark,
            dead_letters=asides["dead"],
            late=asides["late"],
            refused=asides["refused"],
            quarantined=asides["quarantined"],
            gaps=asides["gap"],
            state=silent if status.withheld is None else "withheld",
            withheld=status.withheld,
            recent=[
                (
                    a.place or f"{a.topic}-{a.partition}@{a.position}",
                    a.reason,
                    a.excerpt.decode("utf-8", "replace"),
                    a.count,
                )
                for a in dead[:20]
            ],
        )


def _stored(store: Store, now: Callable[[], int]) -> Stored:
    return Stored(finding_counts(store), incident_counts(store), list(sink_metrics(store, now)))
