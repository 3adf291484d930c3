"""First-seen templates of an FTS instance: an error message whose masked form this scope has never sent before.

Judges the error forms in the records of stage 1 (links and bare messages).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from opintel.detector import Closing, Judge, Record
from opintel.evidence import Evidence, Table, Texts
from opintel.finding import Finding, Window
from opintel.fts.causes.facets import facet_table
from opintel.fts.judging.new_forms import FirstSeenSettings, NewForm, NewForms, Said, forms_of, new_form_finding
from opintel.fts.link_windows import LINK, MESSAGES, LinkWindow, read_window
from opintel.fts.texts.causes import SIDES, cause, headline, side

ALSO: Final = 20
"""Forms that are named in the evidence when the cap left them without a finding of their own."""
SUMMARY: Final = 160
"""Characters of the cause in a summary."""


class FirstSeen(Judge):
    """`Judge`: a finding of kind `new-template` for each form that the scope has not sent before, most frequent first.

    State: that of `NewForms`. A text with and without a side is one, for a state's reason may have the side where its
    completion has none.

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
        self.forms = NewForms(_with_and_without_a_side)

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of one window; windows come in order of time."""
        shown, left_out = self.forms.judge(forms_of(_said(closing.records)), closing.window, closing.settings)
        return [_finding(self, closing, form, left_out if form is shown[-1] else []) for form in shown]

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return self.forms.state()

    def restore(self, state: Any) -> None:
        """The inverse of `state`, on a fresh judge."""
        self.forms.restore(state)


def _said(records: Sequence[Record[Any]]) -> Iterator[Said]:
    for record in records:
        if record.kind in (LINK, MESSAGES):
            window: LinkWindow = read_window(record.payload)
            yield (window.source, window.destination) if record.kind == LINK else (), window.forms


def _with_and_without_a_side(text: str) -> list[str]:
    blamed = side(text)
    plain = text[len(blamed) :].lstrip()
    return [plain] if blamed else [f"{name} {plain}" for name in SIDES]


def _finding(judge: FirstSeen, closing: Closing, form: NewForm, left_out: list[NewForm]) -> Finding:
    said = _summary(form, closing.window)
    return new_form_finding(judge, closing, form, "messages", said, _evidence(form, left_out))


def _summary(form: NewForm, window: Window) -> str:
    return f"New error message, {form.often(window, 'on # link')}: {headline(form.text, SUMMARY)}"


def _evidence(form: NewForm, left_out: list[NewForm]) -> list[Evidence]:
    blocks: list[Evidence] = [
        Texts("Message with its variables masked", [(form.text, form.count)]),
        Texts("Examples as sent", form.examples),
        facet_table(form.examples),
    ]
    if form.places:
        rows: list[list[str | float | int | None]] = [list(link) for link in form.places]
        blocks.append(Table("Links with most of these messages", ["source", "destination", "messages"], rows))
    if left_out:
        title = f"{len(left_out)} more new messages, above the cap: told in later windows"
        also: list[list[str | float | int | None]] = [[cause(f.text), f.count] for f in left_out[:ALSO]]
        blocks.append(Table(title, ["message", "messages"], also))
    return blocks
