"""Attention as gathered rows against matrix products."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2f_sim.kernels.attention import scores_first, values_first


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.float32])
@pytest.mark.parametrize("attend", [values_first, scores_first])
@given(
    tokens=st.integers(1, 70),
    heads=st.integers(1, 3),
    width=st.integers(1, 20),
    value_width=st.integers(1, 40),
    levels=st.integers(1, 8),
    seed=st.integers(0, 2**16),
)
def test_all_pairs_of_spikes_count(
    attend: Any,
    kind: Any,
    tokens: int,
    heads: int,
    width: int,
    value_width: int,
    levels: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)

    def draw(channels: int) -> Any:
        shape = (tokens, heads * channels)
        drawn = rng.integers(0, levels + 1, shape) * (rng.random(shape) < 0.5)
        return drawn.astype(np.uint8)

    query, key, value = draw(width), draw(width), draw(value_width)
    gathering = attend(query, key, value, heads, kind)
    cut = heads // 2
    found = gathering.result(heads, value_width if attend is values_first else tokens)
    gathering.run(cut, heads)
    assert (found[:cut] == 0).all()
    gathering.run(0, cut)
    q, k, v = (
        operand.reshape(tokens, heads, -1).transpose(1, 0, 2).astype(np.int64)
        for operand in (query, key, value)
    )
    expected = q @ k.transpose(0, 2, 1) @ v
    if attend is scores_first:
        expected = expected.transpose(0, 2, 1)
    assert found.dtype == kind
    np.testing.assert_array_equal(found, expected)
