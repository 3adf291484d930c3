"""First-seen templates of an FTS instance: an error message whose masked form this scope has never sent before.

Judges the error forms in the records of stage 1 (links and bare messages). Such a finding has no p-value: it is a
fact with a rate cap, for the first days of an instance and a change of wording both bring many new forms at once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from opintel.detector import Closing, Judge, Most, Record
from opintel.evidence import Evidence, Table, Texts, capped
from opintel.finding import NS, Effect, Finding, Window, clock, finding_id
from opintel.fts.causes.facets import facet_table
from opintel.fts.link_windows import LINK, MESSAGES, LinkWindow, read_window
from opintel.fts.templates.merging import Merges, form_id
from opintel.fts.templates.miner import OVERFLOW
from opintel.fts.texts.causes import SIDES, cause, headline, side

CAPACITY: Final = 100_000
"""Forms that a scope's registry remembers; later ones count as one."""
MERGED: Final = 5_000
"""The first forms of a scope, among which variables that masking did not find are looked for."""
LINKS: Final = 10
EXAMPLES: Final = 3
ALSO: Final = 20
"""Forms that are named in the evidence when the cap left them without a finding of their own."""
WAITING: Final = 200
"""Forms above the caps that are kept, the most frequent; what is dropped is new when it comes again."""
SUMMARY: Final = 160
"""Characters of the cause in a summary."""
DAY: Final = 86_400 * NS


class FirstSeenSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Caps on the findings of one scope; what exceeds them waits for a window with room, the most frequent first."""

    per_window: Most = 10
    per_day: Most = 40
    """Per UTC day of the windows' start."""
    warm_up_windows: Most = 0
    """So many first windows are learned from and give no finding."""


class FirstSeen(Judge):
    """`Judge`: a finding of kind `new-template` for each form that the scope has not sent before, most frequent first.

    State: form → start of the window in which it was first seen, at most `CAPACITY` forms; the forms that wait. A text
    with and without a side is one, for a state's reason may have the side where its completion has none. A form that
    `merging` finds to be one with an earlier form is no news either, and its id an alias (`resolve`).

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
    version = 2
    Settings = FirstSeenSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        self._first_seen: dict[str, int] = {}
        self._windows = 0
        self._day = 0
        self._reported = 0
        self._waiting: dict[str, _Form] = {}
        self._merges = Merges()
        self._texts: list[str] = []
        """Of the forms that may merge, in order."""

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of one window; windows come in order of time."""
        settings: FirstSeenSettings = closing.settings
        day = closing.window.start // DAY
        if day != self._day:
            self._day, self._reported = day, 0
        self._windows += 1
        new = self._learn(_forms(closing.records), closing.window.start)
        if self._windows <= settings.warm_up_windows:
            return []
        queue = sorted([*self._waiting.values(), *new], key=lambda form: (-form.count, form.id))
        room = max(0, min(settings.per_window, settings.per_day - self._reported))
        shown, left_out = queue[:room], queue[room:]
        self._reported += len(shown)
        self._waiting = {form.id: form for form in left_out[:WAITING]}
        for form in left_out[WAITING:]:
            self._first_seen.pop(form.id, None)
        return [_finding(self, closing, form, left_out if form is shown[-1] else []) for form in shown]

    def first_seen(self, template: str) -> int | None:
        """Start (ns UTC) of the window in which the scope first sent this template, None if it never did."""
        return self._first_seen.get(template)

    def resolve(self, template: str) -> str:
        """Today's id of a template: that of the earliest form with which it is one, else itself."""
        return self._merges.root(template)

    def state(self) -> dict[str, Any]:
        """Plain values; the registry by first window and id."""
        forms = sorted([start, id] for id, start in self._first_seen.items())
        waiting = [form.plain() for _, form in sorted(self._waiting.items())]
        return {
            "forms": forms,
            "windows": self._windows,
            "day": self._day,
            "reported": self._reported,
            "waiting": waiting,
            "texts": list(self._texts),
        }

    def restore(self, state: Any) -> None:
        """The inverse of `state`, on a fresh judge."""
        self._first_seen = {id: start for start, id in state["forms"]}
        self._windows, self._day, self._reported = state["windows"], state["day"], state["reported"]
        waiting = [msgspec.convert(form, _Form) for form in state.get("waiting", [])]  # an earlier state has neither
        self._waiting = {form.id: form for form in waiting}
        self._texts = list(state.get("texts", []))
        for text in self._texts:
            self._merges.add(form_id(text), text)

    def _learn(self, forms: dict[str, _Form], start: int) -> list[_Form]:
        new: list[_Form] = []
        for id, form in sorted(forms.items(), key=lambda item: (side(item[1].text) != "", item[0])):
            if id in self._waiting:
                self._waiting[id].join(form)
            elif any(same in self._first_seen for same in _same(form)):
                continue
            elif len(self._first_seen) < CAPACITY:
                form.start = start
                self._first_seen[id] = start
                if not self._is_known(form):
                    new.append(form)
            elif OVERFLOW not in self._first_seen:
                self._first_seen[OVERFLOW] = start
                new.append(_overflow(form, start))
        return new

    def _is_known(self, form: _Form) -> bool:
        """Whether a form is one with an earlier one."""
        if len(self._merges) < MERGED and form.id not in self._merges:
            self._merges.add(form.id, form.text)
            self._texts.append(form.text)
        return self._merges.root(form.id) != form.id


