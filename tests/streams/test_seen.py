"""The ids of an open window against a plain set, however they come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from contract.cases import START, TOY_STREAM
from contract.harness import Case, play
from contract.toy import TOY, ToyWire, Value
from hypothesis import given
from hypothesis import strategies as st

from opintel.detector import Message
from opintel.finding import NS
from opintel.rows import Row
from opintel.streams.seen import Seen

IDS = st.lists(st.sampled_from([-(2**63), -1, 0, 1, 2**63 - 1]) | st.integers(-50, 50), max_size=30)


@given(st.lists(IDS, max_size=12), st.integers(0, 12))
def test_an_id_is_new_once(parts: list[list[int]], restart: int) -> None:
    seen, known = Seen(), set()
    for n, part in enumerate(parts):
        if n == restart:
            seen = Seen(seen.state())
        expected = []
        for one in part:
            expected.append(one not in known)
            known.add(one)
        assert seen.add(np.array(part, dtype=np.int64)).tolist() == expected
    assert seen.state() == np.array(sorted(known), dtype="<i8").tobytes()


class OneId(ToyWire):
    """All rows have the same natural id."""

    def read(self, message: Message) -> list[Row[Value] | str]:
        return [
            Row(row.key, row.time, 7, row.payload) if isinstance(row, Row) else row for row in super().read(message)
        ]


def test_an_id_under_two_keys_is_two_rows(tmp_path: Path) -> None:
    rows = [(START, "s0.a", 1), (START, "s0.a", 10), (START + NS, "s0.b", 100), (START + NS, "s0.a", 1000)]
    messages = [(time, f"{key} {time} {value}".encode()) for time, key, value in rows]
    told = play(Case("one-id", TOY_STREAM._replace(partitions=1), TOY, OneId(), lambda: messages), tmp_path)
    [total] = [found for found in told.findings.values() if found["kind"] == "total"]
    assert total["effect"]["value"] == 101.0
