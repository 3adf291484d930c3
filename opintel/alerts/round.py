"""One judged window of one scope: from its findings to alerts, incidents and messages, inside the caller's transaction.

Everything it knows is in the store and the window; it reads no clock. So the same sequence of windows gives the same
incidents and messages, however it was cut into transactions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import sqlalchemy as sa

from opintel.alerts import budget, outbox
from opintel.alerts.grouping import covers, entities, explains, place
from opintel.alerts.incidents import (
    BEST,
    OF_STREAM,
    SUBJECTS_KEPT,
    Alert,
    Incident,
    LeadRank,
    attach,
    fingerprint,
    incident_id,
    load_alerts,
    load_scope,
    locate,
    note,
    save,
)
from opintel.alerts.leading import next_lead
from opintel.alerts.lifecycle import ALARMING, LIVE, IncidentInput, alert_step, incident_step
from opintel.alerts.owners import owner
from opintel.alerts.past import recovered, since
from opintel.alerts.settings import AlertSettings, severity_rank
from opintel.alerts.shared import SharedIncidents
from opintel.alerts.ticket import clean
from opintel.finding import Finding
from opintel.store import schema as t
from opintel.store.queries import read_finding
from opintel.streams.findings import Judged

# asked in every window; made once, because to make a statement costs more than to run it
_SILENCES = sa.select(t.silence.c.subject).where(
    t.silence.c.stream == OF_STREAM, t.silence.c.until > sa.bindparam("now")
)
SERVICE = "opintel"
"""Who did it, in the history."""
TITLE_LENGTH = 200


class Round:
    """The working set of one window: the scope's alerts that have a history, its incidents that are not closed."""

    def __init__(self, connection: sa.Connection, settings: AlertSettings, judged: Judged) -> None:
        self.connection = connection
        self.settings = settings
        self.judged = judged
        self.now = judged.window.end
        self._alerts, self._incidents = load_scope(connection, judged.stream, judged.scope)
        across = settings.across_scopes(judged.stream)
        self._shared = SharedIncidents(connection, judged.stream, judged.scope, across=across)
        self._incidents |= self._shared.of(self._alerts, self._incidents)
        self._stored_alerts, self._stored_incidents = dict(self._alerts), dict(self._incidents)
        self._adapting = settings.adapting(judged.stream)
        self._spent = budget.load_spent(connection, judged)
        self._fresh: list[str] = []
        self._retitled: set[str] = set()
        self._silences = self._silenced_subjects()
        span, planned = judged.window, settings.calendar.maintenance
        self._planned = [p for p in planned if p.stream == judged.stream and p.start < span.end and p.end > span.start]

    def run(self, found: Sequence[Finding]) -> None:
        """Decides on the window's findings and writes all that follows."""
        self._mark(found)
        self._expire()
        verdict = self._decide(found)
        self._recall(verdict.signals)
        rose = self._advance(verdict)
        self._book(verdict, rose)
        self._place(rose)
        self._continue()
        self._lead(verdict.signals)
        self._support(verdict.others, found)
        self._end_known()
        self._settle(found)
        self._write()

    def _mark(self, found: Sequence[Finding]) -> None:
        """Findings about what is in a downtime carry its reason."""
        ids: dict[str, list[str]] = {}
        for finding in found if self._planned else ():
            reason = next((p.reason for p in self._planned if self._covers(p.subject, finding.subject)), None)
            if reason is not None:
                ids.setdefault(reason, []).append(finding.id)
        for reason, of in sorted(ids.items()):
            self.connection.execute(sa.update(t.finding).where(t.finding.c.id.in_(of)).values(downtime=reason))

    def _expire(self) -> None:
        """Closes what resolved too long ago to be reopened, before anything of this window can reopen it."""
        for home, incident in sorted(self._incidents.items()):
            if incident.resolved is not None and incident.resolved + self.settings.lifecycle.reopen <= self.now:
                self._move(home, "expire")

    def _decide(self, found: Sequence[Finding]) -> budget.BudgetVerdict:
        judged, budgets = self.judged, self.settings.budgets
        explaining = self.settings.explaining(judged.stream)
        verdict = budget.decide(
            judged,
            [f for f in found if f.kind not in explaining],
            budgets,
            budget.load_factors(self.connection, judged.stream, judged.scope),
            {a.fingerprint for a in self._alerts.values() if a.state in ALARMING},
            budget.unranked_left(judged.stream, self._spent, budgets),
            self.settings.lifecycle.rules(judged.stream),
        )
        return verdict._replace(others=[*verdict.others, *(f for f in found if f.kind in explaining)])

    def _recall(self, signals: Iterable[str]) -> None:
        """Loads alerts that had been quiet for long and have a sign again."""
        missing = sorted(set(signals) - set(self._alerts))
        if missing:
            old = load_alerts(self.connection, t.alert.c.fingerprint.in_(missing))
            self._alerts |= old
            self._stored_alerts |= old

    def _advance(self, verdict: budget.BudgetVerdict) -> list[str]:
        """Moves every alert by its sign; the fingerprints of those that began to alarm."""
        rules = self.settings.lifecycle.rules(self.judged.stream)
        rose = []
        for mark in sorted(set(self._alerts) | set(verdict.signals)):
            signal = verdict.signals.get(mark)
            old = self._alerts.get(mark)
            if signal is None and old is not None and not self._counts_as_clean(old):
                continue
            state, history = alert_step(
                old.state if old else "pending",
                old.history if old else "",
                signal.sign if signal else ".",
                rules,
            )
            if signal is not None:
                alert = self._with_findings(old, signal.findings)
            else:
                assert old is not None
                alert = old
            self._alerts[mark] = msgspec.structs.replace(
                alert, state=state, history=history, findings=() if state == "resolved" else alert.findings
            )
            if state in ALARMING and (old is None or old.state not in ALARMING):
                rose.append(mark)
        return rose

    def _counts_as_clean(self, alert: Alert) -> bool:
        """A window says that nothing is wrong only where it is whole and its kind was tested."""
        unranked = alert.log10_p is None
        return self.judged.complete and (unranked or self.judged.tests.get(alert.kind, 0) > 0)

    def _with_findings(self, old: Alert | None, findings: Sequence[Finding]) -> Alert:
        worst = max((f.severity for f in findings), key=severity_rank)
        least = min((f.log10_p for f in findings if f.log10_p is not None), default=None)
        began = min(f.began for f in findings)
        ids = tuple(f.id for f in findings)
        if old is None or old.state == "resolved":
            first = findings[0]
            return Alert(
                fingerprint=fingerprint(self.judged.stream, first),
                stream=self.judged.stream,
                scope=self.judged.scope,
                kind=first.kind,
                subject=first.subject,
                state=old.state if old else "pending",
                history=old.history if old else "",
                began=began,
                last=self.now,
                severity=worst,
                log10_p=least,
                findings=ids,
                incident=old.incident if old else None,
            )
        ps = [p for p in (old.log10_p, least) if p is not None]
        return msgspec.structs.replace(
            old,
            began=min(old.began, began),
            last=self.now,
            severity=max(old.severity, worst, key=severity_rank),
            log10_p=min(ps, default=None),
            findings=(old.findings + ids)[-SUBJECTS_KEPT:],
        )

    def _book(self, verdict: budget.BudgetVerdict, rose: Sequence[str]) -> None:
        bills = []
        for spending in verdict.spending:
            paid = [
                self._alerts[m]
                for m in rose
                if self.settings.budgets.of(self.judged.stream, self._alerts[m].kind)[0] == spending.budget
            ]
            bills.append(budget.Bill(spending, len(paid), sum(a.log10_p is None for a in paid)))
        budget.book(self.connection, self.judged, self._spent, bills)

    def _place(self, rose: Sequence[str]) -> None:
        """Finds an incident for every alert that alarms and has none, endpoints first."""
        grouping = self.settings.lifecycle.grouping
        for mark in rose:
            if not self._has_home(self._alerts[mark]):
                self._alerts[mark] = msgspec.structs.replace(self._alerts[mark], incident=None)
        waiting = [a for a in self._alerts.values() if a.state in ALARMING and self._waits(a, a.fingerprint in rose)]
        others = self._shared.about(self._entities(a.subject) for a in waiting if a.incident is None)
        self._incidents, self._stored_incidents = others | self._incidents, others | self._stored_incidents
        for alert in sorted(waiting, key=self._order):
            if self._silenced(alert.subject) or (alert.incident is None and alert.last != self.now):
                continue  # what was silenced when it came is no incident for having been, only for coming again
            placement = place(alert, self._open_ones(alert), self.now, grouping)
            home = alert.incident or placement.joins
            if home is None:
                home = self._open(alert)
                self._fresh.append(home)
            elif self._incidents[home].state in ("resolved", "mitigated"):
                self._move(home, "recur", alert=alert.fingerprint)
            if alert.incident is None:
                self._alerts[alert.fingerprint] = msgspec.structs.replace(alert, incident=home)
                self._join(home, alert)
            for other in placement.takes_over:
                if other != home:
                    self._merge(other, home)

    def _has_home(self, alert: Alert) -> bool:
        home = self._incidents.get(alert.incident or "")
        return home is not None and home.state != "closed"

    def _waits(self, alert: Alert, rose: bool) -> bool:
        """Whether an alert that alarms needs an incident opened or reopened. One that was closed over it does not."""
        if alert.incident is None:
            return True
        home = self._incidents.get(alert.incident)
        return home is not None and (home.state == "resolved" or (home.state == "mitigated" and rose))

    def _open_ones(self, alert: Alert) -> list[Incident]:
        return [i for i in self._incidents.values() if i.state != "closed" and self._shared.may_join(alert, i)]

    def _order(self, alert: Alert) -> tuple[int, int, float, str]:
        named = self._entities(alert.subject)
        p = 0.0 if alert.log10_p is None else alert.log10_p
        return len(named), -severity_rank(alert.severity), p, alert.fingerprint

    def _open(self, alert: Alert) -> str:
        new = incident_id(alert.fingerprint, self.now)
        named = self._entities(alert.subject)
        title, lead = self._title(self._findings(alert.findings), named)
        self._incidents[new] = Incident(
            id=new,
            fingerprint=alert.fingerprint,
            stream=alert.stream,
            scope=alert.scope,
            about=named,
            title=title,
            severity=alert.severity,
            start=alert.began,
            opened=self.now,
            last=alert.last,
            lead=lead,
        )
        save(self.connection, None, self._incidents[new])
        self._stored_incidents[new] = self._incidents[new]
        note(self.connection, new, self.now, SERVICE, "opened")
        self._note_owners(new)
        return new

    def _note_owners(self, home: str) -> None:
        """Whom to ask about an incident, where its subject is a host and the topology knows sites."""
        topology = self.settings.topology
        found = [owner(topology, name) for name in self._incidents[home].about] if topology.sites else []
        if known := [one for one in found if one is not None]:
            note(self.connection, home, self.now, SERVICE, "sites", sites=known)

    def _join(self, home: str, alert: Alert) -> None:
        """Notes the alert; an endpoint's alert makes its incident one about the endpoint, with a title of its own."""
        note(self.connection, home, self.now, SERVICE, "alert", kind=alert.kind, subject=alert.subject)
        incident, named = self._incidents[home], self._entities(alert.subject)
        if len(named) < len(incident.about):
            title, lead = self._title(self._findings(alert.findings), named)
            subjects = (alert.subject, *incident.subjects)
            self._incidents[home] = msgspec.structs.replace(
                incident, about=named, title=title, lead=lead, subjects=subjects
            )
            note(self.connection, home, self.now, SERVICE, "about", was=incident.about, now=named)
            self._note_owners(home)

    def _merge(self, other: str, home: str) -> None:
        """`other` becomes part of `home`: its alerts, findings and subjects go there."""
        moved = self._incidents[other]
        for a in load_alerts(self.connection, t.alert.c.incident == other).values():
            current = self._alerts.get(a.fingerprint, a)
            self._stored_alerts.setdefault(a.fingerprint, a)
            self._alerts[a.fingerprint] = msgspec.structs.replace(current, incident=home)
        for a in list(self._alerts.values()):
            if a.incident == other:
                self._alerts[a.fingerprint] = msgspec.structs.replace(a, incident=home)
        table = t.incident_finding
        for role in ("alarm", "supporting"):
            query = sa.select(table.c.finding).where(table.c.incident == other, table.c.role == role)
            attach(self.connection, home, self.connection.execute(query).scalars(), role)
        into = self._incidents[home]
        self._incidents[home] = msgspec.structs.replace(
            into,
            start=min(into.start, moved.start),
            last=max(into.last, moved.last),
            subjects=_distinct(into.subjects + moved.subjects),
        )
        self._incidents[other] = msgspec.structs.replace(
            moved, state=incident_step(moved.state, "merge"), merged_into=home
        )
        note(self.connection, other, self.now, SERVICE, "merged", into=home)
        note(self.connection, home, self.now, SERVICE, "took-over", incident=other)

    def _continue(self) -> None:
        """The findings of alerts that alarm become part of their incidents."""
        for mark in sorted(self._alerts):
            alert = self._alerts[mark]
            home = self._incidents.get(alert.incident or "")
            if alert.state not in ALARMING or home is None or home.state in ("resolved", "closed"):
                continue
            ids = alert.findings
            if not ids:
                continue
            attach(self.connection, home.id, ids, "alarm")
            self._incidents[home.id] = msgspec.structs.replace(
                home,
                start=min(home.start, alert.began),
                last=max(home.last, alert.last),
                subjects=_distinct((*home.subjects, alert.subject)),
            )
            self._alerts[mark] = msgspec.structs.replace(alert, findings=())

    def _lead(self, signals: Mapping[str, budget.Signal]) -> None:
        """Gives each incident title and severity of the worst of its alerts that alarm now."""
        alarming: dict[str, dict[str, Alert]] = {}
        for mark, alert in sorted((self._shared.alerts | self._alerts).items()):
            if alert.state in ALARMING and alert.incident is not None:
                alarming.setdefault(alert.incident, {})[mark] = alert
        for home, alerts in sorted(alarming.items()):
            incident = self._incidents.get(home)
            if incident is None or incident.state not in LIVE:
                continue
            [titling] = self._findings([incident.lead[-1]])
            leading = fingerprint(self.judged.stream, titling)
            if leading in alerts:
                offers = {m: self._title(signals[m].findings, incident.about) for m in alerts if m in signals}
                mark, (title, lead) = next_lead(leading, (incident.title, incident.lead), offers)
            else:
                offers = {m: self._title(since(self.connection, a), incident.about) for m, a in alerts.items()}
                mark, (title, lead) = min(offers.items(), key=lambda item: item[1][1])
            if mark != leading and home not in self._fresh:
                self._retitled.add(home)
                note(self.connection, home, self.now, SERVICE, "title", was=incident.title, now=title)
            worst = max((alert.severity for alert in alerts.values()), key=severity_rank)
            self._incidents[home] = msgspec.structs.replace(incident, title=title, lead=lead, severity=worst)

    def _support(self, others: Sequence[Finding], found: Sequence[Finding]) -> None:
        """Findings that raise no alarm explain incidents about their subject; a new incident looks back for them."""
        grouping = self.settings.lifecycle.grouping
        earlier: list[Finding] = []
        if self._fresh:
            known = {f.id for f in found}
            query = sa.select(t.finding.c.content).where(
                t.finding.c.stream == self.judged.stream,
                t.finding.c.pending == 0,
                t.finding.c.window_end > self.now - grouping.link_joins_endpoint,
                t.finding.c.window_end <= self.now,
            )
            rows = map(read_finding, self.connection.execute(query).scalars())
            earlier = [f for f in rows if f.id not in known and in_scope(f, self.judged.scope)]
        for home in sorted(self._incidents):
            incident = self._incidents[home]
            candidates = [*others, *(earlier if home in self._fresh else [])]
            ids = [f.id for f in candidates if explains(incident, self._entities(f.subject), self.now, grouping)]
            attach(self.connection, home, ids, "supporting")

    def _end_known(self) -> None:
        for home, incident in sorted(self._incidents.items()):
            if incident.known_until is None or self.now < incident.known_until:
                continue
            self._incidents[home] = msgspec.structs.replace(incident, known_until=None)
            if self._alarming(home) and incident.state in ("acknowledged", "mitigated"):
                self._move(home, "recur", reason="the time until which it was known has passed")

    def _settle(self, found: Sequence[Finding]) -> None:
        """Incidents whose alerts are all quiet resolve; those that are not known to have recovered stay, mitigated."""
        news = any(f.severity == "info" for f in found)
        for home, incident in sorted(self._incidents.items()):
            if incident.state not in LIVE or self._alarming(home):
                continue
            waits = incident.state == "mitigated" and not (news or self._alarmed(home))
            if self._adapting and waits:
                continue
            if recovered(self.connection, self.judged.stream, self._adapting_of(home), self.now):
                self._move(home, "clear")
                self._incidents[home] = msgspec.structs.replace(self._incidents[home], resolved=self.now)
            elif incident.state != "mitigated":
                self._move(home, "stay")

    def _write(self) -> None:
        for home, incident in sorted(self._incidents.items()):
            save(self.connection, self._stored_incidents[home], incident)
            if incident.subjects != self._stored_incidents[home].subjects:
                places = self.settings.topology.of(self.judged.stream, incident.subjects)
                if places:
                    locate(self.connection, home, places)
        for mark, alert in sorted(self._alerts.items()):
            save(self.connection, self._stored_alerts.get(mark), alert)
        for home, incident in sorted(self._incidents.items()):
            old = self._stored_incidents[home]
            if incident.severity != old.severity:
                note(self.connection, home, self.now, SERVICE, "severity", was=old.severity, now=incident.severity)
            if incident != old or home in self._fresh:
                retitled = home in self._retitled
                outbox.announce(self.connection, self.settings.routes, old, incident, self.now, retitled=retitled)

    def _move(self, home: str, given: IncidentInput, **detail: str) -> None:
        old = self._incidents[home]
        new = msgspec.structs.replace(old, state=incident_step(old.state, given))
        self._incidents[home] = msgspec.structs.replace(new, resolved=None) if given == "recur" else new
        note(self.connection, home, self.now, SERVICE, given, was=old.state, now=new.state, **detail)

    def _alarming(self, home: str) -> bool:
        here = any(a.incident == home and a.state in ALARMING for a in self._alerts.values())
        return here or self._shared.alarming(home)

    def _alarmed(self, home: str) -> bool:
        """Whether an alert of it alarmed until this window."""
        return any(a.incident == home and a.state in ALARMING for a in self._stored_alerts.values())

    def _adapting_of(self, home: str) -> list[Alert]:
        """Its alerts whose findings end because a detector gets used to what is new."""
        if not self._adapting:
            return []
        loaded = load_alerts(self.connection, (t.alert.c.incident == home) & t.alert.c.kind.in_(self._adapting))
        return [a for a in (loaded | self._alerts).values() if a.incident == home and a.kind in self._adapting]

    def _entities(self, subject: dict[str, str]) -> tuple[str, ...]:
        return entities(subject, self.judged.stream, self.judged.scope, self.settings.lifecycle.grouping)

    def _title(self, findings: Iterable[Finding], about: tuple[str, ...]) -> tuple[str, LeadRank]:
        """The title that the best of some findings gives, and how good it is."""

        def lead(finding: Finding) -> LeadRank:
            beside = int(self._entities(finding.subject) != about)
            p, end = finding.log10_p, finding.window.end
            if p is None:  # what will be (a forecast, at its newest) says more than how surprising it is
                p, end = BEST, -end
            return beside, self.settings.weight(self.judged.stream, finding.kind, finding.severity), p, end, finding.id

        best = min(findings, key=lead)
        return clean(best.summary, TITLE_LENGTH), lead(best)

    def _findings(self, ids: Sequence[str]) -> list[Finding]:
        query = sa.select(t.finding.c.content).where(t.finding.c.id.in_(ids))
        return [read_finding(content) for content in self.connection.execute(query).scalars()]

    def _covers(self, wanted: Mapping[str, str], subject: Mapping[str, str]) -> bool:
        return covers(wanted, subject, self.judged.stream, self.settings.lifecycle.grouping)

    def _silenced(self, subject: dict[str, str]) -> bool:
        wanted = [*self._silences, *(planned.subject for planned in self._planned)]
        return any(self._covers(labels, subject) for labels in wanted)

    def _silenced_subjects(self) -> list[dict[str, str]]:
        silences = self.connection.execute(_SILENCES, {"of_stream": self.judged.stream, "now": self.now})
        return [msgspec.json.decode(text, type=dict[str, str]) for text in silences.scalars()]


def in_scope(finding: Finding, scope: str) -> bool:
    """Whether a finding is of a scope, which is among the labels of its subject; the empty scope is the whole
    stream."""
    return not scope or scope in finding.subject.values()


def _distinct(subjects: Sequence[dict[str, str]]) -> tuple[dict[str, str], ...]:
    seen: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    for subject in subjects:
        seen.setdefault(tuple(sorted(subject.items())), subject)
    return tuple(list(seen.values())[:SUBJECTS_KEPT])