class _Form(msgspec.Struct, array_like=True):
    """One error form over all links: in one window, or since it was first seen while it waits."""

    id: str
    text: str
    start: int = 0
    """Of the window in which it was first seen."""
    count: int = 0
    on: int = 0
    """Links."""
    links: list[tuple[str, str, int]] = []
    """(source, destination, messages), most frequent first, at most `LINKS`."""
    examples: list[tuple[str, int]] = []
    """(text, messages), most frequent first, at most `EXAMPLES`."""

    def plain(self) -> list[Any]:
        lists = [[list(item) for item in items] for items in (self.links, self.examples)]
        return [self.id, self.text, self.start, self.count, self.on, *lists]

    def join(self, later: _Form) -> None:
        """Counts a later window's."""
        self.count += later.count
        self.on = max(self.on, later.on)
        links = Counter({(source, destination): count for source, destination, count in self.links})
        links.update({(source, destination): count for source, destination, count in later.links})
        self.links = [(source, destination, count) for (source, destination), count in _top(links, LINKS)]
        self.examples = _top(Counter(dict(self.examples)) + Counter(dict(later.examples)), EXAMPLES)


def _same(form: _Form) -> list[str]:
    """Ids of the form itself, and of the same text with and without a side."""
    blamed = side(form.text)
    plain = form.text[len(blamed) :].lstrip()
    texts = [plain] if blamed else [f"{name} {plain}" for name in SIDES]
    return [form.id, *map(form_id, texts)]


def _forms(records: Sequence[Record[Any]]) -> dict[str, _Form]:
    forms: dict[str, _Form] = {}
    links: defaultdict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    examples: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        if record.kind in (LINK, MESSAGES):
            window: LinkWindow = read_window(record.payload)
            for id, text, count, example in window.forms:
                forms.setdefault(id, _Form(id, text)).count += count
                examples[id][example] += count
                if record.kind == LINK:
                    links[id][window.source, window.destination] += count
    for id, form in forms.items():
        form.on = len(links[id])
        form.links = [(source, destination, count) for (source, destination), count in _top(links[id], LINKS)]
        form.examples = _top(examples[id], EXAMPLES)
    return forms


def _overflow(form: _Form, start: int) -> _Form:
    return msgspec.structs.replace(form, id=OVERFLOW, start=start, text=f"(more than {CAPACITY} forms) {form.text}")


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
        summary=_summary(form, closing.window),
        evidence=capped(_evidence(form, left_out)),
        model=closing.model,
    )


def _summary(form: _Form, window: Window) -> str:
    times = "once" if form.count == 1 else f"{form.count} times"
    links = f" on {form.on} link{'s' if form.on > 1 else ''}" if form.on else ""
    since = f" since {clock(form.start, window.end)}" if form.start < window.start else ""
    return f"New error message, {times}{links}{since}: {headline(form.text, SUMMARY)}"


def _evidence(form: _Form, left_out: list[_Form]) -> list[Evidence]:
    blocks: list[Evidence] = [
        Texts("Message with its variables masked", [(form.text, form.count)]),
        Texts("Examples as sent", form.examples),
        facet_table(form.examples),
    ]
    if form.links:
        rows: list[list[str | float | int | None]] = [list(link) for link in form.links]
        blocks.append(Table("Links with most of these messages", ["source", "destination", "messages"], rows))
    if left_out:
        title = f"{len(left_out)} more new messages, above the cap: told in later windows"
        also: list[list[str | float | int | None]] = [[cause(f.text), f.count] for f in left_out[:ALSO]]
        blocks.append(Table(title, ["message", "messages"], also))
    return blocks


def _top(counts: Counter[Any], n: int) -> list[tuple[Any, int]]:
    """The `n` largest counts, ties in order of the key (`Counter.most_common` goes by insertion)."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:n]
