"""The text that names a series, and what it says: metric, labels, the subject of a finding.

A row's key is `scope|series`; the series is written as Prometheus writes it, `name{label="value",…}`, labels in order,
so that an operator can paste it into a query.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

SEPARATOR = "|"
_LABEL = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)')
_OURS = re.compile(r"(exported_)*(scope|metric)\Z")
_ESCAPES = {"\\": "\\\\", "\n": "\\n", '"': '\\"'}


COUNTERS = ("_total", "_count", "_sum", "_bucket")
"""Ends of the names of counters, as Prometheus advises (prometheus.io/docs/practices/naming)."""


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


def metric_of(series: str) -> str:
    """The name alone.

    >>> metric_of('up{instance="a:9100"}')
    'up'
    """
    return series.partition("{")[0]


def is_counter(name: str) -> bool:
    """Whether a metric only counts up, so that its rate is what can be judged."""
    return name.endswith(COUNTERS)


def key_of(scope: str, name: str, labels: Mapping[str, str]) -> str:
    """The key of a row; a separator in the scope is replaced."""
    return f"{scope.replace(SEPARATOR, '_')}{SEPARATOR}{series_text(name, labels)}"


def subject_of(scope: str, series: str) -> dict[str, str]:
    """What a finding about a series is about. Labels that are named as ours keep their text under Prometheus' name for
    such (`exported_…`, and those that are named so already one more time): a sample must not say whose fleet it is, nor
    two series be one.

    >>> subject_of("k8s", 'up{exported_metric="n",metric="m"}')
    {'scope': 'k8s', 'metric': 'up', 'exported_exported_metric': 'n', 'exported_metric': 'm'}
    """
    name, labels = series_parts(series)
    theirs = {f"exported_{label}" if _OURS.match(label) else label: text for label, text in labels.items()}
    return {"scope": scope, "metric": name, **theirs}


def named(series: str) -> str:
    """A series in words: where, what, and its other labels.

    >>> named('avail{instance="a:9100",job="node",mountpoint="/data"}')
    'a:9100: avail (/data)'
    """
    name, labels = series_parts(series)
    where = labels.get("instance", "")
    rest = ", ".join(text for label, text in labels.items() if label not in ("instance", "job"))
    return f"{where + ': ' if where else ''}{name}{f' ({rest})' if rest else ''}"


def parts_of(key: str) -> tuple[str, str]:
    """(scope, series)."""
    scope, _, series = key.partition(SEPARATOR)
    return scope, series


def _escaped(value: str) -> str:
    return "".join(_ESCAPES.get(c, c) for c in value)


def _plain(value: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], value)
