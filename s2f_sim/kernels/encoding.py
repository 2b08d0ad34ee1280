"""From an image to integers, laid out for the layer that multiplies them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import kernel
from s2f_sim.kernels.sharing import Share, share_rows


@kernel
def digitise(
    planes: NDArray[Any],
    shape: tuple[int, int, int],
    scale: Any,
    low: Any,
    high: Any,
    target: NDArray[Any],
    line: int,
    origin: tuple[int, int],
    share: Share,
) -> None:
    """Round pixels to integers, halves to even, and lay those of one place side by side.

    Args:
        planes: float32[C * H * W].
        shape: C, H, W.
        scale: float32, integers in one unit of a pixel, a power of two.
        low: float32, the smallest integer there is.
        high: float32, the largest.
        target: out, T[lines * line], C integers for each pixel.
        line: its elements from one line to the next.
        origin: line and column of the first pixel.
        share: of the H lines.
    """
    if share_rows(share):
        return
    channels, height, width = shape
    for y in range(share.first, share.last):
        begin = (origin[0] + y) * line + origin[1] * channels
        row = target[begin : begin + width * channels]
        for channel in range(channels):
            plane = planes[(channel * height + y) * width :][:width]
            for x in range(width):
                units = np.rint(plane[x] * scale)
                row[x * channels + channel] = min(max(units, low), high)
