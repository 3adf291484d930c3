"""The stream of logs: own masks, ids that are those of the miner, a finding for each new form, as a user sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from opintel.cli import invoke
from opintel.detector import Controls, WindowRows
from opintel.finding import Window
from opintel.fts.logs.reducer import MOST, PART, FormSettings, LogMask, LogReducer, SourceForms
from opintel.fts.logs.wire import LogLine, LogLines
from opintel.fts.templates import TemplateMiner
from opintel.rows import Batch, Row
from opintel.site.shipped import copy_shipped

LINES = [
    "2024-05-01 12:00:00 job red done in 17 ms",
    "2024-05-01 12:00:10 job blue done in 21 ms",
    "2024-05-01 12:00:20 cannot open /data/run1/x.root",
    "2024-05-01 12:25:00 job green done in 9 ms",
    "2024-05-01 12:25:01 disk /dev/sda1 is full",
]


def forms(texts: list[str], masks: tuple[LogMask, ...] = ()) -> list[SourceForms]:
    batch = Batch.of([Row("a", n, n, LogLine(text)) for n, text in enumerate(texts)], LogLines).by_key()
    closing = WindowRows(Window(0, 60), batch, batch.cut(0, 0), Controls(), FormSettings(masks), {})
    return [record.payload for record in LogReducer().close(closing).records]


def replay(*arguments: object, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert invoke(["replay", "logs", *map(str, arguments), "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_each_new_form_is_a_finding_with_the_miner_s_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "app.log"
    file.write_text("\n".join(LINES) + "\n")
    found = replay(file, capsys=capsys)
    assert (found["messages"], found["dead_letters"], found["late"], found["incidents"]) == (5, 0, 0, [])
    news = [(f["window"]["start"], f["effect"]["value"], f["summary"].partition(": ")[2]) for f in found["findings"]]
    assert sorted(news) == [
        ("2024-05-01T12:00:00Z", 1.0, "cannot open <PATH>"),
        ("2024-05-01T12:00:00Z", 1.0, "job blue done in <TIME>"),
        ("2024-05-01T12:00:00Z", 1.0, "job red done in <TIME>"),
        ("2024-05-01T12:20:00Z", 1.0, "disk <PATH> is full"),
        ("2024-05-01T12:20:00Z", 1.0, "job green done in <TIME>"),
    ]
    miner = TemplateMiner()
    ids = miner.assign([line[20:] for line in LINES])
    assert {f["subject"]["template"] for f in found["findings"]} == set(ids)
    assert {f["kind"] for f in found["findings"]} == {"new-template"}


def test_masks_of_a_site_make_one_form_of_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, file = tmp_path / "site", tmp_path / "app.log"
    copy_shipped(folder)
    written = folder / "streams" / "logs.yaml"
    masked = "logs.forms: {masks: [{name: JOB, pattern: 'red|green|blue'}]}"
    written.write_text(written.read_text().replace("logs.forms: {}", masked))
    file.write_text("\n".join(LINES))
    found = replay(file, "--config", folder, capsys=capsys)
    news = [(f["effect"]["value"], f["summary"].partition(": ")[2]) for f in found["findings"]]
    assert sorted(news) == [
        (1.0, "cannot open <PATH>"),
        (1.0, "disk <PATH> is full"),
        (2.0, "job <JOB> done in <TIME>"),
    ]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"name": "job", "pattern": "a"}, "expected 1 to 16 capital letters, got 'job'"),
        ({"name": "JOB", "pattern": "(a"}, "expected a regular expression of RE2, got '(a'"),
        ({"name": "JOB", "pattern": "a*"}, "expected one that finds no empty text, got 'a*'"),
        ({"name": "JOB", "pattern": "a{900}{5}"}, "expected a regular expression of RE2"),
        ({"name": "JOB", "pattern": r"\pL{300}"}, "expected one without large repetitions"),
        ({"name": "JOB", "pattern": "a" * 501}, "expected at most 500 characters, got 501"),
    ],
)
def test_a_wrong_mask_says_what_is_right(given: dict[str, str], wanted: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(given, LogMask)
    assert wanted in str(caught.value)


def test_the_example_is_the_earliest_and_the_most_frequent_come_first() -> None:
    [part] = forms(["b 10001", "a", "b 10002", "b 10001"])
    assert [(form, count, example) for _, form, count, example in part.forms] == [
        ("b <NUM>", 3, "b 10001"),
        ("a", 1, "a"),
    ]


def test_many_forms_come_in_parts_and_the_rest_is_counted() -> None:
    letters = "abcdefghijklmnop"
    texts = [f"{a} {b} {c}" for a in letters for b in letters for c in letters][: MOST + 50]
    parts = forms(texts)
    assert [len(part.forms) for part in parts] == [PART] * (MOST // PART)
    assert sum(part.other_forms for part in parts) == 50
    assert len({form[0] for part in parts for form in part.forms}) == MOST
