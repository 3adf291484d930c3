"""What things and subjects are called on the pages: those of each stream in the words of its domain.

The console imports no domain; who serves it hands over each stream's `Naming`.
"""

from __future__ import annotations

from collections.abc import Mapping

from opintel.console.past import Thing
from opintel.naming import Naming


class Names:
    """The words of each stream; plain ones for a stream that is not configured any more."""

    def __init__(self, naming: Mapping[str, Naming]) -> None:
        self._naming = naming

    def of(self, stream: str) -> Naming:
        """A stream's words."""
        return self._naming.get(stream) or Naming()

    def subject(self, subject: Mapping[str, str], stream: str) -> str:
        """A subject in one line."""
        return self.of(stream).subject(subject)

    def called(self, thing: Thing, tail: str = "") -> str:
        """A thing in one line, without the `tail` that all names end in."""
        names = (text.removesuffix(tail) for text in thing.about)
        return self.of(thing.stream).between.join(names) or f"all of {thing.scope}"
