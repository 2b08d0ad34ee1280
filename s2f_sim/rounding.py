"""Rounding errors of float32, to first principles: see `error_bounds`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDING = 2.0**-24
"""The largest relative error of one operation."""
MANTISSA = 2.0**24
NOISE = 2.0**-50
"""What float64 itself loses, per rounding that float32 would do."""
ENLARGED = 1 + 2.0**-20

Array = NDArray[Any]


def gamma(roundings: Array) -> Array:
    """γ_k, elementwise; infinite where k is too large for the bound to say anything.

    >>> bool(gamma(np.array([1.0]))[0] > 2.0**-24)
    True
    """
    relative = np.asarray(roundings) * ROUNDING
    bounded = relative < 1
    return np.where(bounded, relative / np.where(bounded, 1 - relative, 1.0), np.inf)
