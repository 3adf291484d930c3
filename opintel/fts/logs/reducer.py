"""Stage 1 of logs: lines by source in, the forms of a source's lines in a window out.

A form is a line with its variables masked: by the stream's own masks first, then as `opintel.fts.texts.masking` does
it. Records go to the judge in parts, so that a window with many forms fits into the log.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
import numpy as np

from opintel.detector import Record, Reduced, Reducer, WindowRows
from opintel.fts.logs.wire import LogLine
from opintel.fts.templates.merging import form_id
from opintel.fts.texts.expressions import expression
from opintel.fts.texts.masking import mask

SCOPE: Final = "logs"
"""What is judged as one: all sources of a stream."""
FORMS: Final = "forms"
"""Kind of record."""
PART: Final = 100
"""Forms in one record."""
MOST: Final = 2000
"""Forms of a source and window that are told, the most frequent; the others are counted."""
EXAMPLE: Final = 300
"""Characters of an example."""
_NAME = re.compile(r"[A-Z]{1,16}")
_PATTERN: Final = 500
"""Characters of a mask's pattern."""
_PROGRAM: Final = 4000
"""Instructions of it, compiled: one of more fills RE2's memory with a text of 1 kB, again and again."""


class LogMask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A variable of a site's own logs: what the pattern finds becomes `<NAME>`.

    Raises ValueError, `KEY: what is wrong`, for a name that is no placeholder and a pattern that RE2 refuses.
    """

    name: str
    pattern: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name: expected 1 to 16 capital letters, got {self.name!r}")
        if len(self.pattern) > _PATTERN:
            raise ValueError(f"pattern: expected at most {_PATTERN} characters, got {len(self.pattern)}")
        try:
            compiled = expression(self.pattern)
        except Exception as error:
            raise ValueError(f"pattern: expected a regular expression of RE2, got {self.pattern!r}: {error}") from error
        if compiled.programsize > _PROGRAM:
            raise ValueError(f"pattern: expected one without large repetitions, got {self.pattern!r}")
        if compiled.search("") is not None:
            raise ValueError(f"pattern: expected one that finds no empty text, got {self.pattern!r}")


class FormSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How lines become forms."""

    masks: tuple[LogMask, ...] = ()
    """In this order, before the masks for all texts."""


class SourceForms(msgspec.Struct, array_like=True):
    """The forms of one source in one window, or a part of them."""

    source: str
    forms: list[tuple[str, str, int, str]]
    """(template id, form, lines, one example), most frequent first."""
    other_forms: int = 0
    """Lines whose form did not fit; in the first part."""


class LogReducer(Reducer[LogLine]):
    """`Reducer[LogLine]`: without state; the example of a form is its earliest line.

    >>> from opintel.detector import Controls
    >>> from opintel.finding import Window
    >>> from opintel.fts.logs.wire import LogLines
    >>> from opintel.rows import Batch, Row
    >>> rows = Batch.of([Row("a", n, n, LogLine(f"job j{n} done in 900{n} ms")) for n in range(3)], LogLines)
    >>> settings = FormSettings((LogMask("JOB", "j[0-9]+"),))
    >>> closing = WindowRows(Window(0, 60), rows, rows.cut(0, 0), Controls(), settings, {})
    >>> [record.payload.forms for record in LogReducer().close(closing).records]
    [[('t-cbe891940b6b', 'job <JOB> done in <TIME>', 3, 'job j0 done in 9000 ms')]]
    """

    name = "logs.forms"
    version = 1
    Settings = FormSettings

    def close(self, closing: WindowRows[LogLine]) -> Reduced:
        """The forms of each source with lines in the window."""
        text = closing.rows.payload.text
        settings: FormSettings = closing.settings
        forms = _forms(text.values, settings.masks)
        records = []
        for source, first, end in closing.rows.spans():
            for n, part in enumerate(_parts(source, text.code[first:end], text.values, forms)):
                records.append(Record(closing.window, FORMS, f"{source}#{n}" if n else source, SCOPE, part))
        return Reduced(sorted(records, key=lambda record: record.key))

    def scope(self, key: str) -> str:
        """All sources are one."""
        return SCOPE


def _parts(source: str, code: Any, texts: Sequence[str], forms: Sequence[tuple[str, str]]) -> Iterator[SourceForms]:
    """The forms of these rows, which are in order of time."""
    here, first, counts = np.unique(code, return_index=True, return_counts=True)
    found: dict[str, tuple[str, int, str]] = {}
    for at in np.argsort(first, kind="stable").tolist():
        of, count = int(here[at]), int(counts[at])
        id, form = forms[of]
        before = found.get(id)
        if before is None:
            found[id] = (form, count, texts[of][:EXAMPLE])
        else:
            found[id] = (before[0], before[1] + count, before[2])
    ranked = sorted(((id, *said) for id, said in found.items()), key=lambda form: (-form[2], form[0]))
    others = sum(count for _, _, count, _ in ranked[MOST:])
    for start in range(0, min(len(ranked), MOST), PART):
        yield SourceForms(source, ranked[start : min(start + PART, MOST)], 0 if start else others)


def _forms(texts: Sequence[str], masks: tuple[LogMask, ...]) -> list[tuple[str, str]]:
    """(template id, form) of each text."""
    own = _compiled(masks)
    found = []
    for text in texts:
        for pattern, placeholder in own:
            text = pattern.sub(placeholder, text)
        form = mask(text)
        found.append((form_id(form), form))
    return found


@lru_cache(maxsize=16)
def _compiled(masks: tuple[LogMask, ...]) -> list[tuple[Any, str]]:
    return [(expression(mask.pattern), f"<{mask.name}>") for mask in masks]
