"""Seconds from which a model of glitches is learned: what safe auxiliary channels saw, what the strain did, and in what
state the interferometer was.

Labels are the strain's own triggers; no truth is known. A channel is there only while its name says that it is safe and
it is known to be no copy of the strain, as where data are flagged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from opintel.detector import Closing, Judge
from opintel.finding import NS, Finding
from opintel.gw.glitch_probability import glitch_seconds, second_features
from opintel.gw.gps import gps_from_utc
from opintel.gw.judging.copies import StrainCopies
from opintel.gw.judging.interferometer import REMEMBERED, ScienceMode, channels_of, families, within
from opintel.gw.judging.witnesses import WitnessJudge, WitnessSettings
from opintel.gw.records import ChannelWindow, FlagWindow, TriggerSaid
from opintel.gw.safety import Safety
from opintel.gw.samples import FLAG_MARK
from opintel.gw.segments import NONE, Segments, coalesce, contains, intersection, inward, union

CHUNK: Final = 64
"""s whose rows are made together."""
_FOREVER = np.iinfo(np.int64).max

TRIGGER = pa.struct(
    [
        *(pa.field("time", pa.int64(), nullable=False), pa.field("frequency", pa.float64(), nullable=False)),
        *(pa.field(name, pa.float64(), nullable=False) for name in ("low", "high", "q", "snr", "duration")),
    ]
)
AUXILIARY = pa.struct(
    [
        pa.field("channel", pa.string(), nullable=False),
        pa.field("triggered", pa.bool_(), nullable=False),
        pa.field("loudness", pa.float32(), nullable=False),
        pa.field("bands", pa.list_(pa.float32()), nullable=False),
        pa.field("fringe", pa.float32()),
    ]
)
SECONDS = pa.schema(
    [
        pa.field("interferometer", pa.string(), nullable=False),
        pa.field("gps", pa.int64(), nullable=False),
        pa.field("strain", pa.string()),
        pa.field("science", pa.bool_(), nullable=False),
        pa.field("judged", pa.bool_(), nullable=False),
        pa.field("flags", pa.list_(pa.string()), nullable=False),
        pa.field("glitch", pa.bool_(), nullable=False),
        pa.field("triggers", pa.list_(TRIGGER), nullable=False),
        pa.field("active", pa.float32(), nullable=False),
        pa.field("auxiliary", pa.list_(AUXILIARY), nullable=False),
    ]
)
"""A row is a second of an interferometer: docs/gw.md says what the columns mean."""


class _Channel:
    """What one channel did of late; seconds are ns UTC / 1e9."""

    def __init__(self) -> None:
        self.live: Segments = NONE
        self.triggers: list[TriggerSaid] = []
        self.bands: dict[int, list[float]] = {}
        self.fringes: dict[int, float] = {}

    def take(self, said: ChannelWindow, seconds: Sequence[int]) -> None:
        self.live = union(self.live, coalesce(said.live))
        self.triggers += said.triggers
        self.bands |= dict.fromkeys(seconds, said.bands)
        for time, fringe in said.fringes:
            self.fringes[time // NS] = max(fringe, self.fringes.get(time // NS, 0.0))

    def forget(self, before: int) -> None:
        """All but what may lie beside this second or later ones."""
        self.live = _from(self.live, before)
        self.triggers = [one for one in self.triggers if one.time >= (before - 1) * NS]
        self.bands = {second: bands for second, bands in self.bands.items() if second >= before}
        self.fringes = {second: fringe for second, fringe in self.fringes.items() if second >= before}

    def table(self, name: str, start: int) -> pa.Table:
        """Its triggers, with times in s after a second."""
        times = np.array([one.time - start * NS for one in self.triggers], dtype=np.int64) / NS
        snrs = np.array([one.snr for one in self.triggers], dtype=np.float64)
        return pa.table({"channel": pa.array([name] * len(times), pa.string()), "t_peak": times, "snr": snrs})


class TrainingSeconds:
    """Takes the rows of all interferometers, a chunk at a time, and whatever of them waits when the records end.

    >>> chunks = []
    >>> rows = TrainingSeconds(chunks.append)
    >>> rows.finish()
    >>> chunks
    []
    """

    def __init__(self, take: Callable[[pa.Table], None]) -> None:
        self.take = take
        self._collectors: dict[str, SecondsCollector] = {}

    def collector(self) -> SecondsCollector:
        """A judge that gathers the rows of one interferometer."""
        return SecondsCollector(self)

    def began(self, scope: str, collector: SecondsCollector) -> None:
        """A scope that was forgotten and comes again has another collector: the rows of the one before come first."""
        before = self._collectors.get(scope)
        if before is not None:
            before.finish()
        self._collectors[scope] = collector

    def finish(self) -> None:
        """Takes the rows that wait."""
        for _, collector in sorted(self._collectors.items()):
            collector.finish()


class SecondsCollector(Judge):
    """Finds nothing and gathers rows. It stands in the place of `WitnessJudge`, whose settings say which channels are
    safe. A row is made when no channel can still say anything of its second, as one that learns its spectrum does late.

    >>> from opintel.detector import Controls, Record
    >>> from opintel.finding import Window
    >>> chunks = []
    >>> rows = TrainingSeconds(chunks.append)
    >>> judge = rows.collector()
    >>> window = Window(0, 2 * NS)
    >>> glitch = TriggerSaid(NS, NS - 10**8, NS + 10**8, 80.0, 60.0, 100.0, 8.0, 12.0)
    >>> strain = ChannelWindow("good", 4096.0, True, [(0, 2 * NS)], [glitch])
    >>> records = [Record(window, "channel", "L1:GDS-CALIB_STRAIN", "L1", strain)]
    >>> judge.judge(Closing(window, "L1", records, Controls(), WitnessSettings(), "", complete=True))
    []
    >>> rows.finish()
    >>> chunks[0].select(["science", "judged", "glitch"]).to_pylist()[1]
    {'science': True, 'judged': True, 'glitch': True}
    """

    name, version = WitnessJudge.name, WitnessJudge.version
    Settings = WitnessSettings
    controls: tuple[str, ...] = ()

    def __init__(self, rows: TrainingSeconds) -> None:
        self.tests: dict[str, int] = {}
        self._rows, self._scope = rows, ""
        self._mode, self._copies = ScienceMode(), StrainCopies()
        self._science: Segments = NONE
        self._flags: dict[str, Segments] = {}
        self._strain, self._auxiliary = _Channel(), dict[str, _Channel]()
        self._seconds: dict[int, str | None] = {}
        """Second whose row waits → the main strain channel."""

    def judge(self, closing: Closing) -> list[Finding]:
        """Nothing."""
        if not self._scope:
            self._scope = closing.scope
            self._rows.began(closing.scope, self)
        window, settings, channels = closing.window, closing.settings, channels_of(closing)
        self._mode.take(closing)
        now = intersection(self._mode.judged, within(window))
        self._science = union(self._science, now)
        for record in closing.records:
            if isinstance(record.payload, FlagWindow):
                name = record.key.partition(FLAG_MARK)[2]
                active = intersection(coalesce(record.payload.active), coalesce(record.payload.known))
                self._flags[name] = union(self._flags.get(name, NONE), active)
        seconds = range(window.start // NS, -(-window.end // NS))
        if closing.records:
            self._seconds |= dict.fromkeys(seconds, channels.main)
        if channels.main is not None:
            self._strain.take(channels.strain[channels.main], seconds)
            if len(now):
                self._copies.take(channels.strain[channels.main], channels.auxiliary)
        safety = families(tuple(settings.safe), tuple(settings.unsafe))
        for name, said in channels.auxiliary.items():
            if safety.judge(name) is Safety.SAFE and self._copies.is_none(name):
                self._auxiliary.setdefault(name, _Channel()).take(said, seconds)
        self._emit((window.end - REMEMBERED) // NS)
        return []

    def finish(self) -> None:
        """Gives all rows that wait."""
        self._emit(_FOREVER)

    def _emit(self, before: int) -> None:
        """Gives the rows of chunks that end by a second."""
        for chunk in sorted({second // CHUNK for second in self._seconds}):
            end = (chunk + 1) * CHUNK
            if end > before:
                break
            self._rows.take(self._table(end - CHUNK, [second for second in sorted(self._seconds) if second < end]))
            self._seconds = {second: strain for second, strain in self._seconds.items() if second >= end}
            for channel in (self._strain, *self._auxiliary.values()):
                channel.forget(end)
            self._science = _from(self._science, end)
            self._flags = {name: left for name, its in self._flags.items() if len(left := _from(its, end))}
            self._auxiliary = {
                name: one for name, one in self._auxiliary.items() if one.bands or one.triggers or len(one.live)
            }

    def _table(self, start: int, seconds: Sequence[int]) -> pa.Table:
        """Rows of seconds of the chunk that starts then."""
        names = sorted(self._auxiliary)
        tables = [self._auxiliary[name].table(name, start) for name in names]
        heard = pa.concat_tables(tables) if tables else self._strain.table("", start).slice(0, 0)
        features = second_features(heard, names, 0, CHUNK)
        glitches = glitch_seconds(self._strain.table("", start), 0, CHUNK)
        times = (start + np.arange(CHUNK)) * NS

        def whole(spans: Segments) -> list[bool]:
            """Of each second whether all of it is inside."""
            inside: list[bool] = contains(inward(spans), times).tolist()
            return inside

        science, judged = whole(self._science), whole(self._strain.live)
        flags = {name: whole(its) for name, its in sorted(self._flags.items())}
        live = {name: whole(self._auxiliary[name].live) for name in names}
        rows = []
        for second in seconds:
            at, auxiliary = second - start, []
            for n, name in enumerate(names):
                its = self._auxiliary[name]
                if live[name][at] or second in its.fringes:
                    triggered, loudness = features[at, 2 * n : 2 * n + 2].tolist()
                    about = {"bands": its.bands.get(second, []), "fringe": its.fringes.get(second)}
                    auxiliary.append({"channel": name, "triggered": triggered > 0, "loudness": loudness} | about)
            rows.append(
                {
                    "interferometer": self._scope,
                    "gps": gps_from_utc(second * NS) // NS,
                    "strain": self._seconds[second],
                    "science": science[at],
                    "judged": judged[at],
                    "flags": [name for name, its in flags.items() if its[at]],
                    "glitch": bool(glitches[at]),
                    "triggers": [_row(one) for one in self._strain.triggers if one.time // NS == second],
                    "active": features[at, -1],
                    "auxiliary": auxiliary,
                }
            )
        return pa.Table.from_pylist(rows, schema=SECONDS)

    def state(self) -> Any:
        """None: an archive is read from its first record to its last."""
        return None

    def restore(self, state: Any) -> None:
        """Nothing to do."""


def _row(one: TriggerSaid) -> dict[str, float]:
    figures = {name: getattr(one, name) for name in ("frequency", "low", "high", "q", "snr")}
    return {"time": gps_from_utc(one.time), **figures, "duration": (one.end - one.start) / NS}


def _from(spans: Segments, second: int) -> Segments:
    return intersection(spans, coalesce([(second * NS, _FOREVER)]))
