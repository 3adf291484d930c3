"""The template miner: error messages in, one template id a message out, with counts, examples and merges.

A template is a masked form (`opintel.fts.masking`); its id needs no state. Forms that differ in a single word which
varies like a name (`rack A8`, `rack B2`, …) are merged by a rule that looks at the set of known forms only, so the
partition does not depend on how messages were split into calls, nor, below the capacity, on their order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec

from opintel.fts.masking import form_id, mask

OVERFLOW: Final = "t-overflow"
"""The id that all new forms share once the miner knows its maximum."""


class Template(msgspec.Struct, frozen=True):
    """One template with all forms that were merged into it."""

    id: str
    text: str
    """The masked form; `<*>` where merged forms differ."""
    count: int
    examples: tuple[str, ...]
    """The first messages as they came, cut to `EXAMPLE` characters."""
    first_seen: float | None
    last_seen: float | None
    """Smallest and largest time given, in the caller's unit; None where no times were given."""


EXAMPLES: Final = 3
EXAMPLE: Final = 300


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
        self._by_text: dict[str, _Form] = {}
        self._merges = _Merges()

    def assign(self, messages: Sequence[str], times: Sequence[float] | None = None) -> list[str]:
        """The template id of each message. `times`, where given, has one entry a message, else ValueError."""
        if times is not None and len(times) != len(messages):
            raise ValueError(f"{len(messages)} messages and {len(times)} times")
        ids: list[str] = []
        for at, message in enumerate(messages):
            text = mask(message)
            form = self._by_text.get(text) or self._new(text)
            form.count += 1
            if len(form.examples) < EXAMPLES and message[:EXAMPLE] not in form.examples:
                form.examples.append(message[:EXAMPLE])
            if times is not None:
                form.saw(times[at])
            ids.append(form.id)
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
            text=_common_text([form.text for form in members]),
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
            form = self._new(text)
            form.count, form.examples = count, list(examples)
            form.first_seen, form.last_seen = first_seen, last_seen

    def _new(self, text: str) -> _Form:
        id = form_id(text)
        if id in self._forms:  # two texts, one hash
            return self._forms[id]
        if len(self._forms) >= self._capacity or text == _OVERFLOW_TEXT:
            if OVERFLOW not in self._forms:
                self._forms[OVERFLOW] = _Form(OVERFLOW, _OVERFLOW_TEXT)
            return self._forms[OVERFLOW]
        form = self._forms[id] = self._by_text[text] = _Form(id, text)
        self._merges.add(id, text)
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


_NAMES: Final = 3
"""So many values of a word with letters and digits (`eth0`) in one frame, and the word is a variable."""
_WORDS: Final = 10
"""The same for a word of letters: more, for `connect`, `recv`, `send` in one frame are different causes."""
_WORDS_FRAME: Final = 3
"""Literal words that a frame needs around a variable word of letters."""
_POSITIONS: Final = 40


class _Merges:
    """Union-find over forms: forms with the same frame (all words but one) merge when the frame's values are many.

    Monotone: more forms only merge more, so the partition is a function of the set of forms.
    """

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}
        self._members: dict[str, list[str]] = {}
        self._frames: dict[int, list[str]] = {}
        self._order: dict[str, int] = {}

    def add(self, id: str, text: str) -> None:
        self._order[id] = len(self._order)
        words = text.split(" ")
        literal = sum(word.isalpha() for word in words)
        for at, word in enumerate(words[:_POSITIONS]):
            needed = _values_needed(word)
            if needed == _WORDS and literal <= _WORDS_FRAME:
                continue
            if needed:
                frame = "\x00".join([str(needed), *words[:at], "", *words[at + 1 :]])
                key = hashlib.blake2b(frame.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                same = self._frames.setdefault(int.from_bytes(key, "big"), [])
                same.append(id)
                if len(same) == needed:
                    for other in same[1:]:
                        self._union(same[0], other)
                elif len(same) > needed:
                    self._union(same[0], id)
                    same.pop()  # its root stands for it

    def root(self, id: str) -> str:
        while id in self._parent:
            id = self._parent[id]
        return id

    def members(self, root: str) -> list[str]:
        """In order of first appearance."""
        return sorted(self._members.get(root, [root]), key=lambda id: self._order.get(id, 0))

    def _union(self, one: str, other: str) -> None:
        first, second = sorted((self.root(one), self.root(other)), key=self._order.__getitem__)
        if first != second:
            self._parent[second] = first
            self._members[first] = self._members.get(first, [first]) + self._members.pop(second, [second])


def _values_needed(word: str) -> int:
    """How many values of a word like this make it a variable; 0 for never: placeholders, codes, punctuation."""
    if "<" in word:
        return 0
    core = word.strip("[](){}:;,.'\"")
    if core.isalpha():
        return _WORDS
    for before, after in pairwise(core):
        if (before.isalpha() and after.isdigit()) or (before.isdigit() and after.isalpha()):
            return _NAMES
    return 0


def _common_text(texts: list[str]) -> str:
    if len(texts) == 1:
        return texts[0]
    columns = zip(*(text.split(" ") for text in texts), strict=True)
    return " ".join(values[0] if len(set(values)) == 1 else "<*>" for values in columns)
