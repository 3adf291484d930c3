"""Which forms are one template: what masking leaves over is merged by rules that look at the set of forms only.

Two rules. Stateless: words that hold a placeholder are alike (`<HOST>,` and `LOCAL(<NUM>),` in one place are one
variable), so `skeleton` has one mark for all of them, and a template's id is a hash of that. By the set: forms with
the same frame, all words but one, are one template once that word has shown enough values. More forms only merge
more, so the partition depends neither on the order of forms nor on how they came. The template miner and the judge of
new messages both merge so.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from itertools import pairwise
from operator import mul
from typing import Final

ANY: Final = "<*>"
"""A word that varies."""

_NAMES: Final = 3
"""So many values of a word with letters and digits (`eth0`) in one frame, and the word is a variable."""
_WORDS: Final = 10
"""The same for a word of letters: more, for `connect`, `recv`, `send` in one frame are different causes."""
_WORDS_FRAME: Final = 3
"""Literal words that a frame needs around a variable word of letters."""
_POSITIONS: Final = 40
"""Words of a form that are looked at."""
_VARIABLES: Final = 3
"""Words of a form that may be found to vary so."""

_FUNCTION_WORDS: Final = (
    "a an and are as at be been but by can could did does for from had has have if in into is it its no not of on or "
    "over than that the their then there this to too until was were while will with"
)
_GRAMMAR: Final = frozenset(_FUNCTION_WORDS.split(" "))
"""Words that never vary like a name."""
_PLACES: Final = [pow(0x9E3779B97F4A7C15, place, (1 << 61) - 1) for place in range(1, 513)]
_HASH_OF_ANY: Final = hash(ANY)
"""Words are told apart by Python's keyed hash and their place, so that the hash of a frame is one sum away from that of
its form. Within a process only: nothing of it is kept."""

_KEY = re.compile(r"[^<=:]*=|[^<=:0-9]*:")
_SAYS_MORE = re.compile(r"(?<![A-Za-z0-9<])[0-9]+(?![A-Za-z0-9>])|>[:;,][A-Za-z]{3}")
"""In a word with a placeholder: a code, which masking left, or a word of its own."""


def skeleton(form: str) -> str:
    """A form with one mark for whatever kind of placeholder a word holds, and for several such words in a row.

    >>> skeleton("synchronized to <HOST>, stratum <NUM>"), skeleton("args: <PATH> <HOST>, rhost=<HOST>")
    ('synchronized to <*> stratum <*>', 'args: <*> rhost=<*>')
    """
    if "<" not in form:
        return form
    words: list[str] = []
    for word in form.split(" "):
        if "<" in word and _SAYS_MORE.search(word) is None:
            key = _KEY.match(word)
            word = ANY if key is None else key.group() + ANY
            if word == ANY and words and words[-1].endswith(ANY):
                continue
        words.append(word)
    return " ".join(words)


@lru_cache(maxsize=1 << 14)
def form_id(form: str) -> str:
    """The template id of a form: a hash that needs no state, hence the same in every process and on every machine.

    >>> form_id("TRANSFER Operation timed out")
    't-2607ad02aa73'
    """
    return "t-" + hashlib.blake2b(skeleton(form).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


class Merges:
    """An alias table: union-find over the ids of forms. Memory grows with the forms; who adds them bounds their number.

    >>> merges = Merges()
    >>> for n in range(3):
    ...     merges.add(f"t-{n}", f"no answer from rack C{n} today")
    >>> merges.root("t-2"), merges.members("t-0")
    ('t-0', ['t-0', 't-1', 't-2'])
    """

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}
        self._members: dict[str, list[str]] = {}
        self._frames: dict[int, tuple[int, str] | dict[int, str]] = {}
        """Frame → the forms with it, as many as it takes; nearly all have one."""
        self._order: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, id: str) -> bool:
        return id in self._order

    def add(self, id: str, form: str) -> None:
        """Takes a form, once."""
        self._order[id] = len(self._order)
        todo = [(skeleton(form).split(" "), 0)]
        while todo:
            words, variables = todo.pop()
            enough = _WORDS if sum(map(str.isalpha, words)) > _WORDS_FRAME else _NAMES
            own = sum(map(mul, map(hash, words), _PLACES))
            for at, word in enumerate(words[:_POSITIONS]):
                needed = _values_needed(word)
                if 0 < needed <= enough:
                    frame = own + (_HASH_OF_ANY - hash(word)) * _PLACES[at] + needed
                    if self._fires(frame, own, id, needed) and variables + 1 < _VARIABLES:
                        todo.append(([*words[:at], ANY, *words[at + 1 :]], variables + 1))

    def root(self, id: str) -> str:
        """The earliest form that `id` is merged with, else `id` itself."""
        while id in self._parent:
            id = self._parent[id]
        return id

    def members(self, root: str) -> list[str]:
        """In the order in which they were added."""
        return sorted(self._members.get(root, [root]), key=lambda id: self._order.get(id, 0))

    def _fires(self, frame: int, own: int, id: str, needed: int) -> bool:
        """Counts a form with a frame; whether with it there are enough, so that the frame is a form of its own."""
        same = self._frames.get(frame)
        if same is None:
            self._frames[frame] = (own, id)
            return False
        if isinstance(same, tuple):
            same = self._frames[frame] = dict([same])
        if len(same) >= needed:
            self._union(next(iter(same.values())), id)
            return False
        same[own] = id
        if len(same) < needed:
            return False
        for other in same.values():
            self._union(id, other)
        return True

    def _union(self, one: str, other: str) -> None:
        first, second = sorted((self.root(one), self.root(other)), key=self._order.__getitem__)
        if first != second:
            self._parent[second] = first
            fewer, more = sorted((self._members.pop(name, [name]) for name in (first, second)), key=len)
            more += fewer
            self._members[first] = more


@lru_cache(maxsize=1 << 14)
def _values_needed(word: str) -> int:
    """How many values of a word like this make it a variable; 0 for never: placeholders, codes, punctuation."""
    if "<" in word:
        return 0
    core = word.strip("[](){}:;,.'\"")
    if core.isalpha():
        return 0 if core.lower() in _GRAMMAR else _WORDS
    for before, after in pairwise(core):
        if (before.isalpha() and after.isdigit()) or (before.isdigit() and after.isalpha()):
            return _NAMES
    return 0


def common_text(forms: list[str]) -> str:
    """The text of forms that are one template; `<*>` where they differ."""
    if len(set(forms)) == 1:
        return forms[0]
    columns = zip(*(skeleton(form).split(" ") for form in forms), strict=True)
    return " ".join(values[0] if len(set(values)) == 1 else ANY for values in columns)
