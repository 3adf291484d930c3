"""Any anomaly detector of river, plugged into a stream: each series of the named metrics has a model of its own.

A window's last value goes to the series' model, which scores it and then learns it. river's scores mean something
different for each model: what counts is their rank among the series' own past scores. Records come from stage 1.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from opintel.detector import Closing, Judge, Most
from opintel.evidence import Series, capped
from opintel.finding import Effect, Finding, digest, finding_id
from opintel.health.refused import refused
from opintel.health.river.plain import RiverKind, river_kind
from opintel.health.series_names import metric_of, subject_of
from opintel.health.windows import series_windows
from opintel.streams.stage import CRASH, said

LEAST: Final = 100
"""Windows that a model learns before its scores count: the first ones are often enormous."""
BLOCK: Final = 20_000
"""Windows whose scores are ranked together; those of the block before count too. Two weeks of minutes."""
HIGHEST: Final = 64
"""Scores of a block that are kept: a lower one is usual."""
DRAWN: Final = 60
"""Windows that a picture shows."""
GONE: Final = 1440
"""Windows without a value after which a series is forgotten."""


class PluggedSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of `PluggedJudge`; without a `model` it says nothing."""

    model: str = ""
    """Dotted name below `river`, such as anomaly.GaussianScorer."""
    parameters: dict[str, Any] = {}
    """Of its constructor; one that is itself a model is written {model: …, parameters: …}."""
    metrics: tuple[str, ...] = ()
    """Names of the metrics whose series are given to it."""
    emit: Annotated[float, msgspec.Meta(ge=-300, le=-3.0)] = -3.0
    """Findings with log10 p at most this are emitted."""
    max_findings: Most = 100
    """At most so many a window, the most surprising first."""
    max_series: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 2000
    """Series of a scope that have a model, first come first served; the others are in one finding a window."""

    def __post_init__(self) -> None:
        if self.model:
            river_kind(self.model, self.parameters)
            if not self.metrics:
                raise ValueError(f"{self.model} is given no series: `metrics` names those that it is to judge")


class _Block(msgspec.Struct, array_like=True):
    """Scores: how many there were, and the highest of them in order."""

    count: int = 0
    highest: list[float] = []

    def at_least(self, score: float) -> int | None:
        """How many were as high, None where that is more than are kept."""
        above = len(self.highest) - bisect_left(self.highest, score)
        return None if above == HIGHEST else above

    def add(self, score: float) -> None:
        """Notes a score."""
        self.count += 1
        insort(self.highest, score)
        del self.highest[:-HIGHEST]


class _Known(msgspec.Struct, array_like=True):
    """A series that has a model, or had one; the model itself is held beside it."""

    values: int = 0
    """Windows with a value."""
    absent: int = 0
    """Windows without one since the last."""
    refused: str = ""
    """Why its model was given up."""
    now: _Block = msgspec.field(default_factory=_Block)
    before: _Block = msgspec.field(default_factory=_Block)
    trail: list[tuple[int, float, float | None]] = []
    """(time in ns UTC, value, score) of the last windows, oldest first."""

    def rank(self, score: float) -> tuple[int, int]:
        """(how many scores were as high, of how many); all of them where it is too low to tell."""
        total = self.now.count + self.before.count
        counts = (self.now.at_least(score), self.before.at_least(score))
        return (total, total) if None in counts else (sum(c or 0 for c in counts), total)

    def add(self, score: float) -> None:
        """Notes a score."""
        if self.now.count == BLOCK:
            self.before, self.now = self.now, _Block()
        self.now.add(score)


