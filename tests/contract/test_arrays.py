"""The toys of arrays find what is there: histograms by lumisection, samples with context, artefacts that change."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from opintel.finding import NS, Finding, Window
from opintel.streams.artefacts import ArtefactUnavailable
from opintel.streams.findings import Found, decode
from opintel.streams.records import Derived, derived_codec
from opintel.streams.stream import FINDINGS

from . import samples
from .cases import HISTOGRAM_CASE, SAMPLE_CASE
from .harness import LOGS, Case, drain, feed, outcome, play, workers
from .histograms import BEGIN, MISSING, RUNS, SCOPES


class Played(NamedTuple):
    """What a whole run said."""

    findings: list[Finding]
    """In the order in which they were said."""
    records: dict[tuple[Window, str], Any]
    """(window, key) → payload of stage 1."""
    late: int


def played(case: Case, folder: Path) -> Played:
    bus = LOGS["sqlite"](folder)
    for _ in feed(bus, case):
        pass
    drain(workers(bus, case, folder))
    codec = derived_codec(case.pipeline.record)
    derived = [codec.decode(value) for _, value, _ in bus.read(case.stream.derived, 0, 0, 10**6)]
    records = [r for value in derived if isinstance(value, Derived) for r in value.records if r.kind != "quarantined"]
    said = [decode(value) for _, value, _ in bus.read(FINDINGS, 0, 0, 10**6)]
    findings = [one.finding for one in said if isinstance(one, Found)]
    late = outcome(bus, case).asides["late", "its window was closed"]
    bus.close()
    return Played(findings, {(r.window, r.key): r.payload for r in records}, late)


@pytest.fixture(scope="module")
def histograms(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return played(HISTOGRAM_CASE, tmp_path_factory.mktemp("histograms"))


def of_kind(kind: str, findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.kind == kind]


def numbers(finding: Finding) -> Counter[str]:
    """Those in the text of a lumisection's quality."""
    return Counter({name: int(n) for n, name in re.findall(r"(\d+) ([a-z]+)", finding.summary)})


def changes(models: Sequence[str]) -> int:
    return sum(a != b for a, b in itertools.pairwise(models))


def test_what_a_manifest_lists_and_did_not_come_is_missing(histograms: Played) -> None:
    missing = of_kind("missing", histograms.findings)
    assert [f.subject["path"] for f in missing] == ["hits"] * 3  # of four: the last has no manifest
    said = [f.summary for f in of_kind("quality", histograms.findings) if numbers(f)["missing"]]
    assert {tuple(map(int, re.findall(r"\d+", text)[:2])) for text in said} == set(MISSING[:3])


def test_every_lumisection_is_judged_once_in_order_of_its_end(histograms: Played) -> None:
    judged = of_kind("quality", histograms.findings)
    assert len(judged) == sum(count for *_, count in RUNS) * len(SCOPES)
    ends = [f.window.end for f in judged]
    assert ends == sorted(ends)
    windows = sorted({f.window for f in judged})
    assert len({w.end - w.start for w in windows}) == 3
    assert any(a.end > b.start for a, b in itertools.pairwise(windows))  # two runs at once
    assert any(a.end + 60 * NS < b.start for a, b in itertools.pairwise(windows))  # and a gap


def test_revisions_in_time_count_once_later_ones_are_asides_and_nan_is_insufficient(histograms: Played) -> None:
    total = sum(map(numbers, of_kind("quality", histograms.findings)), Counter[str]())
    compared = [one for one in histograms.records.values() if type(one).__name__ == "Compared"]
    assert total["superseded"] == sum(one.superseded for one in compared) > 5
    assert total["insufficient"] == sum(one.verdict == "insufficient" for one in compared) > 3
    assert histograms.late


def test_a_set_of_references_is_in_force_once_all_of_it_has_come(histograms: Played) -> None:
    judged = of_kind("quality", histograms.findings)
    alone = [f for f in judged if numbers(f)["alone"]]
    assert {f.subject["scope"] for f in alone} == {"calo"}  # of the other scope all had come
    whole = BEGIN + 151 * NS
    assert all(f.window.end < whole for f in alone)
    assert any(f.window.end > whole for f in judged if f.subject["scope"] == "calo")


def test_references_and_settings_of_a_reducer_change_the_model_from_a_window_on(histograms: Played) -> None:
    for scope in SCOPES:
        models = [f.model for f in sorted(of_kind("quality", histograms.findings), key=lambda f: f.window.start)
                  if f.subject["scope"] == scope]  # fmt: skip
        assert changes(models) == 2
        assert len(set(models)) == 3


def test_a_filter_with_context_says_what_it_says_of_the_whole_series(tmp_path: Path) -> None:
    found = played(SAMPLE_CASE, tmp_path)
    model = found.findings[0].model
    new_taps = next(f.window.start for f in found.findings if f.model != model)
    bad, second = samples.POISON
    pad = np.full(8 * samples.RATE, np.nan)
    cut = 0
    for channel in samples.CHANNELS:
        series = samples.samples(channel).astype(np.float64)
        series[[not samples.there(channel, n) for n in range(samples.SECONDS)]] = np.nan
        series[55, 3:6] = np.nan if channel == "l:strain" else series[55, 3:6]
        whole = np.concatenate([pad, series.reshape(-1), pad])
        for start in range(samples.BEGIN - 3 * NS, samples.BEGIN + samples.SECONDS * NS, 4 * NS):
            if channel == bad and start + 4 * NS > samples.BEGIN + second * NS:
                continue
            taps = samples.TAPS if start < new_taps else np.frombuffer(samples.NEW_TAPS)
            first = (start - samples.BEGIN) // NS * samples.RATE + len(pad) - samples.REACH
            values = np.correlate(whole, taps, "valid")[first : first + 4 * samples.RATE]
            record = found.records.get((Window(start, start + 4 * NS), channel), [0])
            assert np.isfinite(values).sum() == record[0], (channel, start)
            if record[0]:
                at = np.nanargmax(np.abs(values))
                assert record[1:3] == [at, pytest.approx(values[at])]
                cut += at < samples.REACH or at >= 4 * samples.RATE - samples.REACH
    assert cut > 10  # at the edges of windows, where the context matters


def test_findings_have_another_model_from_the_window_of_an_artefacts_control_on(tmp_path: Path) -> None:
    found = played(SAMPLE_CASE, tmp_path / "a").findings
    plain = played(replace(SAMPLE_CASE, controls=list), tmp_path / "b").findings
    assert changes([f.model for f in found]) == 2
    assert len({f.model for f in found}) == 3
    assert {f.model for f in plain} == {found[0].model}
    before = [f for f in found if f.model == found[0].model]
    assert before == plain[: len(before)]


@pytest.mark.parametrize("there", [samples.LEVEL, samples.NEW_TAPS], ids=["reducer", "judge"])
def test_a_missing_artefact_is_waited_for(there: bytes, tmp_path: Path) -> None:
    bus = LOGS["sqlite"](tmp_path)
    without = replace(SAMPLE_CASE, artefacts=[there])

    def run(case: Case) -> None:
        team = workers(bus, case, tmp_path)
        for _ in feed(bus, case):
            drain(team)
        drain(team)

    for _ in range(2):
        with pytest.raises(ArtefactUnavailable, match="expected a file of that name"):
            run(without)
    run(SAMPLE_CASE)
    assert outcome(bus, SAMPLE_CASE) == play(SAMPLE_CASE, tmp_path / "there")
