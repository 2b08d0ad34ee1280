"""Firing against counting the comparators one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2f_sim.kernels.aligned import aligned_rows
from s2f_sim.kernels.firing import fire


@pytest.mark.parametrize("kind", [np.float32, np.int32])
@given(
    positions=st.integers(1, 8),
    channels=st.integers(1, 70),
    levels=st.integers(1, 8),
    timesteps=st.integers(0, 10),
    shared=st.booleans(),
)
def test_count_is_the_number_of_comparators_reached(
    kind: type[np.generic],
    positions: int,
    channels: int,
    levels: int,
    timesteps: int,
    shared: bool,
) -> None:
    rng = np.random.default_rng(channels)
    membrane = aligned_rows(rng.integers(-9, 10, (positions, channels)).astype(kind))
    drawn = rng.integers(-9, 10, (levels, 1 if shared else channels)).astype(kind)
    comparators = np.sort(drawn, axis=0)
    counts = np.full((positions, channels), 99, np.uint8)
    cut = positions // 2
    fire(membrane, comparators, timesteps, counts, cut, positions)
    assert (counts[:cut] == 99).all()
    fire(membrane, comparators, timesteps, counts, 0, cut)
    reached = membrane[:, None, :channels] >= comparators[:timesteps]
    np.testing.assert_array_equal(counts, reached.sum(axis=1))


@pytest.mark.parametrize("channels", [3, 20])
def test_nan_fires_never_and_infinity_always(channels: int) -> None:
    membrane = aligned_rows(np.zeros((2, channels), np.float32))
    membrane[0], membrane[1] = np.nan, np.inf
    counts = np.empty((2, channels), np.uint8)
    fire(membrane, np.array([[-np.inf], [0.5]], np.float32), 2, counts, 0, 2)
    assert (counts[0] == 0).all()
    assert (counts[1] == 2).all()
