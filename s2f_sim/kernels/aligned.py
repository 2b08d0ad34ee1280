"""Arrays whose first byte starts a cache line."""

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_LINE_BYTES = 64


def whole_lines(nbytes: int) -> int:
    """Bytes of the cache lines that so many bytes need.

    >>> whole_lines(65)
    128
    """
    return -(-nbytes // _LINE_BYTES) * _LINE_BYTES


def address_of(array: NDArray[Any]) -> int:
    """Of its first element."""
    address: int = array.__array_interface__["data"][0]
    return address


def aligned_zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros whose first byte starts a cache line.

    NumPy aligns to 16 bytes only, so that every 64-byte register load of a row would straddle
    two cache lines and cost twice.
    """
    size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    raw = _from_a_line(np.zeros(size_bytes + _LINE_BYTES, np.uint8), size_bytes)
    return raw.view(dtype).reshape(shape)


def aligned_bytes(size_bytes: int) -> NDArray[np.uint8]:
    """Whatever was there before."""
    return _from_a_line(np.empty(size_bytes + _LINE_BYTES, np.uint8), size_bytes)


def _from_a_line(raw: NDArray[np.uint8], size_bytes: int) -> NDArray[np.uint8]:
    start = -address_of(raw) % _LINE_BYTES
    return raw[start : start + size_bytes]


def aligned_copy(array: NDArray[Any]) -> NDArray[Any]:
    """A copy whose first byte starts a cache line."""
    result = aligned_zeros(array.shape, array.dtype)
    result[...] = array
    return result
