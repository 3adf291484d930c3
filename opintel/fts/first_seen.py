"""First-seen templates of an FTS instance: an error message whose masked form this scope has never sent before.

Judges the error forms in the records of stage 1 (links and bare messages). Such a finding has no p-value: it is a
fact with a rate cap, for the first days of an instance and a change of wording both bring many new forms at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from opintel.detector import Closing, Judge, Most, Record
from opintel.evidence import Evidence, Table, Texts, capped
from opintel.finding import NS, Effect, Finding, finding_id
from opintel.fts.link_windows import LINK, MESSAGES, LinkWindow, read_window
from opintel.fts.templates import OVERFLOW

CAPACITY: Final = 100_000
"""Forms that a scope's registry remembers; later ones count as one."""
LINKS: Final = 10
EXAMPLES: Final = 3
ALSO: Final = 20
"""Forms that are named in the evidence when the cap left them without a finding of their own."""
SUMMARY: Final = 160
"""Characters of the form in a summary."""
DAY: Final = 86_400 * NS


class FirstSeenSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Caps on the findings of one scope; what exceeds them is learned and named in the last finding's evidence."""

    per_window: Most = 10
    per_day: Most = 40
    """Per UTC day of the windows' start."""
    warm_up_windows: Most = 0
    """So many first windows are learned from and give no finding."""


class FirstSeen(Judge):
    """`Judge`: a finding of kind `new-template` for each form that the scope has not sent before, most frequent first.

    State: form → start of the window in which it was first seen, at most `CAPACITY` forms.

    >>> from opintel.detector import Controls
    >>> from opintel.finding import Window
    >>> link = LinkWindow("a", "b", 9, 1, 0, 10, 0, [], (0, 0.0, 0.0), [("f1", "disk full", 1, "disk full")])
    >>> judge, found = FirstSeen(), []
    >>> for window in (Window(0, 60), Window(60, 120)):
    ...     records = [Record(window, LINK, "a|b", "fts1", link)]
    ...     found += judge.judge(Closing(window, "fts1", records, Controls(), FirstSeenSettings(), "", complete=True))
    >>> [(finding.window.start, finding.summary) for finding in found]
    [(0, 'New error message, once on 1 link: disk full')]
    """

    name = "fts.templates"
    version = 1
    Settings = FirstSeenSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        self._first_seen: dict[str, int] = {}
        self._windows = 0
        self._day = 0
        self._reported = 0

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of one window; windows come in order of time."""
        settings: FirstSeenSettings = closing.settings
        day = closing.window.start // DAY
        if day != self._day:
            self._day, self._reported = day, 0
        self._windows += 1
        new = sorted(
            self._learn(_forms(closing.records), closing.window.start), key=lambda form: (-form.count, form.id)
        )
        if self._windows <= settings.warm_up_windows:
            return []
        room = max(0, min(settings.per_window, settings.per_day - self._reported))
        shown, left_out = new[:room], new[room:]
        self._reported += len(shown)
        return [_finding(self, closing, form, left_out if form is shown[-1] else []) for form in shown]

    def first_seen(self, template: str) -> int | None:
        """Start (ns UTC) of the window in which the scope first sent this template, None if it never did."""
        return self._first_seen.get(template)

    def state(self) -> dict[str, Any]:
        """Plain values; the registry by first window and id."""
        forms = sorted([start, id] for id, start in self._first_seen.items())
        return {"forms": forms, "windows": self._windows, "day": self._day, "reported": self._reported}

    def restore(self, state: Any) -> None:
        """The inverse of `state`, on a fresh judge."""
        self._first_seen = {id: start for start, id in state["forms"]}
        self._windows, self._day, self._reported = state["windows"], state["day"], state["reported"]

    def _learn(self, forms: dict[str, _Form], start: int) -> list[_Form]:
        new: list[_Form] = []
        for id, form in sorted(forms.items()):
            if id in self._first_seen:
                continue
            if len(self._first_seen) < CAPACITY:
                self._first_seen[id] = start
                new.append(form)
            elif OVERFLOW not in self._first_seen:
                self._first_seen[OVERFLOW] = start
                new.append(_overflow(form))
        return new


class _Form(msgspec.Struct):
    """One error form in one window, over all links."""

    id: str
    text: str
    count: int = 0
    links: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    examples: Counter[str] = msgspec.field(default_factory=Counter)


def _forms(records: Sequence[Record[Any]]) -> dict[str, _Form]:
    forms: dict[str, _Form] = {}
    for record in records:
        if record.kind in (LINK, MESSAGES):
            window: LinkWindow = read_window(record.payload)
            for id, text, count, example in window.forms:
                form = forms.setdefault(id, _Form(id, text))
                form.count += count
                form.examples[example] += count
                if record.kind == LINK:
                    form.links[window.source, window.destination] += count
    return forms


def _overflow(form: _Form) -> _Form:
    return msgspec.structs.replace(form, id=OVERFLOW, text=f"(more than {CAPACITY} forms) {form.text}")


def _finding(judge: FirstSeen, closing: Closing, form: _Form, left_out: list[_Form]) -> Finding:
    subject = {"scope": closing.scope, "template": form.id}
    return Finding(
        id=finding_id(judge.name, judge.version, closing.model, subject, closing.window),
        detector=judge.name,
        kind="new-template",
        subject=subject,
        window=closing.window,
        log10_p=None,
        basis="none",
        effect=Effect(float(form.count), "messages"),
        severity="info",
        summary=_summary(form),
        evidence=capped(_evidence(form, left_out)),
        model=closing.model,
    )


def _summary(form: _Form) -> str:
    text = form.text if len(form.text) <= SUMMARY else form.text[: SUMMARY - 1] + "…"
    times = "once" if form.count == 1 else f"{form.count} times"
    links = f" on {len(form.links)} link{'s' if len(form.links) > 1 else ''}" if form.links else ""
    return f"New error message, {times}{links}: {text}"


def _evidence(form: _Form, left_out: list[_Form]) -> list[Evidence]:
    blocks: list[Evidence] = [
        Texts("Message with its variables masked", [(form.text, form.count)]),
        Texts("Examples as sent", _top(form.examples, EXAMPLES)),
    ]
    if form.links:
        rows = [[source, destination, count] for (source, destination), count in _top(form.links, LINKS)]
        blocks.append(Table("Links with most of these messages", ["source", "destination", "messages"], rows))
    if left_out:
        title = f"{len(left_out)} more new messages in this window, above the cap"
        blocks.append(Table(title, ["message", "messages"], [[f.text, f.count] for f in left_out[:ALSO]]))
    return blocks


def _top(counts: Counter[Any], n: int) -> list[tuple[Any, int]]:
    """The `n` largest counts, ties in order of the key (`Counter.most_common` goes by insertion)."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:n]
