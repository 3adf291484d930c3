"""The alert service in its turns over the findings topic. Only a process that decides imports this, with SQLAlchemy."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from opintel.alerts.service import AlertService, PositionMoved
from opintel.finding import rfc3339
from opintel.streams.findings import Found, Judged, decode
from opintel.streams.log import EXCERPT, Aside, Log, LogUnavailable
from opintel.streams.stream import FAR, FINDINGS, Stream

FINDINGS_A_TURN = 256
log = logging.getLogger(__name__)


class Alerting:
    """The alert service's turn: a stretch of the findings topic, decided on in one transaction."""

    name = "alerts"

    def __init__(self, bus: Log, service: AlertService, streams: Mapping[str, Stream]) -> None:
        self.log, self.service, self._streams = bus, service, streams
        self._position = service.position()
        end = bus.end(FINDINGS, 0)
        if self._position > end:  # a log restored from a backup that is older than the store
            self._note_gap(f"the store stands at {self._position}, the findings end at {end}: going on from there")
            self._move([], end)

    def step(self) -> bool:
        batch = self.log.read(FINDINGS, 0, self._position, FINDINGS_A_TURN)
        if not batch:
            return False
        first = batch[0][0]
        if first > self._position and self.log.start(FINDINGS, 0) > self._position:
            self._note_gap(f"findings {self._position} to {first - 1} fell out of retention undecided")
        records, dead = [], []
        for position, value, appended in batch:
            try:
                record = decode(value)
                self._check_time(record, appended)
                records.append(record)
            except ValueError as error:
                dead.append(Aside("dead", FINDINGS, 0, position, 0, str(error), excerpt=value[:EXCERPT]))
        self.log.put_asides(dead)
        self._move(records, batch[-1][0] + 1)
        return True

    def _check_time(self, record: Found | Judged, appended: int) -> None:
        """Raises ValueError for a window that cannot have ended yet: nothing before it would be decided on any more."""
        end = (record.window if isinstance(record, Judged) else record.finding.window).end
        stream = self._streams.get(record.stream)
        most = FAR if stream is None else stream.closable(appended, 2)
        if end > most:
            raise ValueError(
                f"expected an end of {rfc3339(most)} or before, by when it was appended, got {rfc3339(end)}"
            )

    def _move(self, records: Sequence[Found | Judged], following: int) -> None:
        try:
            conflicts = self.service.consume(self._position, records, following)
        except PositionMoved as error:  # by the one who owned the topic before us, or by one who thinks so
            raise LogUnavailable(str(error)) from error
        for n, conflict in enumerate(conflicts):
            log.error("%s; the first stays", conflict)
            self.log.put_asides([Aside("dead", FINDINGS, 0, self._position, -1 - n, conflict)])
        self._position = following

    def _note_gap(self, reason: str) -> None:
        log.error("%s: %s", FINDINGS, reason)
        self.log.put_asides([Aside("gap", FINDINGS, 0, self._position, 0, reason)])

    def idle(self) -> bool:
        return self._position >= self.log.end(FINDINGS, 0)

    def close(self) -> None:
        """Nothing to do: each turn is a transaction."""
