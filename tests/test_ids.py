"""Ids by column: the same text has the same id wherever it lies, another text or seed another one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opintel.ids import MAX_BYTES, hashed, natural_id, natural_ids

TEXTS = st.lists(st.binary(max_size=40), max_size=20)


def laid_out(texts: list[bytes], before: bytes = b"") -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([len(before), *map(len, texts)])
    return np.frombuffer(before + b"".join(texts), dtype=np.uint8), offsets


@given(TEXTS, st.binary(max_size=9), st.integers(-(2**63), 2**63 - 1))
def test_an_id_is_of_the_text_and_the_seed_alone(texts: list[bytes], before: bytes, seed: int) -> None:
    found = hashed(*laid_out(texts, before), seed).tolist()
    assert found == [hashed(*laid_out([text]), seed).item() for text in texts]
    assert len(set(found)) == len(set(texts))
    assert not set(found) & set(hashed(*laid_out(texts), seed ^ 1).tolist())


def test_near_texts_spread_over_all_bits() -> None:
    ids = hashed(*laid_out([b"job-%d" % n for n in range(4096)]))
    assert len(np.unique(ids)) == 4096
    ones = [(ids >> bit & 1).sum() for bit in range(64)]  # 2048 ± 32 by chance
    assert 1850 < min(ones) <= max(ones) < 2250


def test_a_text_that_is_too_long_is_an_error() -> None:
    with pytest.raises(ValueError, match="at most 512 bytes"):
        hashed(*laid_out([b"x" * (MAX_BYTES + 1)]))


@given(st.lists(st.text(max_size=20).filter(lambda text: text.isprintable()), max_size=5))
def test_a_column_of_natural_ids_is_natural_ids(texts: list[str]) -> None:
    assert natural_ids(texts).tolist() == [natural_id(text) for text in texts]
