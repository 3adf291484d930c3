"""Which forms of text a scope has not sent before, told within caps: what judges of new error messages and new lines of
a log have in common.

Such news has no p-value: it is a fact with a rate cap, for the first days of a stream and a change of wording both
bring many new forms at once. What exceeds the cap waits, the most frequent first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from opintel.detector import Closing, Judge, Most
from opintel.evidence import Evidence, capped
from opintel.finding import NS, Effect, Finding, Window, clock, finding_id
from opintel.fts.templates.merging import Merges, form_id
from opintel.fts.templates.miner import OVERFLOW

CAPACITY: Final = 100_000
"""Forms that a scope's registry remembers; later ones count as one."""
MERGED: Final = 5_000
"""The first forms of a scope, among which variables that masking did not find are looked for."""
PLACES: Final = 10
EXAMPLES: Final = 3
WAITING: Final = 200
"""Forms above the caps that are kept, the most frequent; what is dropped is new when it comes again."""
DAY: Final = 86_400 * NS
Place = tuple[str, ...]
"""Where a form was seen: the ends of a link, the source of a log."""
Said = tuple[Place, Iterable[tuple[str, str, int, str]]]
"""A place, () where there is none, and its forms in a window: (template id, form, messages, one example)."""


class FirstSeenSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Caps on the findings of one scope; what exceeds them waits for a window with room, the most frequent first."""

    per_window: Most = 10
    per_day: Most = 40
    """Per UTC day of the windows' start."""
    warm_up_windows: Most = 0
    """So many first windows are learned from and give no finding."""


class NewForm(msgspec.Struct, array_like=True):
    """One form over all places: in one window, or since it was first seen while it waits."""

    id: str
    text: str
    start: int = 0
    """Of the window in which it was first seen."""
    count: int = 0
    on: int = 0
    """Places."""
    places: list[tuple[Any, ...]] = []
    """(what names the place …, messages), most frequent first, at most `PLACES`."""
    examples: list[tuple[str, int]] = []
    """(text, messages), most frequent first, at most `EXAMPLES`."""

    def plain(self) -> list[Any]:
        """As a state keeps it."""
        lists = [[list(item) for item in items] for items in (self.places, self.examples)]
        return [self.id, self.text, self.start, self.count, self.on, *lists]

    def join(self, later: NewForm) -> None:
        """Counts a later window's."""
        self.count += later.count
        self.on = max(self.on, later.on)
        places = Counter({place: count for *name, count in self.places for place in [tuple(name)]})
        places.update({place: count for *name, count in later.places for place in [tuple(name)]})
        self.places = _ranked(places)
        self.examples = _top(Counter(dict(self.examples)) + Counter(dict(later.examples)), EXAMPLES)

    def often(self, window: Window, place: str) -> str:
        """How often it came and where, in words: `, 5 times on 2 links since 12:10`; `place` has its preposition."""
        times = "once" if self.count == 1 else f"{self.count} times"
        places = f" {place}{'s' if self.on > 1 else ''}" if self.on else ""
        since = f" since {clock(self.start, window.end)}" if self.start < window.start else ""
        return times + places.replace("#", str(self.on)) + since


def forms_of(said: Iterable[Said]) -> dict[str, NewForm]:
    """The forms of one window over all places, by id."""
    forms: dict[str, NewForm] = {}
    places: defaultdict[str, Counter[Place]] = defaultdict(Counter)
    examples: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for place, seen in said:
        for id, text, count, example in seen:
            forms.setdefault(id, NewForm(id, text)).count += count
            examples[id][example] += count
            if place:
                places[id][place] += count
    for id, form in forms.items():
        form.on = len(places[id])
        form.places = _ranked(places[id])
        form.examples = _top(examples[id], EXAMPLES)
    return forms


