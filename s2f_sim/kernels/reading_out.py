"""Sums leave the engine: real values, channel by channel."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import kernel
from s2f_sim.kernels.sharing import Share, share_rows

# Positions whose sums are in the cache together, and whose results fill whole lines of it.
_BLOCK = 32


@kernel
def read_out_positions(
    sums: NDArray[Any],
    powers: NDArray[Any],
    real: NDArray[Any],
    share: Share,
) -> None:
    """Turn sums of some positions into real values.

    Only the conversion rounds: no product with these powers of two is too small for float32.

    Args:
        sums: integers[P, C].
        powers: float32[C], powers of two.
        real: out, float32[C, P].
        share: of the positions.
    """
    if share_rows(share):
        return
    channels = sums.shape[1]
    for begin in range(share.first, share.last, _BLOCK):
        end = min(begin + _BLOCK, share.last)
        for channel in range(channels):
            power = powers[channel]
            for position in range(begin, end):
                real[channel, position] = np.float32(sums[position, channel]) * power
