"""The samples of the health domain as rows, and the text that names a series.

A row's key is `scope|series`; the series is written as Prometheus writes it, `name{label="value",…}`, labels in order,
so that an operator can paste it into a query. `opintel.health.wire` makes rows, `opintel.health.reducer` takes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from opintel.rows import Columns, Numbers

SEPARATOR = "|"
_LABEL = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)')
_ESCAPES = {"\\": "\\\\", "\n": "\\n", '"': '\\"'}


COUNTERS = ("_total", "_count", "_sum", "_bucket")
"""Ends of the names of counters, as Prometheus advises (prometheus.io/docs/practices/naming)."""


class Sample(msgspec.Struct, array_like=True, gc=False):
    """One value of a series; the time is the row's."""

    value: Annotated[float, msgspec.Meta(ge=-1e308, le=1e308)]
    missing: bool
    """The series was there, its value was not a finite number; `value` is 0 then."""


class Samples(Columns):
    """`Sample`s as columns."""

    ROW = Sample
    value: Annotated[NDArray[np.float64], Numbers("<f8")]
    missing: Annotated[NDArray[np.int8], Numbers("<i1", 0, 1)]

    @classmethod
    def of(cls, payloads: Sequence[Sample]) -> Samples:
        return cls(
            np.array([p.value for p in payloads], dtype=np.float64),
            np.array([p.missing for p in payloads], dtype=np.int8),
        )

    def row(self, n: int, key: str) -> Sample:
        return Sample(float(self.value[n]), bool(self.missing[n]))


def series_text(name: str, labels: Mapping[str, str]) -> str:
    """The series as Prometheus writes it.

    >>> series_text("up", {"job": "node", "instance": "a:9100"})
    'up{instance="a:9100",job="node"}'
    """
    inside = ",".join(f'{label}="{_escaped(value)}"' for label, value in sorted(labels.items()))
    return f"{name}{{{inside}}}" if inside else name


@lru_cache(1 << 16)
def _parts(series: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    name, _, inside = series.partition("{")
    return name, tuple((label, _plain(value)) for label, value in _LABEL.findall(inside[:-1]))


def series_parts(series: str) -> tuple[str, dict[str, str]]:
    """(name, labels in order): the inverse of `series_text`.

    >>> series_parts('up{instance="a:9100",job="node"}')
    ('up', {'instance': 'a:9100', 'job': 'node'})
    """
    name, labels = _parts(series)
    return name, dict(labels)


def is_counter(name: str) -> bool:
    """Whether a metric only counts up, so that its rate is what can be judged."""
    return name.endswith(COUNTERS)


def key_of(scope: str, name: str, labels: Mapping[str, str]) -> str:
    """The key of a row; a separator in the scope is replaced."""
    return f"{scope.replace(SEPARATOR, '_')}{SEPARATOR}{series_text(name, labels)}"


def subject_of(scope: str, series: str) -> dict[str, str]:
    """What a finding about a series is about. Labels that are named as ours keep their text under Prometheus' name for
    such (`exported_…`): a sample must not say whose fleet it is.

    >>> subject_of("k8s", 'up{metric="m",scope="cluster"}')
    {'scope': 'k8s', 'metric': 'up', 'exported_scope': 'cluster', 'exported_metric': 'm'}
    """
    name, labels = series_parts(series)
    for ours in ("scope", "metric"):
        text, theirs = labels.pop(ours, None), f"exported_{ours}"
        while theirs in labels:
            theirs = f"exported_{theirs}"
        if text is not None:
            labels[theirs] = text
    return {"scope": scope, "metric": name, **labels}


def parts_of(key: str) -> tuple[str, str]:
    """(scope, series)."""
    scope, _, series = key.partition(SEPARATOR)
    return scope, series


def _escaped(value: str) -> str:
    return "".join(_ESCAPES.get(c, c) for c in value)


def _plain(value: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], value)
