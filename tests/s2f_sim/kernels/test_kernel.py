"""What every compiled kernel refuses."""

import numpy as np
import pytest
from numba import config
from numba.core.errors import TypingError

from s2f_sim.kernels.accumulate import accumulate_rows
from s2f_sim.kernels.aligned import aligned_zeros


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="only compiled code ignores strides")  # type: ignore[attr-defined]
def test_strided_arrays_are_refused() -> None:
    first, index = np.zeros((1, 2), np.int64), np.zeros(1, np.uint32)
    rows = aligned_zeros((4, 32), np.float32)
    with pytest.raises(TypingError, match="C-contiguous"):
        accumulate_rows(first, index, rows[:, :16], aligned_zeros((1, 16), np.float32), 0, 1)
