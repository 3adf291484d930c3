"""Names in `alerts/` that nothing answers to: streams, kinds of finding, labels, sinks. A rule about them would never
apply, and say nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from opintel.detector import ANY_LABEL, Pipeline
from opintel.site.settings import Site
from opintel.site.yaml_places import Path_, Problem, did_you_mean, nearest


class _Name(NamedTuple):
    file: str
    path: Path_
    what: str
    text: str
    known: Collection[str]
    may_lie: bool = False
    """Settings of a stream that is not there, which do no harm: their name is a problem only where another is near."""


def unknown_names(site: Site, pipelines: Mapping[str, Pipeline]) -> list[Problem]:
    """A problem for each, with the nearest name. Of kinds and labels of a stream without a pipeline nothing is said.

    Scopes come with the data and cannot be known.
    """
    return [_problem(site, n) for n in _unknown(site, pipelines) if not n.may_lie or nearest(n.text, n.known)]


def unused_names(site: Site, pipelines: Mapping[str, Pipeline]) -> list[Problem]:
    """Settings of streams that are not there, and not misspelt."""
    return [_problem(site, n) for n in _unknown(site, pipelines) if n.may_lie and not nearest(n.text, n.known)]


def _problem(site: Site, name: _Name) -> Problem:
    text = f"no {name.what} {name.text!r}{did_you_mean(name.text, name.known)}"
    return site.alert_documents[name.file].problem(name.path, text)


def _unknown(site: Site, pipelines: Mapping[str, Pipeline]) -> Iterator[_Name]:
    return (n for n in _names(site, pipelines) if n.text not in n.known and ANY_LABEL not in n.known)


def _names(site: Site, pipelines: Mapping[str, Pipeline]) -> Iterator[_Name]:
    kinds = {name: pipeline.kinds for name, pipeline in pipelines.items() if pipeline.kinds}
    labels = {name: {label for of in kinds[name].values() for label in of} for name in kinds}
    streams, alerts = site.documents, site.alerts
    for stream, budgets in alerts.budgets.streams.items():
        yield _Name("budgets", ("streams", stream), "stream", stream, streams, True)
        for name, budget in budgets.items():
            for n, kind in enumerate(budget.kinds if stream in kinds else ()):
                place: Path_ = ("streams", stream, name, "kinds", n)
                yield _Name("budgets", place, "kind of finding", kind, kinds[stream])
    for stream in alerts.lifecycle.persistence_of:
        yield _Name("incidents", ("persistence_of", stream), "stream", stream, streams, True)
    for stream, entities in alerts.lifecycle.grouping.entities.items():
        yield _Name("incidents", ("grouping", "entities", stream), "stream", stream, streams, True)
        for n, label in enumerate(entities if stream in labels else ()):
            yield _Name("incidents", ("grouping", "entities", stream, n), "label", label, labels[stream])
    for at, route in enumerate(alerts.routes.routes):
        for n, sink in enumerate(route.sinks):
            yield _Name("routes", ("routes", at, "sinks", n), "sink", sink, alerts.routes.sinks)
        for n, stream in enumerate(route.match.streams):
            yield _Name("routes", ("routes", at, "match", "streams", n), "stream", stream, streams)
        chosen = route.match.streams or list(streams)
        for n, kind in enumerate(route.match.kinds if all(stream in kinds for stream in chosen) else ()):
            here = {known for stream in chosen for known in kinds[stream]}
            yield _Name("routes", ("routes", at, "match", "kinds", n), "kind of finding", kind, here)
    for at, planned in enumerate(alerts.calendar.maintenance):
        yield _Name("maintenance", ("maintenance", at, "stream"), "stream", planned.stream, streams)
        for label in planned.subject if planned.stream in labels else ():
            place = ("maintenance", at, "subject", label)
            yield _Name("maintenance", place, "label", label, labels[planned.stream])
    for at, file in enumerate(alerts.calendar.files):
        yield _Name("maintenance", ("files", at, "stream"), "stream", file.stream, streams)
        if file.stream in labels:
            yield _Name("maintenance", ("files", at, "label"), "label", file.label, labels[file.stream])
    for name, parts in alerts.topology.places.items():
        for stream in parts:
            yield _Name("topology", ("places", name, stream), "stream", stream, streams, True)
