"""What an integer value can be, whatever the input: worst-case bounds, per channel.

Ends are Python integers in object arrays: bounds that could wrap themselves would prove nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import DType, Node, TensorType

_SAFE = 2**62


@dataclass(frozen=True, eq=False, slots=True)
class Interval:
    """Every element u of channel c satisfies ``low[c] <= u <= high[c]``.

    For a sum it also holds for every partial sum, in whatever order its terms are added.

    Attributes:
        low: object[C], Python integers.
        high: object[C], Python integers.
    """

    low: NDArray[Any]
    high: NDArray[Any]

    @classmethod
    def constant(cls, low: int, high: int, channels: int) -> "Interval":
        """The same bounds for all channels."""
        return cls(np.full(channels, low, object), np.full(channels, high, object))

    @property
    def reach(self) -> int:
        """The largest absolute value of any channel."""
        return max(int(-self.low.min()), int(self.high.max()), 0)

    @property
    def bits(self) -> int:
        """Width of the narrowest two's complement integer that holds it.

        >>> Interval.constant(-128, 127, 1).bits, Interval.constant(0, 128, 1).bits
        (8, 9)
        """
        lowest, highest = int(self.low.min()), int(self.high.max())
        return max(max(-lowest - 1, 0).bit_length(), max(highest, 0).bit_length()) + 1

    def fits(self, dtype: DType) -> bool:
        """Whether an integer type holds it; its largest value stays free, for "never reached"."""
        info = np.iinfo(dtype.array_type)
        return int(self.low.min()) >= info.min and int(self.high.max()) < info.max

    def plus(self, other: "Interval") -> "Interval":
        """Bounds of the sum."""
        return Interval(self.low + other.low, self.high + other.high)

    def times(self, factor: NDArray[Any] | int) -> "Interval":
        """Bounds of the product with non-negative integers, one or one per channel."""
        wide = factor if isinstance(factor, int) else factor.astype(object)
        return Interval(self.low * wide, self.high * wide)

    def with_zero(self) -> "Interval":
        """Widened to contain 0: what is added may also be left out."""
        return Interval(np.minimum(self.low, 0), np.maximum(self.high, 0))

    def weighted(self, weight: NDArray[Any], bias: NDArray[Any], groups: int) -> "Interval":
        """Bounds of every partial sum of ``bias + Σ weight · u``, terms left out included.

        Args:
            weight: integers [O, I / groups, taps].
            bias: integers [O, ...].
            groups: of the channels of ``self``.
        """
        ends = self.with_zero()
        rising, falling = (np.maximum(sign * weight.astype(np.int64), 0).sum(2) for sign in (1, -1))
        bias = bias.reshape(len(bias), -1)
        lowest, highest = (limit.astype(object) for limit in (bias.min(1), bias.max(1)))
        high = _by_group(rising, ends.high, groups) + _by_group(falling, -ends.low, groups)
        low = _by_group(rising, -ends.low, groups) + _by_group(falling, ends.high, groups)
        return Interval(np.minimum(lowest, 0) - low, np.maximum(highest, 0) + high)


IntervalRule = Callable[
    [Node, Sequence[TensorType], Sequence[Interval], Sequence[NDArray[Any]]], Interval
]


def _by_group(rows: NDArray[Any], ends: NDArray[Any], groups: int) -> NDArray[Any]:
    """object[O]: Σᵢ rows[o, i] · ends[group(o), i], both non-negative."""
    per_group = rows.reshape(groups, len(rows) // groups, -1)
    columns = ends.reshape(groups, -1, 1)
    # int64 is fast, and safe where the largest row times the largest end is.
    if int(rows.sum(1).max(initial=0)) * int(ends.max(initial=0)) < _SAFE:
        columns = columns.astype(np.int64)
    else:
        per_group = per_group.astype(object)
    total: NDArray[Any] = (per_group @ columns).reshape(-1).astype(object)
    return total
