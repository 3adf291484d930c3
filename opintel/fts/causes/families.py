"""Families of causes: rules that operators keep in `models/fts-causes.yaml`, and the family of an error text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec

from opintel.fts.clusters.concepts import CONCEPTS, concepts
from opintel.fts.clusters.words import cause_words
from opintel.fts.texts.expressions import expression

UNCLASSIFIED: Final = "unclassified"
Blame = Literal["user", "source", "destination", "link"]


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One family: what it means to an operator, and which texts are of it.

    Raises ValueError, `KEY: what is wrong`, for an unknown concept, a pattern that RE2 refuses or a family without
    both.
    """

    name: str
    meaning: str = ""
    action: str = ""
    """What to do first."""
    concepts: tuple[str, ...] = ()
    """A text that holds all of them is of this family; names of `opintel.fts.clusters.concepts`."""
    phrases: tuple[str, ...] = ()
    """So is one in which one of these regular expressions is found; small and capital letters are the same."""
    blame: Blame = "link"
    """Whose fault a failure is: `user` (or a VO), whatever its text says, so that it counts against no site; else the
    side that the text names, and this one where it names none."""

    def __post_init__(self) -> None:
        if not self.name or self.name == UNCLASSIFIED:
            raise ValueError(f"name: expected a word other than {UNCLASSIFIED!r}, got {self.name!r}")
        if not self.concepts and not self.phrases:
            raise ValueError("concepts: expected concepts, or phrases beside them, got neither")
        for concept in self.concepts:
            if concept not in CONCEPTS:
                raise ValueError(f"concepts: expected some of {', '.join(CONCEPTS)}, got {concept!r}")
        for phrase in self.phrases:
            try:
                expression(phrase)
            except Exception as error:
                raise ValueError(f"phrases: expected a regular expression of RE2, got {phrase!r}: {error}") from error


def family_of(text: str, families: Sequence[Family]) -> str:
    """The name of the first family that a raw message or a masked form is of, else `UNCLASSIFIED`. Linear time.

    >>> rules = (Family("full", concepts=("space",)), Family("odd", phrases=("pipe organ",)))
    >>> [family_of(text, rules) for text in ("HTTP 507", "quota exceeded", "a Pipe Organ", "what?")]
    ['full', 'full', 'odd', 'unclassified']
    """
    return _family_of(text, tuple(families))


@lru_cache(maxsize=4096)
def _family_of(text: str, families: tuple[Family, ...]) -> str:
    words = cause_words(text)
    held = frozenset(concepts(words))
    for family, patterns in _compiled(families):
        if (family.concepts and held.issuperset(family.concepts)) or any(p.search(words) for p in patterns):
            return family.name
    return UNCLASSIFIED


@lru_cache(maxsize=16)
def _compiled(families: tuple[Family, ...]) -> list[tuple[Family, list[Any]]]:
    return [(family, [expression("(?i)" + phrase) for phrase in family.phrases]) for family in families]
