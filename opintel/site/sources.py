"""Where a stream's messages come from: files that are given, a story that is simulated, or the broker, topics or server
that its YAML names.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from opintel.site.config import kafka_password, prometheus_secret, stomp_password
from opintel.site.errors import UserError
from opintel.site.story import Story, StoryFeed
from opintel.site.system import Feed, System, Watched
from opintel.streams.feeds import BrokerFeed, ReplayableFeed, file_feed


def files(system: System, watched: Watched, paths: list[Path], *, final: bool) -> Callable[[], Feed]:
    """Opens files and folders: `final` where they are complete, else they are tailed. It raises UserError."""

    def make() -> Feed:
        try:
            # what is appended to a file that is tailed was written before now, whatever it says
            return file_feed(
                lambda source: system.ingester(watched, source, live=not final, replayable=True), paths, final=final
            )
        except (OSError, ValueError) as error:
            raise UserError(str(error)) from error

    return make


def simulated(system: System, watched: Watched, story: Story) -> Callable[[], Feed] | None:
    """Opens a stream's part in a story; None where it has none."""
    chapter = story.chapter(watched.stream.name)
    if chapter is None:
        return None
    return lambda: StoryFeed(story, chapter, system.ingester(watched, story.source, live=True, replayable=True))


def configured(system: System, watched: Watched) -> Callable[[], Feed] | None:
    """Opens the live source that a YAML names; None where it names none. Raises ConfigError for its secrets."""
    settings, name = watched.settings, watched.stream.name
    if (stomp := settings.stomp) is not None:
        from opintel.streams.connectors.stomp import StompSource

        password = stomp_password(system.site, name)
        return lambda: BrokerFeed(StompSource(stomp, password), system.ingester(watched, "stomp", live=True))
    if (kafka := settings.kafka) is not None:
        from opintel.streams.connectors.kafka import KafkaSource

        secret = kafka_password(system.site, name)

        def topics() -> Feed:
            ingester = system.ingester(watched, "kafka", live=True, replayable=True)
            return ReplayableFeed(KafkaSource(kafka, secret), ingester)

        return topics
    if (prometheus := settings.prometheus) is not None:
        from opintel.streams.connectors.prometheus import PrometheusSource

        token = prometheus_secret(system.site, name)

        def answers() -> Feed:
            ingester = system.ingester(watched, "prometheus", live=True, replayable=True)
            source = PrometheusSource(prometheus, token, lateness=watched.stream.lateness)
            return ReplayableFeed(source, ingester, delay=prometheus.delay)

        return answers
    return None