class PluggedJudge(Judge):
    """Findings of kind `plugged`: a window that river's model finds stranger than (nearly) all before it.

    p = (1 + past scores at least as high) / (1 + past scores) of the same series, if those are alike; it is never
    lower than their number allows, and the scores of a model's first `LEAST` windows do not count. After other settings
    of the model, or another version of river, models begin afresh. Series without a model (above `max_series`, their
    state too large, their model raised) are reported by one finding of kind `refused` a window, which raises no alarm.

    >>> from opintel.detector import Controls
    >>> from opintel.finding import Window
    >>> closing = Closing(Window(0, 60), "site", [], Controls(), PluggedSettings(), "", complete=True)
    >>> PluggedJudge().judge(closing)  # the shipped settings name no model
    []
    """

    name = "health.river"
    version = 1
    Settings = PluggedSettings
    controls: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}
        """Series judged in the last window."""
        self._kind: RiverKind | None = None
        self._of = ""
        """Hash of what the models are: river's version, model and parameters."""
        self._known: dict[str, _Known] = {}
        self._models: dict[str, Any] = {}
        self._kept: Mapping[str, Any] | None = None
        """A restored state, until the settings say of which kind its models are."""

    def judge(self, closing: Closing) -> list[Finding]:
        """The findings of one closed window, most surprising first."""
        settings: PluggedSettings = closing.settings
        self._begin(settings)
        self.tests = {}
        if self._kind is None:
            return []
        without: dict[str, str] = {}
        ranked: list[tuple[float, str, int, int]] = []
        seen = set()
        for series, window in series_windows(closing.records).items():
            value = window.last.value
            if value is None or metric_of(series) not in settings.metrics:
                continue
            if series not in self._known and len(self._known) >= settings.max_series:
                without[series] = f"more than {settings.max_series} series: raise max_series"
                continue
            seen.add(series)
            known = self._known.setdefault(series, _Known())
            score, why = self._step(series, known, window.last.time, value)
            if why:
                without[series] = why
            if score is not None and known.values > LEAST:
                above, total = known.rank(score)
                known.add(score)
                ranked.append((math.log10((1 + above) / (1 + total)), series, above, total))
        self._forget(seen)
        self.tests = {"plugged": len(ranked)}
        strange = sorted(r for r in ranked if r[0] <= settings.emit)[: settings.max_findings]
        found = [self._finding(closing, *one) for one in strange]
        if without:
            found.append(refused(self, closing, f"series without a model of {settings.model}", without))
        return found

    def state(self) -> Any:
        """Plain data: of which models, and each series with its model's state."""
        if self._kept is not None or self._kind is None:
            return self._kept
        return {"of": self._of, "series": [self._saved(self._kind, *one) for one in sorted(self._known.items())]}

    def restore(self, state: Any) -> None:
        """The inverse of `state`."""
        self._kept = state

    def _begin(self, settings: PluggedSettings) -> None:
        """Sees to it that the models are those of the settings."""
        self._kind = river_kind(settings.model, settings.parameters) if settings.model else None
        of = digest([self._kind.version, settings.model, settings.parameters]) if self._kind else ""
        kept, self._kept = self._kept, None
        if kept is not None and kept["of"] == of and self._kind is not None:
            for series, known, model in kept["series"]:
                self._known[series] = msgspec.convert(known, _Known)
                if model is not None:
                    self._models[series] = self._kind.restored(model)
        elif self._of != of:
            self._known, self._models = {}, {}
        self._of = of

    def _saved(self, kind: RiverKind, series: str, known: _Known) -> list[Any]:
        model = self._models.get(series)
        try:
            # whether it is too large is asked in `_step`, at windows that do not depend on when a state is saved
            return [series, msgspec.to_builtins(known), None if model is None else kind.plain(model, math.inf)]
        except ValueError as error:  # it holds something else since `_step` looked; there it is given up in due course
            return [series, msgspec.to_builtins(msgspec.structs.replace(known, refused=str(error))), None]

    def _step(self, series: str, known: _Known, time: int, value: float) -> tuple[float | None, str]:
        """(the score of a value, if there is one; why there is no model), and the model has learned it."""
        assert self._kind is not None
        known.absent = 0
        if known.refused:
            return None, known.refused
        model = self._models.get(series)
        if model is None:
            model = self._models[series] = self._kind.fresh()
        score, why = None, ""
        try:
            score = self._kind.score(model, value)
        except CRASH:
            raise
        except Exception as error:  # river's code: some models cannot score before they have seen a season
            why = f"it cannot score {value:.6g}: {said(error)}" if known.values >= LEAST else ""
        try:
            self._kind.learn(model, value)
        except CRASH:
            raise
        except Exception as error:
            self._models[series] = self._kind.fresh()
            return None, f"it cannot learn {value:.6g} and begins afresh: {said(error)}"
        score = score if score is not None and math.isfinite(score) else None
        known.values += 1
        known.trail = [*known.trail[-(DRAWN - 1) :], (time, value, score)]
        if known.values & (known.values - 1) == 0 or known.values % 1024 == 0:
            try:
                self._kind.plain(model)
            except ValueError as error:
                del self._models[series]
                known.refused = why = str(error)
        return score, why

    def _forget(self, seen: set[str]) -> None:
        """Carries the absence of the others on."""
        for series in [s for s in self._known if s not in seen]:
            known = self._known[series]
            known.absent += 1
            if known.absent > GONE:
                del self._known[series]
                self._models.pop(series, None)

    def _finding(self, closing: Closing, log10_p: float, series: str, above: int, total: int) -> Finding:
        name = metric_of(series)
        subject = subject_of(closing.scope, series)
        trail, window = self._known[series].trail, closing.window
        _, value, score = trail[-1]
        model = closing.settings.model
        times, marked = [t for t, _, _ in trail], (window.start, window.end)
        rank = "higher than all" if above == 0 else f"as high as {above}"
        return Finding(
            id=finding_id(self.name, self.version, closing.model, subject, window),
            detector=self.name,
            kind="plugged",
            subject=subject,
            window=window,
            log10_p=log10_p,
            basis="ranked",
            effect=Effect(score or 0.0, f"score of {model}"),
            severity="warning",
            summary=f"{series[:250]} is {value:.4g}: {model} gives it {score:.4g}, {rank} of {total} windows before",
            evidence=capped(
                [
                    Series(name, times, [v for _, v, _ in trail], "", None, marked),
                    Series(f"Scores of {model}", times, [s for _, _, s in trail], "", None, marked),
                ]
            ),
            model=closing.model,
        )
