"""Whose fault the failed files of a link are: a user's, the source's, the destination's or the link's own.

By the family of each error text (`Family.blame`), the side that FTS blames in it (`tr_error_scope`, a word at its
start), and the host that an example names. What a user did wrong says nothing of a site: pages and reports count it
apart. The judges that raise alarms do not ask here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from opintel.fts.causes.families import Blame, Family, family_of
from opintel.fts.texts.causes import side


class Blamed(NamedTuple):
    """Files, or errors, by whose fault they are."""

    user: int = 0
    """A user's or a VO's: credentials, permission, a request that cannot be met."""
    source: int = 0
    destination: int = 0
    link: int = 0
    """Neither side's more than the other's, or not known."""


BLAMED: Final[tuple[Blame, ...]] = ("user", "source", "destination", "link")
"""In the order of `Blamed`."""


def blame(text: str, example: str, source: str, destination: str, families: Sequence[Family]) -> Blame:
    """Whose fault an error is on the link from `source` to `destination`. Linear time.

    >>> full = (Family("no-space", concepts=("space",), blame="destination"),)
    >>> ends = ("se.a.example", "se.b.example")
    >>> [blame(text, text, *ends, full) for text in ("disk full", "SOURCE disk full", "broken at se.a.example", "odd")]
    ['destination', 'source', 'source', 'link']
    """
    name = family_of(text, families)
    usual: Blame = next((family.blame for family in families if family.name == name), "link")
    if usual == "user":
        return "user"
    stated = side(text)
    if stated:
        return "source" if stated == "source" else "destination"
    named = [host in example for host in (source, destination)]
    if source != destination and any(named) and not all(named):
        return "source" if named[0] else "destination"
    return usual


def apportioned(files: int, errors: Mapping[Blame, int]) -> Blamed:
    """Files that failed, by whose fault the errors were that were said of them and of their retries: FTS gives each
    file's errors, stage 1 the sums, so the files are divided as the errors are (largest remainders, ties in the order
    of `Blamed`). Without errors they are the link's.

    >>> apportioned(3, {"user": 4, "destination": 2}), apportioned(2, {})
    (Blamed(user=2, source=0, destination=1, link=0), Blamed(user=0, source=0, destination=0, link=2))
    """
    total = sum(errors.values())
    if not total:
        return Blamed(link=files)
    counts = [errors.get(whose, 0) for whose in BLAMED]
    whole = [files * count // total for count in counts]
    left = sorted(range(len(whole)), key=lambda n: (-(files * counts[n] % total), n))
    for n in left[: files - sum(whole)]:
        whole[n] += 1
    return Blamed(*whole)
