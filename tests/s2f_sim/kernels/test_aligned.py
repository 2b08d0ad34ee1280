"""Padding and alignment of arrays."""

import numpy as np
import pytest

from s2f_sim.kernels.aligned import aligned_rows, aligned_zeros, padded_lanes


@pytest.mark.parametrize(("size", "padded"), [(1, 16), (16, 16), (17, 32), (300, 304)])
def test_lanes_are_whole_registers(size: int, padded: int) -> None:
    assert padded_lanes(size) == padded


@pytest.mark.parametrize("kind", [np.float32, np.int32, np.int8])
def test_arrays_begin_on_a_cache_line(kind: type[np.generic]) -> None:
    for size in range(1, 40):
        array = aligned_zeros((size, 3), kind)
        assert array.ctypes.data % 64 == 0
        assert array.shape == (size, 3)
        assert array.dtype == kind
        assert array.flags.c_contiguous
        assert not array.any()


def test_rows_are_padded_with_zeros() -> None:
    rows = aligned_rows(np.ones((2, 3), np.float32))
    assert rows.shape == (2, 16)
    assert rows.sum(axis=1).tolist() == [3.0, 3.0]
    assert not rows[:, 3:].any()
