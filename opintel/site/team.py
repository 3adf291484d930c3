"""The services of a process, in the order in which they take turns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from opintel.site import sources
from opintel.site.services import Look, Retention
from opintel.site.story import Story
from opintel.site.system import System
from opintel.site.watched import Watched

if TYPE_CHECKING:
    from opintel.site.answers import AnswersTo
from opintel.streams.loop import Service


def team(
    system: System,
    chosen: Collection[str],
    inputs: Mapping[str, Sequence[str]] | None = None,
    *,
    final: bool = False,
    story: Story | None = None,
) -> dict[str, Callable[[], Service]]:
    """What makes the services that `chosen` names (ingest, stage1, stage2, alerts, clusters, archive, delivery), by
    name.

    `inputs`: stream → files, or the URL of an archive, to read instead of its live source; with `final` the files are
    complete. `story` replaces every source. Raises UserError, ArchiveError, ArchiveUnavailable where an input cannot
    be read.
    """
    made: dict[str, Callable[[], Service]] = {}
    for name, watched in system.streams.items():
        if "ingest" in chosen and (way := _way_in(system, watched, inputs or {}, final, story)) is not None:
            made[f"ingest {name}"] = way
        if "stage1" in chosen:
            made[f"stage1 {name}"] = partial(system.stage1, watched)
        if "stage2" in chosen:
            made[f"stage2 {name}"] = partial(system.stage2, watched)
    if "alerts" in chosen:
        made["alerts"] = partial(system.alerting, warm_until=story.live_from if story else 0)
    if "clusters" in chosen and (clustered := _with_errors(system)):
        from opintel.site.clustering.service import Clustering

        made["clusters"] = lambda: Clustering(system.store, clustered, system.site.settings.clusters)
    if {"ingest", "alerts"} <= {*chosen}:
        from opintel.site.answers import Answers

        made["answers"] = lambda: Answers(system.store, system.log, _listeners(system))
    if "archive" in chosen:
        from opintel.site.archiving import archivers

        made |= archivers(system, final=final)
    if "delivery" in chosen:
        from opintel.site.delivery import Delivery

        made["delivery"] = partial(Delivery, system)
    if system.site.settings.bus is not None:
        made["topics"] = partial(Look, system)
    elif "ingest" in chosen:
        made["retention"] = partial(Retention, system)  # a cluster's topics have their own
    return made


def _with_errors(system: System) -> list[str]:
    """The streams whose errors are clustered: those that list them by the hour."""
    return [name for name, watched in system.streams.items() if "errors" in watched.pipeline.kinds]


def _listeners(system: System) -> list[AnswersTo]:
    """The streams whose judges learn of answers."""
    from opintel.site.answers import AnswersTo

    asked = [(watched.stream, watched.pipeline.feedback) for watched in system.streams.values()]
    return [AnswersTo(stream, subjects) for stream, subjects in asked if subjects is not None]


def _way_in(
    system: System, watched: Watched, inputs: Mapping[str, Sequence[str]], final: bool, story: Story | None
) -> Callable[[], Service] | None:
    """What makes a stream's ingest; None where it has no source."""
    given = inputs.get(watched.stream.name, [])
    if story is not None:
        feed = sources.simulated(system, watched, story)
    elif (url := sources.archive_given(watched, given)) is not None:
        return partial(system.copied, watched, sources.archived(system, watched, url))
    elif given:
        feed = sources.files(system, watched, [Path(path) for path in given], final=final)
    else:
        feed = sources.configured(system, watched)
    return None if feed is None else partial(system.ingest, watched, feed)
