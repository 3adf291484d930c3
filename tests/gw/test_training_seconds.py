"""Rows of seconds, made a chunk at a time, are those of all the triggers at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from opintel.detector import Closing, Controls, Record
from opintel.finding import NS, Window
from opintel.gw.glitch_probability import second_features
from opintel.gw.gps import gps_from_utc
from opintel.gw.judging.witnesses import WitnessSettings
from opintel.gw.records import ChannelWindow, TriggerSaid
from opintel.gw.training_seconds import CHUNK, TrainingSeconds

START = 26_000_000 * CHUNK
"""s UTC, where a chunk begins."""
SECONDS = 6 * CHUNK
MIC, COPY = "L1:PEM-EY_MIC_VEA_DQ", "L1:OMC-DCPD_SUM_OUT_DQ"


def trigger(time: int, snr: float) -> TriggerSaid:
    return TriggerSaid(time, time - NS // 10, time + NS // 10, 80.0, 60.0, 100.0, 8.0, snr)


def gathered(times: list[int], settings: WitnessSettings | None = None) -> tuple[list[dict[str, Any]], list[int]]:
    """Rows where all channels have triggers at these times, and how many rows each chunk had."""
    chunks: list[pa.Table] = []
    rows = TrainingSeconds(chunks.append)
    judge = rows.collector()
    for second in range(START, START + SECONDS, 2):
        window = Window(second * NS, (second + 2) * NS)
        heard = [trigger(t, 10.0 + n) for n, t in enumerate(times) if window.start <= t < window.end]
        records = [
            Record(
                window,
                "channel",
                name,
                "L1",
                ChannelWindow("good", 1024.0, n == 0, [(window.start, window.end)], heard, [1.0, 2.0]),
            )
            for n, name in enumerate(("L1:GDS-CALIB_STRAIN", MIC, COPY))
        ]
        said = settings or WitnessSettings()
        assert judge.judge(Closing(window, "L1", records, Controls(), said, "", complete=True)) == []
    early = [len(chunk) for chunk in chunks]
    rows.finish()
    return pa.concat_tables(chunks).to_pylist(), early


def test_chunks_show_nowhere() -> None:
    ends = [(START + n * CHUNK) * NS for n in range(1, 6)]
    times = sorted([end - NS // 8 for end in ends] + [end + NS // 10 + 7 * NS * n for n, end in enumerate(ends)])
    rows, early = gathered(times)
    assert early == [CHUNK] * 5  # of the last one more may be said
    assert [row["gps"] for row in rows] == [gps_from_utc(s * NS) // NS for s in range(START, START + SECONDS)]
    table = pa.table(
        {
            "channel": [MIC] * len(times),
            "t_peak": [(t - START * NS) / NS for t in times],
            "snr": 10.0 + np.arange(len(times)),
        }
    )
    features = second_features(table, [MIC], 0, SECONDS)
    said = [(one["triggered"], one["loudness"], row["active"]) for row in rows for one in row["auxiliary"]]
    np.testing.assert_allclose(said, features, rtol=1e-6)
    assert features[:, 0].sum() == 18  # each beside two seconds
    assert [one["time"] for row in rows for one in row["triggers"]] == [gps_from_utc(t) for t in times]
    assert {row["glitch"] for row in rows if row["triggers"]} == {True}
    assert {row["glitch"] for row in rows if not row["triggers"]} == {False}


def test_channels_that_may_carry_a_signal_are_left_out() -> None:
    rows, _ = gathered([])
    assert {one["channel"] for row in rows for one in row["auxiliary"]} == {MIC}
    rows, _ = gathered([], WitnessSettings(unsafe=["PEM-EY_MIC*"]))
    assert not any(row["auxiliary"] for row in rows)


def test_rows_of_a_scope_that_comes_again_follow_those_before() -> None:
    chunks: list[pa.Table] = []
    rows = TrainingSeconds(chunks.append)
    for second in (START, START + CHUNK):
        window = Window(second * NS, (second + 2) * NS)
        records = [Record(window, "channel", MIC, "L1", ChannelWindow("absent", 1024.0, False, []))]
        rows.collector().judge(Closing(window, "L1", records, Controls(), WitnessSettings(), "", complete=True))
    rows.finish()
    seconds = [row["gps"] - gps_from_utc(START * NS) // NS for row in pa.concat_tables(chunks).to_pylist()]
    assert seconds == [0, 1, CHUNK, CHUNK + 1]