class NewForms:
    """The registry of a scope: form → start of the window in which it was first seen, at most `CAPACITY` forms, and
    the forms that wait. A form that `merging` finds to be one with an earlier form is no news, and its id an alias.

    `same` names the texts that are one with a form's, besides itself.

    >>> registry = NewForms()
    >>> seen = [((), [("f1", "disk full", 2, "disk full"), ("f2", "no answer", 1, "no answer")])]
    >>> shown, waiting = registry.judge(forms_of(seen), Window(0, 60), FirstSeenSettings(per_window=1))
    >>> [form.text for form in shown], [form.text for form in waiting]
    (['disk full'], ['no answer'])
    """

    def __init__(self, same: Callable[[str], Sequence[str]] = lambda text: ()) -> None:
        self._same = same
        self._first_seen: dict[str, int] = {}
        self._windows = 0
        self._day = 0
        self._reported = 0
        self._waiting: dict[str, NewForm] = {}
        self._merges = Merges()
        self._texts: list[str] = []
        """Of the forms that may merge, in order."""

    def judge(
        self, forms: dict[str, NewForm], window: Window, settings: FirstSeenSettings
    ) -> tuple[list[NewForm], list[NewForm]]:
        """(forms to be told of now, forms that wait), the most frequent first; windows come in order of time."""
        day = window.start // DAY
        if day != self._day:
            self._day, self._reported = day, 0
        self._windows += 1
        new = self._learn(forms, window.start)
        if self._windows <= settings.warm_up_windows:
            return [], []
        queue = sorted([*self._waiting.values(), *new], key=lambda form: (-form.count, form.id))
        room = max(0, min(settings.per_window, settings.per_day - self._reported))
        shown, left_out = queue[:room], queue[room:]
        self._reported += len(shown)
        self._waiting = {form.id: form for form in left_out[:WAITING]}
        for form in left_out[WAITING:]:
            self._first_seen.pop(form.id, None)
        return shown, left_out

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
        """The inverse of `state`, on a fresh registry."""
        self._first_seen = {id: start for start, id in state["forms"]}
        self._windows, self._day, self._reported = state["windows"], state["day"], state["reported"]
        waiting = [msgspec.convert(form, NewForm) for form in state.get("waiting", [])]  # an earlier state has neither
        self._waiting = {form.id: form for form in waiting}
        self._texts = list(state.get("texts", []))
        for text in self._texts:
            self._merges.add(form_id(text), text)

    def _learn(self, forms: dict[str, NewForm], start: int) -> list[NewForm]:
        new: list[NewForm] = []
        others = {id: [form_id(text) for text in self._same(form.text)] for id, form in forms.items()}
        # what may be either of two comes before what says which: a text without a side before one with it
        for id, form in sorted(forms.items(), key=lambda item: (-len(others[item[0]]), item[0])):
            if id in self._waiting:
                self._waiting[id].join(form)
            elif id in self._first_seen or any(same in self._first_seen for same in others[id]):
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

    def _is_known(self, form: NewForm) -> bool:
        """Whether a form is one with an earlier one."""
        if len(self._merges) < MERGED and form.id not in self._merges:
            self._merges.add(form.id, form.text)
            self._texts.append(form.text)
        return self._merges.root(form.id) != form.id


def new_form_finding(
    judge: Judge, closing: Closing, form: NewForm, unit: str, summary: str, evidence: Sequence[Evidence]
) -> Finding:
    """The finding of kind `new-template` about a form that came so often; `unit`: of what is counted."""
    subject = {"scope": closing.scope, "template": form.id}
    return Finding(
        id=finding_id(judge.name, judge.version, closing.model, subject, closing.window),
        detector=judge.name,
        kind="new-template",
        subject=subject,
        window=closing.window,
        log10_p=None,
        basis="none",
        effect=Effect(float(form.count), unit),
        severity="info",
        summary=summary,
        evidence=capped(evidence),
        model=closing.model,
    )


def _overflow(form: NewForm, start: int) -> NewForm:
    return msgspec.structs.replace(form, id=OVERFLOW, start=start, text=f"(more than {CAPACITY} forms) {form.text}")


def _ranked(places: Counter[Place]) -> list[tuple[Any, ...]]:
    return [(*place, count) for place, count in _top(places, PLACES)]


def _top(counts: Counter[Any], n: int) -> list[tuple[Any, int]]:
    """The `n` largest counts, ties in order of the key (`Counter.most_common` goes by insertion)."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:n]
