"""The sinks that `alerts/routes.yaml` names, opened."""

from __future__ import annotations

from contextlib import ExitStack

from opintel.alerts.sinks import Sink
from opintel.site.errors import ConfigError
from opintel.site.secrets import opened
from opintel.site.settings import Site
from opintel.site.yaml_places import Problem


def open_sinks(site: Site) -> dict[str, Sink]:
    """Name → sink, in order of name. Raises ConfigError with the problems of all; then none stays open."""
    document, sinks, problems = site.alert_documents["routes"], dict[str, Sink](), list[Problem]()
    with ExitStack() as leaving:
        for name, settings in sorted(site.alerts.routes.sinks.items()):
            try:
                sinks[name] = opened(document, ("sinks", name), settings, settings.open)
                leaving.callback(sinks[name].close)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        leaving.pop_all()
    return sinks
