"""Attention as added rows against matrix products."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2f_sim.kernels.attention import scores_first
from s2f_sim.kernels.events import flat_window, list_length
from s2f_sim.kernels.finish import only_sums
from s2f_sim.kernels.held_values import LANES, hold_values, read_values
from s2f_sim.kernels.sharing import alone


def by_scores(query: Any, key: Any, value: Any, heads: int, kind: Any) -> Any:
    """T[N, V], in two runs over the heads."""
    gathering = scores_first(query, key, value, heads, kind)
    cut = heads // 2
    found = gathering.result(heads, len(query))
    gathering.run(1, alone(heads, cut))
    assert (found[:cut] == 0).all()
    gathering.run(1, alone(cut))
    return found.transpose(2, 0, 1).reshape(len(query), -1)


def by_values(query: Any, key: Any, value: Any, heads: int, kind: Any) -> Any:
    """T[N, V], in two runs over the channels and two over the queries."""
    (queries, channels), (tokens, outputs) = query.shape, value.shape
    width = outputs // heads
    pitch = -(-width // LANES) * LANES
    held = np.zeros(channels * pitch, kind)
    held_of = np.arange(channels) * pitch
    value_of = np.repeat(np.arange(heads) * width, channels // heads)
    room = np.empty((1, list_length(1, channels, 8)), np.uint32), np.empty((1, 2), np.int64)
    keyed = flat_window(key), tokens, channels, value.reshape(-1), value_of, held, held_of, width
    cut = channels // 3
    if cut < channels:
        hold_values(*keyed, *room, alone(channels, cut))
        assert (held[: cut * pitch] == 0).all()
    if cut:
        hold_values(*keyed, *room, alone(cut))
    found = np.full((queries, outputs), 77, kind)
    finish = only_sums(np.zeros((1, outputs), kind), found)
    asked = flat_window(query), channels, held, held_of, value_of, width, 3
    tile = np.empty((1, 3 * outputs + LANES), kind)
    read_values(*asked, *room, tile, finish, alone(queries, queries // 2))
    assert (found[: queries // 2] == 77).all()
    read_values(*asked, *room, tile, finish, alone(queries // 2))
    return found


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.float32])
@pytest.mark.parametrize("attend", [by_values, by_scores])
@given(
    tokens=st.integers(1, 70),
    heads=st.integers(1, 3),
    width=st.integers(1, 20),
    value_width=st.integers(1, 40) | st.just(80),
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
    found = attend(query, key, value, heads, kind)
    q, k, v = (
        operand.reshape(tokens, heads, -1).transpose(1, 0, 2).astype(np.int64)
        for operand in (query, key, value)
    )
    expected = (q @ k.transpose(0, 2, 1) @ v).transpose(1, 0, 2).reshape(tokens, -1)
    assert found.dtype == kind
    np.testing.assert_array_equal(found, expected)
