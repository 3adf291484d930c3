"""What a site's YAML says, typed: a stream, what all streams share, and all of it together.

`opintel.site.load` reads them. The settings of a source, a sink, a detector or an alarm stay with what they set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from opintel.alerts.settings import AlertSettings
from opintel.durations import Duration
from opintel.finding import NS
from opintel.paths import FilePath
from opintel.site.yaml_places import Document
from opintel.sizes import Size
from opintel.streams.connectors import SourceSettings
from opintel.streams.kafka.settings import KafkaSettings
from opintel.streams.stream import Stream

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}$")]


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of `streams/`: what is watched. Durations in ns (text such as 10m in YAML)."""

    name: Name
    domain: Name
    topic: Name
    partitions: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 4
    shards: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 64
    window: Duration = Duration(600 * NS)
    lateness: Duration = Duration(300 * NS)
    skew: Duration = Duration(120 * NS)
    """How far a live event time may lie after its arrival; at most `lateness`."""
    interval: Duration = Duration(60 * NS)
    """Between two ticks of a live source."""
    phase: Duration = Duration(0)
    """The grid's windows start at multiples of `window` plus this."""
    max_keys: Annotated[int, msgspec.Meta(ge=1)] = 4096
    """Keys a shard may hold; above it new keys are refused."""
    ttl: Duration = Duration(30 * 86_400 * NS)
    """A key unseen for this long is forgotten; in a shard that is full, for `quiet`."""
    quiet: Duration = Duration(21_600 * NS)
    """A scope without records for this long is no longer judged until one comes."""
    retention: Duration = Duration(14 * 86_400 * NS)
    """How long the log keeps the stream's records …"""
    retention_bytes: Size = Size(0)
    """… and how many bytes of them at most in each of its two topics; 0: however many."""
    wire: dict[str, Any] = {}
    """Keywords of the domain's wire format."""
    detectors: dict[str, dict[str, Any]] = {}
    """Detector → its settings; those left out have their defaults."""

    @property
    def stream(self) -> Stream:
        """What the log and the stages need of it."""
        return Stream(**{field: getattr(self, field) for field in Stream._fields if field != "ahead"})


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`clusters` of `site.yaml`: how the service `clusters` groups error texts by what they mean."""

    every: Duration = Duration(21_600 * NS)
    """Of event time, between two clusterings."""
    encoder: Literal["tfidf", "sentence-transformers", "combined"] = "tfidf"
    """What tells how near two texts are; those beside `tfidf` need the extra `nlp`."""
    model: FilePath = FilePath("")
    """Folder with a sentence-transformers model; left out: the one that the extra brings."""

    def __post_init__(self) -> None:
        if self.every <= 0:
            raise ValueError("every: expected longer than 0, got 0")


class SiteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`site.yaml`: what all streams share. Everything in it may be left out, and the file too."""

    bus: KafkaSettings | None = None
    """The cluster that holds the log; left out: the embedded log in the data folder."""
    replication: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1
    """Copies that the cluster keeps of each of our topics."""
    checkpoints: str | None = None
    """Folder (relative to that of `site.yaml`) or fsspec URL that all workers reach; left out: in the data folder."""
    store: str | None = None
    """SQLAlchemy URL; left out: SQLite in the data folder."""
    simulated: bool = False
    """Its messages are a story's, whose clock runs ahead of the world's: the log's own time does not bound theirs."""
    models: str | None = None
    """Folder (relative to that of `site.yaml`) or fsspec URL of what was learned; left out: `models` beside it."""
    archive: str | None = None
    """Folder (relative to that of `site.yaml`) or fsspec URL of the log's archive; left out: there is none."""
    clusters: ClusterSettings = ClusterSettings()


class Source(NamedTuple):
    """A stream's live source."""

    kind: str
    """Its key in the stream's YAML, and its name in the log."""
    settings: SourceSettings


class Site(NamedTuple):
    """All settings of a site. The documents keep where each was written; nothing here holds a secret."""

    folder: Path
    streams: dict[str, StreamSettings]
    sources: dict[str, Source]
    """Stream → where its messages come from, for those that have a live source."""
    alerts: AlertSettings
    settings: SiteSettings
    written: Document
    """`site.yaml` as it was read."""
    documents: dict[str, Document]
    """Stream → its file as it was read."""
    alert_documents: dict[str, Document]
    """`budgets`, `incidents`, `routes`, `maintenance`, `topology` → the file as it was read."""

    def by_itself(self) -> Site:
        """The site with a log, a store and checkpoints in the data folder, for what is thrown away."""
        own = {"bus": None, "store": None, "checkpoints": None, "archive": None}
        return self._replace(settings=msgspec.structs.replace(self.settings, **own))
