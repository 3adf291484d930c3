"""A Kafka log whose topics are its folder's own, so that tests share one broker and use what names they like."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from opintel.streams.kafka.settings import KafkaSettings
from opintel.streams.log import Entry, LogError, Topic
from opintel.streams.log_kafka import KafkaLog


class Apart(KafkaLog):
    """The names in the cluster begin with a hash of the folder; all that is shown has the names that were asked for."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self._prefix = sha256(str(folder).encode()).hexdigest()[:12] + "-"
        self.asides_topic = self._prefix + KafkaLog.asides_topic
        super().__init__(KafkaSettings(bootstrap=[bootstrap]))

    def _own(self, name: str) -> str:
        return name if name.startswith(self._prefix) else self._prefix + name

    def create(self, name: str, partitions: int) -> Topic:
        return super().create(self._own(name), partitions)._replace(name=name)

    def append(self, entries: Sequence[Entry]) -> None:
        super().append([e._replace(topic=self._own(e.topic)) for e in entries])

    def read(self, topic: str, partition: int, position: int, limit: int) -> list[tuple[int, bytes]]:
        try:
            return super().read(self._own(topic), partition, position, limit)
        except LogError as error:
            raise LogError(str(error).replace(self._prefix, "")) from error

    def start(self, topic: str, partition: int) -> int:
        return super().start(self._own(topic), partition)

    def end(self, topic: str, partition: int) -> int:
        return super().end(self._own(topic), partition)

    def trim(
        self, topic: str, older_than: int, most_bytes: int | None = None, keep: Sequence[int] | None = None
    ) -> int:
        return super().trim(self._own(topic), older_than, most_bytes, keep)

    def commit(self, group: str, topic: str, partition: int, position: int) -> None:
        super().commit(group, self._own(topic), partition, position)

    def committed(self) -> dict[tuple[str, str, int], int]:
        noted = super().committed().items()
        return {(g, t.removeprefix(self._prefix), p): at for (g, t, p), at in noted if t.startswith(self._prefix)}
