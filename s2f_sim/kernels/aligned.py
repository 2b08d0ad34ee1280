"""Arrays laid out for vector registers: last axis in whole registers, first byte aligned."""

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

LANES = 16
"""float32 or int32 lanes of the widest register (AVX-512), the unit of every padded axis."""

_ALIGNMENT_BYTES = 64


def padded_lanes(size: int) -> int:
    """``size`` rounded up to whole registers."""
    return -(-size // LANES) * LANES


def aligned_zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros whose first byte starts a cache line.

    NumPy aligns to 16 bytes only, so that every 64-byte register load of a row would straddle
    two cache lines and cost twice.
    """
    size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.zeros(size_bytes + _ALIGNMENT_BYTES, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT_BYTES
    return raw[start : start + size_bytes].view(dtype).reshape(shape)


def aligned_rows(array: NDArray[Any]) -> NDArray[Any]:
    """An aligned copy of T[..., size] as T[..., padded_lanes(size)], the padding zero."""
    result = aligned_zeros((*array.shape[:-1], padded_lanes(array.shape[-1])), array.dtype)
    result[..., : array.shape[-1]] = array
    return result
