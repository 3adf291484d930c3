"""`Judge` of logs: a finding for each form of line that a stream has not seen before."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from opintel.detector import Closing, Judge, Most
from opintel.evidence import Evidence, Table, Texts
from opintel.finding import Finding
from opintel.fts.judging.new_forms import FirstSeenSettings, NewForm, NewForms, forms_of, new_form_finding
from opintel.fts.logs.reducer import FORMS, SourceForms

SUMMARY: Final = 160
"""Characters of a form in a summary."""


class NewLinesSettings(FirstSeenSettings, forbid_unknown_fields=True, frozen=True):
    """Caps on the findings of a stream; what exceeds them waits for a window with room, the most frequent first."""

    per_window: Most = 1000
    per_day: Most = 10_000


class NewLines(Judge):
    """`Judge`: a finding of kind `new-template` for each form of line that no source of the stream has sent before,
    most frequent first. Its ids are those of `TemplateMiner`. State: that of `NewForms`.

    >>> from opintel.detector import Controls, Record
    >>> from opintel.finding import Window
    >>> window = Window(0, 60)
    >>> said = SourceForms("web1", [("f1", "disk <NUM> full", 2, "disk 10001 full")])
    >>> records, judge = [Record(window, FORMS, "web1", "logs", said)], NewLines()
    >>> closing = Closing(window, "logs", records, Controls(), NewLinesSettings(), "", complete=True)
    >>> [finding.summary for finding in judge.judge(closing)], judge.judge(closing)
    (['New form of line, 2 times in 1 source: disk <NUM> full'], [])
    """

    name = "logs.templates"
    version = 1
    Settings = NewLinesSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        self.forms = NewForms()

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of one window; windows come in order of time."""
        said = [msgspec.convert(r.payload, SourceForms) for r in closing.records if r.kind == FORMS]
        forms = forms_of(((one.source,), one.forms) for one in said)
        shown, _ = self.forms.judge(forms, closing.window, closing.settings)
        return [_finding(self, closing, form) for form in shown]

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return self.forms.state()

    def restore(self, state: Any) -> None:
        """The inverse of `state`, on a fresh judge."""
        self.forms.restore(state)


def _finding(judge: NewLines, closing: Closing, form: NewForm) -> Finding:
    text = form.text if len(form.text) <= SUMMARY else form.text[: SUMMARY - 1] + "…"
    said = f"New form of line, {form.often(closing.window, 'in # source')}: {text}"
    return new_form_finding(judge, closing, form, "lines", said, _evidence(form))


def _evidence(form: NewForm) -> list[Evidence]:
    rows: list[list[str | float | int | None]] = [list(place) for place in form.places]
    return [
        Texts("Line with its variables masked", [(form.text, form.count)]),
        Texts("Examples", form.examples),
        Table("Sources with most of these lines", ["source", "lines"], rows),
    ]
