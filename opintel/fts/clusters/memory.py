"""What the clustering service remembers of a scope: its forms of error with their counts by hour, its clusters, and
when these were made. Hours come in one by one; all that is remembered follows from their order alone, so it is the same
however often the service was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from opintel.finding import NS
from opintel.fts.clusters.density import cluster_beside
from opintel.fts.clusters.registry import Form, KnownCluster, RegistryChange, renewed
from opintel.fts.judging.errors import HourForm

FORMS: Final = 2000
"""Forms that are remembered; the longest unseen are forgotten first, …"""
UNSEEN: Final = 30 * 86_400 * NS
"""… and all that have not come for so long."""
HOURS: Final = 168 * 3600 * NS
"""For so long the messages of a form are counted by the hour."""
LARGEST: Final = 2**62


class RememberedForm(msgspec.Struct, frozen=True, kw_only=True):
    """A form of error: what it says, when it came, which cluster it is in."""

    template: str
    text: str
    family: str
    example: str
    hosts: tuple[str, ...]
    """Those with most of its messages in the last hour in which it came."""
    first: int
    last: int
    """Start of the first and end of the last hour in which it came, ns UTC."""
    messages: int = 0
    hours: tuple[tuple[int, int], ...] = ()
    """(start of an hour, messages), of the last days."""
    cluster: str | None = None
    strength: float = 0.0


class ClusterMemory(msgspec.Struct):
    """The memory of one scope.

    >>> memory = ClusterMemory()
    >>> words = ["disk full", "no space left", "quota exceeded", "timed out", "idle timeout", "deadline exceeded"]
    >>> memory.take(0, 3600 * NS, [HourForm(f"t{n}", text, "", 9, text, "a.example") for n, text in enumerate(words)])
    >>> memory.due(6 * 3600 * NS), [(change.cluster, change.kind) for change in memory.recluster()]
    (True, [('space', 'born'), ('time', 'born')])
    >>> memory.due(6 * 3600 * NS), memory.forms["t3"].cluster
    (False, 'time')
    """

    forms: dict[str, RememberedForm] = {}
    clusters: dict[str, KnownCluster] = {}
    through: int = 0
    """End of the last hour that was taken in."""
    clustered: int | None = None
    """And of that with which clusters were last made; None: never."""
    changed: bool = False
    """Whether forms came or went since, or operators want another result."""

    def take(self, start: int, end: int, forms: Sequence[HourForm]) -> None:
        """Takes in an hour, [start, end) in ns UTC; hours come in order of time."""
        self.through = end
        for form in forms:
            known = self.forms.get(form.template)
            if known is None:
                self.changed = True
                known = RememberedForm(
                    template=form.template, text=form.text, family="", example="", hosts=(), first=start, last=end
                )
            hours = (*(hour for hour in known.hours if hour[0] >= end - HOURS), (start, form.messages))
            self.forms[form.template] = msgspec.structs.replace(
                known,
                family=form.family,
                example=form.example,
                hosts=tuple(form.hosts.split()),
                last=end,
                messages=min(known.messages + form.messages, LARGEST),
                hours=hours,
            )
        ordered = sorted(self.forms.values(), key=lambda form: (form.last, form.messages, form.template))
        for n, oldest in enumerate(ordered):
            if oldest.last >= end - UNSEEN and n >= len(ordered) - FORMS:
                break
            del self.forms[oldest.template]
            self.changed = True

    def due(self, every: int) -> bool:
        """Whether clusters are to be made now: at the first forms, then with the first hour that ends at or after each
        multiple of `every` (ns of event time)."""
        if self.clustered is None:
            return bool(self.forms)
        return self.through // every > self.clustered // every

    def recluster(self, encoder: str = "tfidf", model: str | None = None) -> list[RegistryChange]:
        """Makes the clusters of the remembered forms; what happened to those that were known. Raises ValueError for an
        encoder that cannot be had."""
        self.clustered = self.through
        if not self.changed:
            live = {form.cluster for form in self.forms.values()}
            for name, known in self.clusters.items():
                if name in live:
                    self.clusters[name] = msgspec.structs.replace(known, last=self.through)
            return []
        self.changed = False
        forms = [Form(template, self.forms[template].text) for template in sorted(self.forms)]
        elsewhere = {
            exemplar.template: exemplar.text
            for known in self.clusters.values()
            for exemplar in known.exemplars
            if exemplar.template not in self.forms
        }
        found, vectors = cluster_beside([form.text for form in forms], [*elsewhere.values()], encoder, model=model)
        owner = {form.template: form.cluster for form in self.forms.values() if form.cluster is not None}
        after = renewed(
            self.clusters.values(),
            owner,
            forms,
            found.labels,
            vectors[: len(forms)],
            dict(zip(elsewhere, vectors[len(forms) :], strict=True)),
            self.through,
        )
        self.clusters = {known.name: known for known in after.clusters}
        for form, strength in zip(forms, found.membership.tolist(), strict=True):
            cluster = after.owner.get(form.template)
            self.forms[form.template] = msgspec.structs.replace(
                self.forms[form.template], cluster=cluster, strength=0.0 if cluster is None else round(strength, 6)
            )
        return after.changes
