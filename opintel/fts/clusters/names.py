"""Names of clusters, from what their texts mean and say: `space-quota`, which is for people to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

from opintel.fts.clusters.concepts import concepts
from opintel.fts.clusters.words import cause_words
from opintel.fts.texts.expressions import expression

CONCEPTS: Final = 2
WORDS: Final = 2
LONGEST: Final = 20
"""Characters of a word."""
_WORD: Final = expression(r"[a-z]{3,}")
_SILENT: Final = (
    "after and are attempt attempts code could destination error errors failed failure for from had has http https "
    "last message not reason responded result server source status the transfer unable was were while with"
)
"""Words that say nothing in an error text."""
_SILENT_WORDS: Final = frozenset(_SILENT.split())


def cluster_name(texts: Sequence[str], taken: Collection[str]) -> str:
    """A name for a cluster of these texts, the most typical first; letters, digits and `-` only; none of `taken`.

    >>> texts = ["quota exceeded", "HTTP 507", "the quota of the pool is used up"]
    >>> cluster_name(texts, []), cluster_name(texts, ["space-quota"]), cluster_name(["?"], [])
    ('space-quota', 'space-quota-2', 'errors')
    """
    causes = [cause_words(text) for text in texts]
    meant = _of_most([concepts(cause) for cause in causes])[:CONCEPTS]
    said = [w for w in _of_most([_words(cause) for cause in causes]) if w not in meant][:WORDS]
    name = "-".join([*meant, *said] or [word for cause in causes[:1] for word in _words(cause)[:WORDS]]) or "errors"
    if name not in taken:
        return name
    return next(other for n in range(2, len(taken) + 3) if (other := f"{name}-{n}") not in taken)


def _words(cause: str) -> list[str]:
    found = (str(word)[:LONGEST] for word in _WORD.findall(cause.lower()))
    return list(dict.fromkeys(word for word in found if word not in _SILENT_WORDS))


def _of_most(each: Sequence[Sequence[str]]) -> list[str]:
    """What at least half of the texts have, the most frequent first; ties as the first texts have them."""
    counts = Counter(item for items in each for item in dict.fromkeys(items))
    return [item for item, n in counts.most_common() if 2 * n >= len(each)]
