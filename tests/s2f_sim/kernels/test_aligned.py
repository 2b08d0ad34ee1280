"""Alignment of arrays."""

import numpy as np
import pytest

from s2f_sim.kernels.aligned import aligned_copy, aligned_zeros


@pytest.mark.parametrize("kind", [np.float32, np.int32, np.int8])
def test_arrays_begin_on_a_cache_line(kind: type[np.generic]) -> None:
    for size in range(1, 40):
        array = aligned_zeros((size, 3), kind)
        assert array.ctypes.data % 64 == 0
        assert array.shape == (size, 3)
        assert array.dtype == kind
        assert array.flags.c_contiguous
        assert not array.any()


def test_a_copy_is_aligned_and_equal() -> None:
    array = np.arange(30, dtype=np.int16).reshape(5, 6)[:, ::2]
    copy = aligned_copy(array)
    assert copy.ctypes.data % 64 == 0
    np.testing.assert_array_equal(copy, array)
