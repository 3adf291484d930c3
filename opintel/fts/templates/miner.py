"""The template miner: messages in, one template id a message out, with counts, examples and merges.

A template is a masked form (`opintel.fts.texts.masking`), or several that `merging` has merged; an id needs no state.
Masking is what costs, so a message that came before, character by character, is looked up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from opintel.fts.templates.merging import ANY, Merges, common_text, form_id
from opintel.fts.texts.credentials import redact
from opintel.fts.texts.masking import first_word, mask

OVERFLOW: Final = "t-overflow"
"""The id that all new forms share once the miner knows its maximum."""


class Template(msgspec.Struct, frozen=True):
    """One template with all forms that were merged into it."""

    id: str
    text: str
    """The masked form; `<*>` where merged forms differ."""
    count: int
    examples: tuple[str, ...]
    """The first messages as they came, cut to `EXAMPLE` characters, secrets replaced."""
    first_seen: float | None
    last_seen: float | None
    """Smallest and largest time given, in the caller's unit; None where no times were given."""


EXAMPLES: Final = 3
EXAMPLE: Final = 300
KNOWN: Final = 20_000
"""Messages that are looked up."""
LOOKED_AT: Final = 1024
"""Characters of a message that may be looked up, and from which an example is taken."""


class TemplateMiner:
    """Online template mining with bounded memory: at most `capacity` forms, none is ever evicted.

    Assumes that masking finds nearly all variables (see `masking`); what it misses is merged once enough values of one
    word have been seen. Fails on messages whose variables change the number of words.

    >>> miner = TemplateMiner()
    >>> a, b = miner.assign(["error 451 on se1.cern.ch:2811", "error 451 on se2.cern.ch:2811"])
    >>> a == b, miner.template(a).text, miner.template(a).count
    (True, 'error 451 on <HOST>', 2)
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._forms: dict[str, _Form] = {}
        self._merges = Merges()
        self._first_words: set[str] = {ANY}
        """Of the forms, and what stands for those of which it does not follow from the message's first word."""
        self._known: dict[str, _Form] = {}
        """Form by message; starts over when it is full."""

    def assign(self, messages: Sequence[str], times: Sequence[float] | None = None) -> list[str]:
        """The template id of each message. `times`, where given, has one entry a message, else ValueError."""
        if times is not None and len(times) != len(messages):
            raise ValueError(f"{len(messages)} messages and {len(times)} times")
        known, ids = self._known, []
        for message in messages:
            form = known.get(message)
            if form is None:
                form = self._met(message)
            form.count += 1
            ids.append(form.id)
        if times is not None:
            for id, time in zip(ids, times, strict=True):
                self._forms[id].saw(time)
        return ids

    def resolve(self, id: str) -> str:
        """Today's id of a template: the earliest form it has been merged with, else `id` itself."""
        return self._merges.root(id)

    def template(self, id: str) -> Template:
        """The template that `id` belongs to today. Raises KeyError for an id that was never assigned."""
        if id not in self._forms:
            raise KeyError(f"no template {id!r}")
        root = self._merges.root(id)
        members = [self._forms[member] for member in self._merges.members(root)]
        first = [form.first_seen for form in members if form.first_seen is not None]
        last = [form.last_seen for form in members if form.last_seen is not None]
        return Template(
            id=root,
            text=common_text([form.text for form in members]),
            count=sum(form.count for form in members),
            examples=tuple([example for form in members for example in form.examples][:EXAMPLES]),
            first_seen=min(first, default=None),
            last_seen=max(last, default=None),
        )

    def state(self) -> dict[str, Any]:
        """A snapshot as plain data; the merges follow from the forms."""
        forms = [[f.text, f.count, list(f.examples), f.first_seen, f.last_seen] for f in self._forms.values()]
        return {"format": 1, "capacity": self._capacity, "forms": forms}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`, on a fresh miner."""
        if state["format"] != 1:
            raise ValueError(f"template state of format {state['format']!r}, this code reads 1")
        self._capacity = state["capacity"]
        for text, count, examples, first_seen, last_seen in state["forms"]:
            form = self._form(text)
            form.count, form.examples = count, list(examples)
            form.first_seen, form.last_seen = first_seen, last_seen

    def _met(self, message: str) -> _Form:
        """The form of a message that is not known."""
        if len(self._forms) >= self._capacity and (first_word(message) or ANY) not in self._first_words:
            form = self._form(_OVERFLOW_TEXT)  # no known form begins so, and there is no room for a new one
        else:
            form = self._form(mask(message))
        if len(form.examples) < EXAMPLES:
            example = redact(message[:LOOKED_AT])[:EXAMPLE]
            if example not in form.examples:
                form.examples.append(example)
        if len(message) <= LOOKED_AT:
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._known[message] = form
        return form

    def _form(self, text: str) -> _Form:
        id = OVERFLOW if text == _OVERFLOW_TEXT else form_id(text)
        form = self._forms.get(id)
        if form is None and (id == OVERFLOW or len(self._forms) >= self._capacity):
            form = self._forms.setdefault(OVERFLOW, _Form(OVERFLOW, _OVERFLOW_TEXT))
        elif form is None:
            form = self._forms[id] = _Form(id, text)
            self._merges.add(id, text)
            self._first_words.add(text.partition(" ")[0])
        return form


_OVERFLOW_TEXT: Final = "(forms beyond the capacity)"


class _Form:
    __slots__ = ("count", "examples", "first_seen", "id", "last_seen", "text")

    def __init__(self, id: str, text: str) -> None:
        self.id = id
        self.text = text
        self.count = 0
        self.examples: list[str] = []
        self.first_seen: float | None = None
        self.last_seen: float | None = None

    def saw(self, time: float) -> None:
        self.first_seen = time if self.first_seen is None else min(self.first_seen, time)
        self.last_seen = time if self.last_seen is None else max(self.last_seen, time)
