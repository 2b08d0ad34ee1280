"""What follows the sums, against its definition."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from s2f_sim.kernels.finish import OVERHANG, finish_positions, only_sums, patterns_of
from s2f_sim.kernels.sharing import alone

KINDS = [np.float32, np.int32, np.int64]


@pytest.mark.parametrize("kind", KINDS)
@given(
    positions=st.integers(1, 20),
    channels=st.integers(1, 70) | st.sampled_from([96, 192, 4160]),
    levels=st.just(4) | st.integers(0, 9),
    timesteps=st.just(4) | st.integers(1, 10),
    mapped=st.booleans(),
    scaled=st.booleans(),
    added=st.booleans(),
    kept=st.booleans(),
    seed=st.integers(0, 2**16),
)
@example(3, 33, 4, 4, False, True, True, True, 0)
@example(19, 24, 4, 4, False, False, False, False, 0)
@example(9, 48, 4, 4, True, False, False, False, 0)
@example(3, 64, 4, 4, False, True, False, False, 0)
@example(2, 20, 3, 260, False, False, False, False, 0)
def test_finished_sums_are_what_the_graph_says(
    kind: Any,
    positions: int,
    channels: int,
    levels: int,
    timesteps: int,
    mapped: bool,
    scaled: bool,
    added: bool,
    kept: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> Any:
        return rng.integers(-9, 10, shape).astype(kind)

    sums, other = draw(positions, channels), draw(positions if added else 0, channels)
    bias = draw(positions if mapped else 1, channels)
    scale, other_scale = (
        (1 << (rng.integers(0, 5, channels) * scaled)).astype(kind) for _ in range(2)
    )
    comparators = np.sort(draw(levels, channels), axis=0)
    counts = np.full(positions * channels + OVERHANG if levels else 0, 99, np.uint8)
    finish = only_sums(bias, np.full((positions if kept else 0, channels), 77, kind))._replace(
        scaled=scaled,
        scale=scale,
        added=added,
        other=other,
        other_scale=other_scale,
        comparators=comparators,
        timesteps=timesteps,
        counts=counts,
        spikes=np.zeros((timesteps, positions if levels else 0), np.int32),
    )
    finish = finish._replace(patterns=patterns_of(finish))
    usual = levels == timesteps == 4 and kind != np.int64 and channels <= 4096
    assert (finish.patterns.size > 0) == usual
    expected = (sums + bias) * scale + (other * other_scale if added else 0)
    cut = positions // 2
    flat = sums.reshape(-1)
    finish_positions(flat, finish, alone(positions, cut))
    assert (counts[: cut * channels] == 99).all()
    assert (finish.membrane[:cut] == 77).all()
    finish_positions(flat, finish, alone(cut))
    np.testing.assert_array_equal(flat, sums.ravel())
    assert (counts[positions * channels :] == 99).all()
    if kept:
        np.testing.assert_array_equal(finish.membrane, expected)
    if levels:
        reached = (expected[None] >= comparators[:timesteps, None]).sum(0)
        np.testing.assert_array_equal(counts[:-OVERHANG].reshape(reached.shape), reached)
        spiking = [(reached >= d).sum(1) for d in range(1, timesteps + 1)]
        np.testing.assert_array_equal(finish.spikes, spiking)


@pytest.mark.parametrize("channels", [3, 20])
def test_nan_fires_never_and_infinity_always(channels: int) -> None:
    sums = np.zeros((2, channels), np.float32)
    sums[0], sums[1] = np.nan, np.inf
    none = np.zeros((0, channels), np.float32)
    comparators = np.repeat(np.array([[-np.inf], [0.5]], np.float32), channels, axis=1)
    counts, spikes = np.empty(2 * channels + OVERHANG, np.uint8), np.zeros((2, 2), np.int32)
    finish = only_sums(np.zeros((1, channels), np.float32), none)._replace(
        comparators=comparators, timesteps=2, counts=counts, spikes=spikes
    )
    finish_positions(sums.reshape(-1), finish, alone(2))
    assert (counts[:channels] == 0).all()
    assert (counts[channels : 2 * channels] == 2).all()
    assert spikes.tolist() == [[0, channels], [0, channels]]
