"""`ErrorsByHour`: the error forms of an FTS in an hour, one finding a scope and hour, whatever they were about.

Nothing is judged here: it is what the clustering service reads (`opintel.site.clustering`), which groups forms by what
they mean, and where the console finds what else was said at an endpoint at a time.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, NamedTuple

import msgspec

from opintel.detector import Closing, Judge
from opintel.evidence import Table, capped
from opintel.finding import NS, Effect, Finding, Window, finding_id
from opintel.fts.causes.families import Family, family_of
from opintel.fts.link_windows import LINK, MESSAGES, LinkWindow, read_window
from opintel.fts.texts.causes import headline, side

ERRORS: Final = "errors"
"""Kind of the findings, and the title of their table."""
COLUMNS: Final = ("template", "form", "family", "messages", "example", "hosts")
"""Of the table; hosts are those with most of the messages, a space between them."""
HOUR: Final = 3600 * NS
CAPACITY: Final = 1000
"""Forms of an hour that are remembered until it ends; of later ones only the messages are counted."""
FORMS: Final = 500
"""Rows of the table: the most frequent forms, …"""
ROOM: Final = 200_000
"""… as long as they take no more bytes than this."""
TEXT: Final = 400
"""Characters of a form and of an example."""
HOSTS: Final = 5
HOSTS_KEPT: Final = 20
"""Hosts of a form that are counted."""


class HourForm(NamedTuple):
    """A row of the table, as it is read."""

    template: Annotated[str, msgspec.Meta(max_length=100)]
    text: Annotated[str, msgspec.Meta(max_length=TEXT)]
    family: Annotated[str, msgspec.Meta(max_length=100)]
    messages: Annotated[int, msgspec.Meta(ge=0, le=10**12)]
    example: Annotated[str, msgspec.Meta(max_length=TEXT)]
    hosts: Annotated[str, msgspec.Meta(max_length=20 * TEXT)]


def forms_of(finding: Finding) -> list[HourForm]:
    """The forms that a finding of kind `errors` lists; none where they did not fit. Raises ValueError where its table
    is not of this form, for who writes to the topic of findings need not be us."""
    for block in finding.evidence:
        if isinstance(block, Table) and block.title == ERRORS:
            try:
                return msgspec.convert(block.rows[:FORMS], list[HourForm])
            except msgspec.ValidationError as error:
                raise ValueError(f"finding {finding.id}: errors: {error}") from error
    return []


class ErrorsSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which families there are."""

    families: tuple[Family, ...] = ()
    """`{include: ../models/fts-causes.yaml}` in the shipped stream."""


class ErrorsByHour(Judge):
    """`Judge`: a finding of kind `errors` when the last window that begins in an hour closes; none of an hour without
    errors, and none of one that the input's end cuts short.

    State: the forms of the hour that has not ended, at most `CAPACITY`.

    >>> from opintel.detector import Controls, Record
    >>> judge, found = ErrorsByHour(), []
    >>> for start in range(0, HOUR, HOUR // 2):
    ...     forms = [("f1", "SOURCE disk full", 2, "as sent")]
    ...     link = LinkWindow("a.example", "b.example", 9, 2, 0, 11, 0, [], (0, 0.0, 0.0), forms)
    ...     window = Window(start, start + HOUR // 2)
    ...     records = [Record(window, LINK, "a|b", "fts1", link)]
    ...     found += judge.judge(Closing(window, "fts1", records, Controls(), ErrorsSettings(), "", complete=True))
    >>> [(f.window.end // HOUR, f.summary, f.evidence[0].rows[0][3:]) for f in found]
    [(1, '4 errors of 1 form, most of all: source: disk full', [4, 'as sent', 'a.example'])]
    """

    name = "fts.errors"
    version = 1
    Settings = ErrorsSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        self._hour = 0
        self._forms: dict[str, _FormOfHour] = {}
        self._others = 0
        """Messages of forms above `CAPACITY`."""

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of one window; windows come in order of time."""
        hour, found = closing.window.start // HOUR * HOUR, []
        if hour != self._hour:
            found = self._end(closing, self._hour + HOUR)
            self._hour = hour
        for record in closing.records:
            if record.kind in (LINK, MESSAGES):
                self._count(read_window(record.payload))
        if closing.window.end >= hour + HOUR:
            found += self._end(closing, closing.window.end)
        return found

    def state(self) -> dict[str, Any]:
        """Plain values."""
        forms = [[id, *msgspec.to_builtins(form)] for id, form in sorted(self._forms.items())]
        return {"hour": self._hour, "forms": forms, "others": self._others}

    def restore(self, state: Any) -> None:
        """The inverse of `state`, on a fresh judge."""
        self._hour, self._others = state["hour"], state["others"]
        self._forms = {id: msgspec.convert(form, _FormOfHour) for id, *form in state["forms"]}

    def _count(self, window: LinkWindow) -> None:
        for id, text, count, example in window.forms:
            form = self._forms.get(id)
            if form is None and len(self._forms) >= CAPACITY:
                self._others += count
                continue
            if form is None:
                form = self._forms[id] = _FormOfHour(text[:TEXT], example[:TEXT])
            form.count += count
            blamed = {"source": [window.source], "destination": [window.destination]}
            for host in filter(None, blamed.get(side(text), [window.source, window.destination])):
                if host in form.hosts or len(form.hosts) < HOSTS_KEPT:
                    form.hosts[host] = form.hosts.get(host, 0) + count

    def _end(self, closing: Closing, end: int) -> list[Finding]:
        """What is said of the hour, which is forgotten."""
        forms, others = self._forms, self._others
        self._forms, self._others = {}, 0
        if not forms:
            return []
        subject, window = {"scope": closing.scope}, Window(self._hour, end)
        ranked = sorted(forms.items(), key=lambda item: (-item[1].count, item[0]))
        messages = sum(form.count for form in forms.values()) + others
        several = f"{len(forms)} forms" if len(forms) > 1 else "1 form"
        more = f", and {others} of others" if others else ""
        most = headline(ranked[0][1].text, 100)
        return [
            Finding(
                id=finding_id(self.name, self.version, closing.model, subject, window),
                detector=self.name,
                kind=ERRORS,
                subject=subject,
                window=window,
                log10_p=None,
                basis="none",
                effect=Effect(float(messages), "messages"),
                severity="info",
                summary=f"{messages} errors of {several}{more}, most of all: {most}",
                evidence=capped([_table(ranked, closing.settings.families)]),
                model=closing.model,
            )
        ]


class _FormOfHour(msgspec.Struct, array_like=True):
    text: str
    example: str
    count: int = 0
    hosts: dict[str, int] = {}


def _table(ranked: list[tuple[str, _FormOfHour]], families: tuple[Family, ...]) -> Table:
    rows: list[list[str | float | int | None]] = []
    room = ROOM
    for id, form in ranked[:FORMS]:
        hosts = sorted(form.hosts, key=lambda host: (-form.hosts[host], host))[:HOSTS]
        row: list[str | float | int | None]
        row = [id, form.text, family_of(form.text, families), form.count, form.example, " ".join(hosts)]
        room -= len(msgspec.json.encode(row))
        if room < 0:
            break
        rows.append(row)
    return Table(ERRORS, list(COLUMNS), rows)
