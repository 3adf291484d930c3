"""How incidents are held against a story's truth: found, how fast, in how many incidents, and what they name."""

from __future__ import annotations

from typing import Any

import pytest

from opintel.finding import NS, rfc3339
from opintel.site.scores import Rules, leading, score, table

START = 1_772_445_600 * NS
MINUTE = 60 * NS
RULES = Rules(("endpoint", "source", "destination"), 10 * MINUTE, wide=("dark", "proxy"), harmless=("upgrade",))


def fault(kind: str, begin: int, **subject: str) -> dict[str, Any]:
    times = {"start": rfc3339(START + begin * MINUTE), "end": rfc3339(START + (begin + 60) * MINUTE)}
    return {"id": f"{kind}-{begin}", "kind": kind, "subject": subject, "cause": "broken", **times}


def incident(title: str, opened: int, *subjects: dict[str, str]) -> dict[str, Any]:
    return {
        "id": f"{title}-{opened}",
        "title": title,
        "streams": ["fts"],
        "start": rfc3339(START + (opened - 8) * MINUTE),
        "opened": rfc3339(START + opened * MINUTE),
        "subjects": [{"scope": "f1", **subject} for subject in subjects],
    }


def row(faults: list[dict[str, Any]], incidents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = table([score("fts", faults, incidents, 24.0, RULES)])["kinds"][kind]
    return found


def test_a_fault_that_one_incident_names() -> None:
    down = fault("down", 3, endpoint="a")
    said = incident("a fails as source: 9 of 9 files", 20, {"endpoint": "a", "role": "source"})
    assert row([down], [said], "down") == {
        "injected": 1,
        "found": 1,
        "found_in_two_windows": 1,
        "minutes_to_detect": 17.0,
        "windows_to_detect": 2,
        "incidents_per_fault": 1.0,
        "top1": 1.0,
        "cause": 1.0,
    }


def test_symptoms_beside_the_cause_cost_precision_and_alone_all_of_it() -> None:
    down = fault("down", 0, endpoint="a")
    cause = incident("a fails", 30, {"endpoint": "a", "role": "both"})
    link = incident("a to b fails", 20, {"source": "a", "destination": "b"})
    partner = incident("c fails", 20, {"endpoint": "c", "role": "destination"})
    both = row([down], [link, cause], "down")
    assert (both["found"], both["incidents_per_fault"], both["top1"], both["cause"]) == (1, 2.0, 0.0, 0.5)
    assert both["found_in_two_windows"] == 1
    assert row([down], [cause, partner], "down")["cause"] == 0.5
    alone = row([down], [link], "down")
    assert (alone["found"], alone["cause"]) == (1, 0.0)
    missed = row([down], [], "down")
    assert (missed["found"], missed["found_in_two_windows"], missed["cause"]) == (0, None, 0.0)


def test_a_late_find_is_not_one_within_two_windows() -> None:
    down = fault("down", 9, endpoint="a")
    soon, late = (row([down], [incident("a fails", at, {"endpoint": "a"})], "down") for at in (20, 30))
    assert (soon["windows_to_detect"], soon["found_in_two_windows"]) == (2, 1)
    assert (late["windows_to_detect"], late["found_in_two_windows"]) == (3, 0)


@pytest.mark.parametrize(
    ("kind", "labels", "title", "named", "top1"),
    [
        ("dark", {"scope": "f1"}, "f1 is silent", {}, 1.0),
        ("dark", {"scope": "f1"}, "broken: 9 of 9 attempts", {"family": "broken"}, 1.0),
        ("dark", {"scope": "f1"}, "other: 9 of 9 attempts", {"family": "other"}, 0.0),
        ("dark", {"scope": "f1"}, "a fails", {"endpoint": "a"}, 0.0),
        ("proxy", {"scope": "f1", "vo": "x"}, "x fails at f1", {"vo": "x"}, 1.0),
        ("proxy", {"scope": "f1", "vo": "x"}, "f1 fails", {}, 0.0),
    ],
)
def test_what_names_a_fault_of_a_whole_scope(
    kind: str, labels: dict[str, str], title: str, named: dict[str, str], top1: float
) -> None:
    found = row([fault(kind, 0, **labels)], [incident(title, 10, named)], kind)
    assert (found["found"], found["top1"]) == (1, top1)


def test_what_a_narrow_fault_explains_is_none_of_the_wide_one_s() -> None:
    faults = [fault("dark", 0, scope="f1"), fault("down", 0, endpoint="a")]
    said = [incident("f1 is silent", 10, {}), incident("a fails", 10, {"endpoint": "a"})]
    document = table([score("fts", faults, said, 24.0, RULES)])
    assert [document["kinds"][kind]["incidents_per_fault"] for kind in ("dark", "down")] == [1.0, 1.0]
    assert (document["all"]["cause"], document["cause_by_story"], document["false_incidents"]) == (1.0, 1.0, 0)


def test_false_incidents_a_week_and_what_is_harmless() -> None:
    upgrade = fault("upgrade", 0, scope="f1")
    said = incident("a fails", 10, {"endpoint": "a"})
    document = table([score("fts", faults, [said], 42.0, RULES) for faults in ([upgrade], [])])
    assert (document["false_incidents"], document["hours"], document["false_incidents_a_week"]) == (2, 84.0, 4.0)
    assert document["kinds"]["upgrade"]["injected"] == 1
    assert document["kinds"]["upgrade"]["found"] is None
    assert document["cause_by_story"] is None


def test_the_title_says_which_subject_leads() -> None:
    link = {"scope": "f1", "source": "a.example", "destination": "b.example"}
    ends = [{"scope": "f1", "endpoint": host, "role": "source"} for host in ("a.example", "b.example")]
    assert leading({"title": "a.example to b.example fails", "subjects": [*ends, link]}) == link
    assert leading({"title": "b.example fails as source", "subjects": [link, *ends]}) == ends[1]
    assert leading({"title": "something else", "subjects": [link, *ends]}) == link
