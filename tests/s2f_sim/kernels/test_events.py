"""Event lists against their definition."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from s2f_sim.kernels.events import flat_window, list_length, list_row, merge_rows
from s2f_sim.kernels.spiking import WINDOW

Shape = tuple[int, int, int]
SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 200))
DENSITIES = st.sampled_from([0.0, 0.1, 0.5, 1.0])
UNSET = 2**31


def draw_counts(shape: Shape, levels: int, density: float, seed: int) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, levels + 1, shape) * (rng.random(shape) < density)
    return counts.astype(np.uint8)


def list_rows(counts: NDArray[Any], levels: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Lists of all image rows: index uint32[H, ...], first int64[H, W + 1]."""
    height, width, channels = counts.shape
    index = np.full((height, list_length(width, channels, levels)), UNSET, np.uint32)
    first = np.full((height, width + 1), -1, np.int64)
    flat = flat_window(counts)
    for y in range(height):
        lists = index.reshape(-1), y * index.shape[1], first.reshape(-1), y * (width + 1)
        list_row(flat, y * width * channels, width, channels, *lists)
    return index, first


@given(shape=SHAPES, levels=st.integers(1, 20), density=DENSITIES)
@example(shape=(2, 1, 64), levels=4, density=1.0)
@example(shape=(1, 1, 3), levels=255, density=1.0)
@example(shape=(3, 2, 129), levels=8, density=0.5)
def test_every_channel_is_listed_as_often_as_it_spikes(
    shape: Shape, levels: int, density: float
) -> None:
    height, width, channels = shape
    counts = draw_counts(shape, levels, density, sum(shape))
    index, first = list_rows(counts, levels)
    for y, x in np.ndindex(height, width):
        events = index[y, first[y, x] : first[y, x + 1]].astype(np.int64)
        listed = np.bincount(events - x * channels, minlength=channels)
        np.testing.assert_array_equal(listed, counts[y, x])


def test_columns_ascend_then_timesteps_then_channels() -> None:
    counts = np.array([[[0, 2, 1], [3, 0, 1]]], np.uint8)
    index, first = list_rows(counts, 3)
    assert first.tolist() == [[0, 3, 7]]
    assert index[0, :7].tolist() == [1, 2, 1, 3, 5, 3, 3]


@pytest.mark.parametrize("channels", [3, 70])
@pytest.mark.parametrize("writeable", [True, False])
def test_read_only_counts_need_no_kernels_of_their_own(channels: int, writeable: bool) -> None:
    counts = np.ones((1, 1, channels), np.uint8)
    counts.flags.writeable = writeable
    flat = flat_window(counts)
    assert flat.flags.writeable
    assert flat.size >= WINDOW
    assert flat[:channels].tolist() == [1] * channels
    assert np.shares_memory(flat, counts) == (writeable and channels >= WINDOW)


@given(shape=SHAPES, taps=st.integers(1, 4), density=DENSITIES)
def test_merged_rows_are_the_same_events_by_column(shape: Shape, taps: int, density: float) -> None:
    height, width, channels = shape
    counts = draw_counts(shape, 3, density, taps)
    lists, starts = list_rows(counts, 3)
    shift = 1000 * channels
    for top in range(1 - taps, height):
        index = np.full((taps, lists.shape[1]), UNSET, np.uint32)
        first = np.zeros((taps, width + 1), np.int64)
        for y in range(max(top, 0), min(top + taps, height)):
            index[y % taps], first[y % taps] = lists[y], starts[y]
        merged = np.empty(taps * lists.shape[1], np.uint32)
        begins = np.empty(width + 1, np.int64)
        merge_rows(
            index.reshape(-1), first.reshape(-1), taps, width, top, height, shift, merged, begins
        )
        for x in range(width):
            expected = [
                event + (y - top) * shift
                for y in range(max(top, 0), min(top + taps, height))
                for event in lists[y, starts[y, x] : starts[y, x + 1]].tolist()
            ]
            assert merged[begins[x] : begins[x + 1]].tolist() == expected
