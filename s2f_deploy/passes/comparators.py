"""Rounding becomes comparison: the membranes at which a neuron's spikes fire, exactly.

Spike d of the unary train fires iff the scaled membrane reaches d − ½: strictly above it where
halves round to an even number and d is odd, else at it. Rational arithmetic finds the smallest
membrane of the accumulator's own type that does, so that ``u >= comparator`` is all that is left.

Source: Yao et al. 2025, Proposition 1, arXiv:2411.16061; design, section 2.
"""

from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import DType, Node


def comparators(
    neuron: Node, dtype: DType, scale: NDArray[Any], shift: NDArray[Any]
) -> NDArray[Any]:
    """Comparators[D, C] (or [D, 1]) of ``clip(round(u · scale + shift), 0, D)``, ascending.

    A comparator beyond an integer type is put at its end: the type's largest value, which bounds
    keep free, is never reached, its smallest always.

    Args:
        neuron: an integer_fire; its levels and rounding count.
        dtype: of the membrane, FLOAT32, INT32 or INT64; the comparators have the same.
        scale: float64[C] or [1], positive.
        shift: float64[C] or [1].
    """
    # Rational arithmetic takes its time, and channels are often scaled alike.
    pairs, channels = np.unique(
        np.stack(np.broadcast_arrays(scale, shift)), axis=1, return_inverse=True
    )
    smallest: Callable[..., Any] = _smallest_integer if dtype.is_integer else _smallest_float32
    table: list[list[Any]] = [
        [
            smallest(
                (Fraction(2 * d - 1, 2) - Fraction(float(t))) / Fraction(float(s)),
                strict=neuron["rounding"] == "half_even" and d % 2 == 1,
            )
            for s, t in zip(*pairs, strict=True)
        ]
        for d in range(1, neuron["levels"] + 1)
    ]
    if not dtype.is_integer:
        return np.take(np.array(table, np.float32), channels.reshape(-1), axis=1)
    ends = np.iinfo(dtype.array_type)
    limited = [[min(max(value, ends.min), ends.max) for value in row] for row in table]
    return np.take(np.array(limited, dtype.array_type), channels.reshape(-1), axis=1)


def _smallest_integer(threshold: Fraction, *, strict: bool) -> int:
    return floor(threshold) + 1 if strict else ceil(threshold)


def _smallest_float32(threshold: Fraction, *, strict: bool) -> np.float32:
    """The smallest float32 at (or, if strict, above) a rational number."""
    nearest = np.float32(float(threshold))
    exact = Fraction(float(nearest))
    if exact > threshold or (exact == threshold and not strict):
        below: np.float32 = np.nextafter(nearest, np.float32(-np.inf))
        low = Fraction(float(below))
        return below if low > threshold or (low == threshold and not strict) else nearest
    above: np.float32 = np.nextafter(nearest, np.float32(np.inf))
    return above
