"""Spikes per timestep, and what they reach, against their definitions."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from s2f_sim.kernels.events import flat_window
from s2f_sim.kernels.sharing import alone
from s2f_sim.kernels.spike_counting import add_up, added_up, count_spikes


@given(
    positions=st.integers(1, 8),
    channels=st.integers(1, 200),
    levels=st.integers(1, 8),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
@example(3, 70, 260, 0.5)
def test_timestep_d_counts_the_channels_that_reach_d(
    positions: int, channels: int, levels: int, density: float
) -> None:
    rng = np.random.default_rng(channels)
    shape = (positions, channels)
    counts = rng.integers(0, min(levels, 255) + 1, shape) * (rng.random(shape) < density)
    counts = counts.astype(np.uint8)
    expected = np.array([(counts >= level).sum(axis=1) for level in range(1, levels + 1)])
    spikes = np.full((levels, positions), -1, np.int32)
    count_spikes(flat_window(counts), channels, spikes)
    np.testing.assert_array_equal(spikes, expected)


def test_synapses_reached_are_counted_per_timestep() -> None:
    rng = np.random.default_rng(0)
    spikes = rng.integers(0, 100, (4, 30)).astype(np.int32)
    reached = rng.integers(0, 2**40, 30)
    expected = np.stack([spikes.sum(1), spikes @ reached], axis=1)
    np.testing.assert_array_equal(added_up(spikes, reached), expected)


def test_spikes_are_counted_per_timestep() -> None:
    spikes = np.random.default_rng(0).integers(0, 2**30, (4, 30)).astype(np.int32)
    np.testing.assert_array_equal(added_up(spikes)[:, 0], spikes.sum(1, np.int64))


def test_only_trains_of_the_share_are_added_up() -> None:
    spikes, reached = np.arange(10, dtype=np.int32), np.arange(100, 110)
    trains = np.array([[0, 3, -1], [2, 4, 5], [4, 4, 0], [5, 10, 1]])
    totals = np.full((4, 2), -1)
    add_up(spikes, trains, reached, totals, alone(4, first=1))
    assert totals.tolist() == [[-1, -1], [5, 2 * 105 + 3 * 106], [0, 0], [35, 3615]]
