"""Dyadic rationals: integers times powers of two, the only real values of a deployed network."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MANTISSA_BITS = 53
NO_EXPONENT = np.iinfo(np.int32).max
"""The exponent of zero: a multiple of every power of two."""


def exponents(values: NDArray[Any]) -> NDArray[np.int32]:
    """For every float64 the largest e of which it is a multiple of 2**e; any shape.

    >>> exponents(np.array([1.0, 0.375, -12.0])).tolist()
    [0, -3, 2]
    """
    mantissa, exponent = np.frexp(values)
    units = np.ldexp(mantissa, _MANTISSA_BITS).astype(np.int64)
    lowest_bit = np.frexp((units & -units).astype(np.float64))[1] - 1
    exact: NDArray[np.int32] = (exponent - _MANTISSA_BITS + lowest_bit).astype(np.int32)
    return np.where(units == 0, NO_EXPONENT, exact).astype(np.int32)


def row_exponents(values: NDArray[Any]) -> NDArray[np.int32]:
    """int32[O]: for every row of float64[O, ...] the largest e that serves all its values."""
    rows = exponents(values).reshape(len(values), -1)
    smallest: NDArray[np.int32] = rows.min(axis=1, initial=NO_EXPONENT)
    return smallest


def units(values: NDArray[Any], exponent: NDArray[Any]) -> NDArray[np.int64]:
    """int64[O, ...]: rows of float64[O, ...] as multiples of 2**exponent[O].

    Raises:
        ValueError: a value is no such multiple, or needs more than 53 bits.
    """
    by_row = exponent.reshape(-1, *[1] * (values.ndim - 1))
    with np.errstate(over="ignore"):
        scaled = np.ldexp(values, -by_row)
    if not (np.abs(scaled) < 2.0**_MANTISSA_BITS).all():
        raise ValueError("a value needs more than 53 bits on its grid")
    whole: NDArray[np.int64] = np.rint(scaled).astype(np.int64)
    if not np.array_equal(np.ldexp(whole.astype(np.float64), by_row), values):
        raise ValueError("a value is no multiple of its grid")
    return whole


def smallest_type(whole: NDArray[np.int64]) -> np.dtype[Any]:
    """The narrowest signed integer type that holds all values."""
    kinds = (np.int8, np.int16, np.int32)
    lowest, highest = int(whole.min(initial=0)), int(whole.max(initial=0))
    fitting = (k for k in kinds if np.iinfo(k).min <= lowest and highest <= np.iinfo(k).max)
    return np.dtype(next(fitting, np.int64))
