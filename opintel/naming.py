"""What a domain's subjects and times are called where people read them; its `pipeline.py` declares it.

The rooms that show or group every stream alike (console, alerts) ask by stream and know no domain's words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from opintel.finding import Finding, finding_json


def in_words(subject: Mapping[str, str]) -> str:
    """The labels of a subject in one line, its scope left out where there are others.

    >>> in_words({"scope": "default", "instance": "a", "metric": "node_load1"}), in_words({"scope": "default"})
    ('instance a, metric node_load1', 'scope default')
    """
    named = {label: text for label, text in subject.items() if label != "scope"} or dict(subject)
    return ", ".join(f"{label} {text}" for label, text in named.items())


def no_other(finding: Finding) -> dict[str, str]:
    """A window is called by its UTC times alone."""
    return {}


class TimeScale(NamedTuple):
    """A time scale that a field reckons in besides UTC."""

    name: str
    """As it stands in JSON: `gps`."""
    seconds: Callable[[int], float]
    """ns UTC → its seconds."""


class Naming(NamedTuple):
    """A domain's words. Every text in a subject is untrusted: who shows it escapes it."""

    entities: tuple[str, ...] = ()
    """Labels that name what an incident can be about, in order: one in a subject is a thing (a machine, an endpoint),
    two are what lies between two things (a link). None named: all labels but the scope's. A site may choose others
    (`grouping` in `alerts/incidents.yaml`)."""
    between: str = ", "
    """Stands between the two."""
    subject: Callable[[Mapping[str, str]], str] = in_words
    """A subject in one line."""
    times: Callable[[Finding], Mapping[str, str]] = no_other
    """What the window of a finding is called besides its UTC times: {"GPS": "1126259462 to 1126259466"}, {"run":
    "382500", "lumisection": "17"}. Shown beside them; inside all times are ns UTC."""
    scale: TimeScale | None = None
    """In which the JSON form of a finding has its window and its onset too."""
    across_scopes: bool = False
    """A name means the same thing in every scope (a storage does, whichever FTS uses it): what is wrong with it is one
    incident of all scopes."""


def named_json(finding: Finding, naming: Naming) -> dict[str, Any]:
    """The JSON form of a finding, its times in the domain's own scale too.

    >>> from opintel.finding import NS, Effect, Window
    >>> about = {"id": "a", "detector": "d", "kind": "k", "subject": {}, "log10_p": None, "basis": "none"}
    >>> why = {"effect": Effect(1.0, "s"), "severity": "info", "summary": "", "window": Window(0, 4 * NS)}
    >>> found = named_json(Finding(**about, **why, onset=NS), Naming(scale=TimeScale("gps", lambda ns: ns / NS + 9)))
    >>> found["window"]["gps"], found["onset_gps"]
    ([9.0, 13.0], 10.0)
    """
    plain, scale = finding_json(finding), naming.scale
    if scale is not None:
        plain["window"][scale.name] = [scale.seconds(finding.window.start), scale.seconds(finding.window.end)]
        plain[f"onset_{scale.name}"] = None if finding.onset is None else scale.seconds(finding.onset)
    return plain
