"""A warm start: what one run has learned of its series, as an artefact with which another one begins.

`fitted` makes it of the states that stage 1 leaves behind: the state of each series, and for series of other names a
prototype of each metric, the medians over its series. A control names it (`opintel.streams.artefacts`), and `reducer`
lets a series begin with it at its tenth sample: what a series is used to comes from the artefact, where it stands now
from its own first samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.health.baselines import DAY, SHORTEST
from opintel.health.series_names import metric_of, parts_of
from opintel.health.state import COLUMNS, SIDES, SeriesState
from opintel.health.verdict import WARM
from opintel.stats.counts import Floats, Ints
from opintel.stats.tails import KEPT

BASELINE: Final = "health.baseline"
"""Name of the artefact."""
FORMAT: Final = 1
ARRAYS: Final = ("columns", "rings", "hours", "weeks", "firsts")
AT: Final = {name: place for place, name in enumerate(COLUMNS)}
VALUES: Final = [
    *(AT[f"{name}{n}"] for name in ("deviation", "error") for n in range(3)),
    *(AT[name] for name in ("mean", "fast", "error3", "scale", "residual", "doubt", "value")),
]
"""Columns in units of the series …"""
SQUARES: Final = [AT[f"{name}{n}"] for name in ("square", "product") for n in range(3)]
"""… and in squares of these; all others have none, or are times."""
PRESENT: Final = ("residual", "shift", "change", "trend", "spread", "strangeness", "trouble", "hold", "peak")
"""Columns of a disturbance that is over when a series begins."""
STRIDE: Final = 37
"""Odd: the exceedances of a prototype are not in order of size, so that those that are forgotten first are of all
sizes."""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What an artefact was made of."""

    stream: str
    detector: list[Any]
    """Name and major version: another one's state is of no use."""
    start: int
    """Of the first and the last sample, ns UTC, to the microsecond."""
    end: int
    rows: int
    """Samples with a value."""
    series: int
    metrics: int


class _File(msgspec.Struct, frozen=True):
    format: int
    card: Card
    series: list[str]
    metrics: list[str]
    """Whose prototypes are behind the series."""
    arrays: dict[str, tuple[list[int], str, bytes]]
    """Name → shape, dtype, content."""


class Start(NamedTuple):
    """With what a series may begin."""

    place: int
    own: bool
    """Whether it is its own state, not the prototype of its metric."""


class WarmStart:
    """An artefact that was opened.

    >>> from opintel.health.series import MultiSeriesDetector
    >>> past, now, noise = MultiSeriesDetector(1), MultiSeriesDetector(1), np.random.default_rng(1).normal(size=2010)
    >>> _ = past.update_many(np.zeros(2000, int), 60.0 * np.arange(2000), noise[:2000])
    >>> learned = Learned(['s|load{instance="a"}'], past.state())
    >>> warm = WarmStart(fitted([learned], "health", ["health.series", 5]).data, ["health.series", 5])
    >>> warm.find('s|load{instance="a"}'), warm.find('s|load{instance="b"}'), warm.find('s|up{instance="a"}')
    (Start(place=0, own=True), Start(place=1, own=False), None)
    >>> _ = now.update_many(np.zeros(10, int), 9e6 + 60.0 * np.arange(10), noise[2000:])
    >>> now.begin([0], warm.state, [0], [True])
    array([ True])
    >>> bool(now.update_many([0], [9e6 + 600.0], [9.0]).p_value[0] < 1e-3)
    True
    """

    def __init__(self, data: bytes, detector: Sequence[Any]) -> None:
        """`detector`: the name and version that it has to be of. Raises ValueError where it is none, or another's."""
        try:
            file = msgspec.msgpack.decode(data, type=_File)
        except msgspec.MsgspecError as error:
            raise ValueError(f"expected a baseline that `opintel fit` made: {error}") from error
        made, wanted = (file.format, file.card.detector), (FORMAT, [*detector])
        if made != wanted:
            raise ValueError(f"expected a baseline of format and detector {wanted}, got {made}")
        self.card = file.card
        self.state = SeriesState(0)
        try:
            arrays: dict[str, NDArray[np.generic]] = {
                name: np.frombuffer(body, dtype={"<f8": "<f8", "<f4": "<f4"}[kind]).reshape(shape)
                for name, (shape, kind, body) in file.arrays.items()
            }
            self.state.restore({**arrays, "names": np.array(COLUMNS)})
        except KeyError as error:
            raise ValueError(f"expected the arrays {', '.join(ARRAYS)} of floats, got {error}") from error
        named = len(file.series) + len(file.metrics)
        if self.state.count != named:
            raise ValueError(f"expected {named} states, got {self.state.count}")
        self._series = {name: place for place, name in enumerate(file.series)}
        self._metrics = {name: place for place, name in enumerate(file.metrics, len(file.series))}

    def find(self, key: str) -> Start | None:
        """With what the series of a key begins: its own state, else the prototype of its metric."""
        own = self._series.get(key)
        if own is not None:
            return Start(own, True)
        place = self._metrics.get(metric_of(parts_of(key)[1]))
        return None if place is None else Start(place, False)


