"""Event lists and spike counts per timestep against their definitions."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from s2f_sim.kernels.events import build_events, event_capacity, spikes_by_timestep

Shape = tuple[int, int, int]
SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 200))
DENSITIES = st.sampled_from([0.0, 0.1, 0.5, 1.0])


def draw_counts(shape: Shape, levels: int, density: float, seed: int) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, levels + 1, shape) * (rng.random(shape) < density)
    return counts.astype(np.uint8)


@given(shape=SHAPES, levels=st.integers(1, 20), density=DENSITIES, cut=st.integers(0, 5))
@example(shape=(2, 1, 64), levels=4, density=1.0, cut=1)
@example(shape=(1, 1, 3), levels=255, density=1.0, cut=0)
@example(shape=(3, 2, 129), levels=8, density=0.5, cut=2)
def test_every_channel_is_listed_as_often_as_it_spikes(
    shape: Shape, levels: int, density: float, cut: int
) -> None:
    height, width, channels = shape
    counts = draw_counts(shape, levels, density, sum(shape))
    cut = min(cut, height)
    index = np.full(event_capacity(*shape, levels), 2**31, np.uint32)
    first = np.full((height, width + 1), -1, np.int64)
    build_events(counts, cut, height, index, first)
    build_events(counts, 0, cut, index, first)
    for y, x in np.ndindex(height, width):
        events = index[first[y, x] : first[y, x + 1]].astype(np.int64)
        listed = np.bincount(events - x * channels, minlength=channels)
        np.testing.assert_array_equal(listed, counts[y, x])


def test_lists_do_not_depend_on_row_ranges() -> None:
    shape = (6, 5, 100)
    counts = draw_counts(shape, 4, 0.5, 0)
    lists = []
    for cuts in ((0, 6), (0, 2, 3, 6)):
        index = np.zeros(event_capacity(*shape, 4), np.uint32)
        first = np.zeros((6, 6), np.int64)
        for begin, end in pairwise(cuts):
            build_events(counts, begin, end, index, first)
        lists.append([index[begin:end].tolist() for begin, end in first[:, [0, 5]]])
    assert lists[0] == lists[1]


def test_columns_ascend_then_timesteps_then_channels() -> None:
    counts = np.array([[[0, 2, 1], [3, 0, 1]]], np.uint8)
    index = np.zeros(event_capacity(1, 2, 3, 3), np.uint32)
    first = np.zeros((1, 3), np.int64)
    build_events(counts, 0, 1, index, first)
    assert first.tolist() == [[0, 3, 7]]
    assert index[:7].tolist() == [1, 2, 1, 3, 5, 3, 3]


@pytest.mark.parametrize("writeable", [True, False])
def test_read_only_counts_are_accepted(writeable: bool) -> None:
    counts = np.ones((1, 1, 70), np.uint8)
    counts.flags.writeable = writeable
    index = np.zeros(event_capacity(1, 1, 70, 1), np.uint32)
    first = np.zeros((1, 2), np.int64)
    build_events(counts, 0, 1, index, first)
    assert index[:70].tolist() == list(range(70))
    assert spikes_by_timestep(counts[0], 1).tolist() == [[70]]


@given(
    positions=st.integers(1, 8),
    channels=st.integers(1, 200),
    levels=st.integers(1, 8),
    density=DENSITIES,
)
def test_timestep_d_counts_the_channels_that_reach_d(
    positions: int, channels: int, levels: int, density: float
) -> None:
    counts = draw_counts((positions, 1, channels), levels, density, channels)[:, 0]
    expected = [(counts >= level).sum(axis=1) for level in range(1, levels + 1)]
    spikes = spikes_by_timestep(counts, levels)
    assert spikes.dtype == np.int64
    np.testing.assert_array_equal(spikes, expected)
    np.testing.assert_array_equal(spikes.sum(axis=0), counts.sum(axis=1))
