"""Findings and measures as tables, where the output is no terminal."""

from __future__ import annotations

from typing import Any

import pytest

from opintel.cli.evaluate import print_table
from opintel.cli.shown import SHOWN, print_findings


def finding(kind: str, host: str, minute: int, log10_p: float | None, severity: str = "warning") -> dict[str, Any]:
    return {
        "kind": kind,
        "subject": {"scope": "s", "instance": host},
        "window": {"end": f"2026-01-01T00:{minute:02}:00Z"},
        "severity": severity,
        "log10_p": log10_p,
        "summary": f"{kind} of {host} at {minute}",
    }


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_findings_of_one_matter_are_one_line_with_the_most_surprising(capsys: pytest.CaptureFixture[str]) -> None:
    found = [
        finding("unusual", "a", 1, -5.0),
        finding("unusual", "b", 1, -4.0),
        finding("unusual", "a", 2, -9.0),
        finding("unusual", "a", 3, -20.0, "info"),
        finding("down", "b", 4, None),
        finding("down", "b", 5, None),
    ]
    print_findings(found)
    title, _, *rows = printed(capsys)
    assert title == "6 findings, by kind and subject (3)"
    assert rows == [
        "2026-01-01T00:01 1 unusual -4.0 unusual of b at 1",
        "2026-01-01T00:01 3 unusual -9.0 unusual of a at 2",
        "2026-01-01T00:04 2 down down of b at 5",
    ]


def test_of_many_matters_the_newest_are_shown_and_all_counted(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings([finding("unusual", f"host{n}", n % 60, -5.0) for n in range(70)])
    title, _, *rows = printed(capsys)
    assert title == f"70 findings, by kind and subject ({SHOWN} of 70)"
    assert [row.split()[6] for row in rows] == [f"host{n}" for n in range(30, 70)]


def test_no_heading_of_a_measure_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"kind": "a", "minutes_to_detect": 1.0, "incidents_per_fault": None}])
    assert "incidents per fault" in capsys.readouterr().out