def begin(
    state: SeriesState, keys: Ints, learned: SeriesState, places: Ints, own: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Lets series that have had their first rows but no p-value yet, `keys` (n,), begin with the states at `places`
    (n,) of `learned`; returns which of them do (n,).

    Times, spacing and the last value stay the series'; where the state is not its `own`, so do mean and scale. A series
    that has moved does not begin with a prototype that never did.
    """
    c, found = state.columns, learned.columns[:, places]
    was, hours, weeks = c[:, keys], learned.hours[places], learned.weeks[places]
    moved, moves = was[AT["scale"]] > _floor(was), found[AT["scale"]] > _floor(found)
    taken = own | moves | ~moved
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = np.where(~own & moved & moves, was[AT["scale"]] / found[AT["scale"]], 1.0)
    found[VALUES] *= unit
    found[SQUARES] *= unit**2
    for profile in (hours, weeks):
        profile[:, 0] *= unit[:, None]
    time, value = was[AT["time"]], was[AT["value"]]
    hourly, weekly = _profiles(hours, weeks, time)
    mean = np.where(own, found[AT["mean"]], was[AT["mean"]] - hourly - weekly)
    longest = found[AT["longest"]] / np.maximum(found[AT["spacing"]], SHORTEST) * was[AT["spacing"]]
    for name, column in {
        "first_time": time - (found[AT["time"]] - found[AT["first_time"]]),
        "longest": np.maximum(longest, was[AT["longest"]]),
        "memory": np.where(own, found[AT["memory"]], was[AT["memory"]]),
        "mean": mean,
        "deviation0": value - mean,
        "deviation1": value - mean - hourly,
        "deviation2": value - mean - hourly - weekly,
        **{name: was[AT[name]] for name in ("time", "spacing", "fast", "value", "run")},
        **dict.fromkeys(PRESENT, np.zeros(len(keys))),
    }.items():
        found[AT[name]] = column
    into, of = keys[taken], np.flatnonzero(taken)
    c[:, into] = found[:, of]
    state.rings[into], state.hours[into], state.weeks[into] = learned.rings[places[of]], hours[of], weeks[of]
    return np.asarray(taken)


def _floor(columns: Floats) -> Floats:
    """(n,) below which a scale is that of a constant series."""
    return np.asarray(1e-12 * np.maximum(np.abs(columns[AT["mean"]]), np.abs(columns[AT["fast"]])) + 1e-300)


def _profiles(hours: NDArray[np.float32], weeks: NDArray[np.float32], time: Floats) -> tuple[Floats, Floats]:
    """(n,) each: the values of hour and of day × hour at `time` (n,) s, as `baselines.moment` places it."""
    clock, each = time / 3600.0 - 0.5, np.arange(len(time))
    hour = np.floor(clock)
    low, day = (hour % 24.0).astype(np.int64), np.floor(time / DAY)
    week_hour = (24.0 * (day % 7.0) + np.floor((time - day * DAY) / 3600.0)).astype(np.int64)
    hourly = (1.0 - (clock - hour)) * hours[each, 0, low] + (clock - hour) * hours[each, 0, (low + 1) % 24]
    return np.asarray(hourly, dtype=np.float64), weeks[each, 0, week_hour].astype(np.float64)


class Learned(NamedTuple):
    """What one detector has learned of K series."""

    keys: list[str]
    arrays: Mapping[str, NDArray[np.generic]]
    """`MultiSeriesDetector.state()` of them, in this order."""


class MadeBaseline(NamedTuple):
    """The artefact, and its card."""

    data: bytes
    card: Card


def fitted(learned: Sequence[Learned], stream: str, detector: Sequence[Any]) -> MadeBaseline:
    """The artefact of what detectors (of partitions and epochs, the oldest first) have learned; of a key that several
    know the last counts.

    A series of fewer than 100 rows has learned too little and is left out. The same states give the same bytes,
    however they are spread over detectors. Raises ValueError where no series is left.
    """
    keys = [key for one in learned for key in one.keys]
    every = {
        name: np.concatenate([one.arrays[name] for one in learned], axis=1 if name == "columns" else 0)
        for name in (ARRAYS if learned else ())
    }
    place = {key: n for n, key in enumerate(keys) if every["columns"][AT["rows"], n] >= WARM}
    if not place:
        raise ValueError(f"expected a series of {WARM:.0f} samples or more, got none among {len(set(keys))}")
    series = sorted(place)
    chosen = np.array([place[key] for key in series])
    own = {name: part[:, chosen] if name == "columns" else part[chosen] for name, part in every.items()}
    of_metric: dict[str, list[int]] = {}
    for n, key in enumerate(series):
        of_metric.setdefault(metric_of(parts_of(key)[1]), []).append(n)
    metrics = sorted(of_metric)
    prototypes = [_prototype(own, np.array(of_metric[metric])) for metric in metrics]
    arrays = {
        name: np.concatenate([part, *(p[name] for p in prototypes)], axis=1 if name == "columns" else 0)
        for name, part in own.items()
    }
    times = own["columns"].astype(np.float64)
    card = Card(
        stream=stream,
        detector=list(detector),
        start=round(times[AT["first_time"]].min() * 1e6) * 1000,
        end=round(times[AT["time"]].max() * 1e6) * 1000,
        rows=int(times[AT["rows"]].sum()),
        series=len(series),
        metrics=len(metrics),
    )
    plain = {name: ([*a.shape], a.dtype.str, np.ascontiguousarray(a).tobytes()) for name, a in arrays.items()}
    data = msgspec.msgpack.encode(_File(FORMAT, card, series, metrics, plain), order="deterministic")
    return MadeBaseline(data, card)


def _prototype(every: Mapping[str, NDArray[Any]], chosen: Ints) -> dict[str, NDArray[Any]]:
    """The state of a series that is like the middle one of those `chosen` (n,) in each respect, in units of its
    scale: arrays of one series. Where most never moved, it never did."""
    c = every["columns"][:, chosen].copy()
    scale = np.where(c[AT["scale"]] > _floor(c), c[AT["scale"]], 0.0)
    unit = np.where(scale > 0.0, scale, 1.0)
    middle = float(np.median(scale))
    back = middle if middle > 0.0 else 1.0
    c[VALUES] /= unit
    c[SQUARES] /= unit**2
    c[AT["first_time"]] -= c[AT["time"]]
    c[AT["time"]] = 0.0
    columns = np.median(c, axis=1)
    columns[VALUES] *= back
    columns[SQUARES] *= back**2
    columns[AT["scale"]] = middle
    hours, weeks = every["hours"][chosen].copy(), every["weeks"][chosen].copy()
    for profile in (hours, weeks):
        profile[:, 0] *= (back / unit)[:, None]
    counts = [AT[f"count{side}"] for side in range(SIDES)]
    columns[counts] = np.floor(columns[counts])
    rings = np.full((SIDES, KEPT), -np.inf, dtype=np.float32)
    ordered = np.median(-np.sort(-every["rings"][chosen], axis=2), axis=0)  # the largest, the second …
    for side, count in enumerate(columns[counts].tolist()):
        held = int(min(count, KEPT))
        values = np.maximum(ordered[side, :held], columns[AT[f"bound{side}"]])
        rings[side, :held] = values[np.argsort(STRIDE * np.arange(held) % max(held, 1), kind="stable")]
    return {
        "columns": columns[:, None],
        "rings": rings[None],
        "hours": np.median(hours, axis=0)[None].astype(np.float32),
        "weeks": np.median(weeks, axis=0)[None].astype(np.float32),
        "firsts": np.zeros((1, *every["firsts"].shape[1:])),
    }
