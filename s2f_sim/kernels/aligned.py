"""Arrays whose first byte starts a cache line."""

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_ALIGNMENT_BYTES = 64


def aligned_zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros whose first byte starts a cache line.

    NumPy aligns to 16 bytes only, so that every 64-byte register load of a row would straddle
    two cache lines and cost twice.
    """
    size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.zeros(size_bytes + _ALIGNMENT_BYTES, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT_BYTES
    return raw[start : start + size_bytes].view(dtype).reshape(shape)


def aligned_copy(array: NDArray[Any]) -> NDArray[Any]:
    """A copy whose first byte starts a cache line."""
    result = aligned_zeros(array.shape, array.dtype)
    result[...] = array
    return result
