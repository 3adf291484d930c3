"""The ids of an open window against a plain set, however they come."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

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
