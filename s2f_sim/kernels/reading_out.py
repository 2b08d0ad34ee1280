"""Sums leave the engine: real values, channel by channel."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import kernel

# Positions whose sums are in the cache together, and whose results fill whole lines of it.
_BLOCK = 32


@kernel
def read_out_positions(
    sums: NDArray[Any],
    powers: NDArray[Any],
    first: int,
    last: int,
    real: NDArray[Any],
) -> None:
    """Turn sums of some positions into real values.

    Only the conversion rounds: no product with these powers of two is too small for float32.

    Args:
        sums: integers[P, C].
        powers: float32[C], powers of two.
        first: first position to work on.
        last: one past the last.
        real: out, float32[C, P].
    """
    channels = sums.shape[1]
    for begin in range(first, last, _BLOCK):
        end = min(begin + _BLOCK, last)
        for channel in range(channels):
            power = powers[channel]
            for position in range(begin, end):
                real[channel, position] = np.float32(sums[position, channel]) * power
