from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from opintel.stats.fdr import benjamini_hochberg


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.sampled_from([0.01, 0.05, 0.3]))
def test_agrees_with_adjusted_p_values(p: list[float], level: float) -> None:
    adjusted = false_discovery_control(p)
    near = np.isclose(adjusted, level, rtol=1e-9)
    found = benjamini_hochberg(np.array(p), level)
    np.testing.assert_array_equal(found[~near], (adjusted <= level)[~near])


def test_no_test_no_discovery() -> None:
    assert benjamini_hochberg(np.zeros(0), 0.05).shape == (0,)
