"""Bilinear upsampling to twice the size: rows are mixed first, then columns."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import kernel


@kernel
def upsample_rows(
    image: NDArray[Any],
    near: Any,
    far: Any,
    first_row: int,
    last_row: int,
    result: NDArray[Any],
) -> None:
    """Write two rows of the result for every row of the image.

    Args:
        image: T[H, W, C].
        near: weight of the nearer pixel of an axis, of result's type.
        far: of the farther one.
        first_row: first row of the image to work on.
        last_row: one past the last.
        result: out, T[2H, 2W, C], of image's type or a wider one.
    """
    height, width, channels = image.shape
    line = width * channels
    pixels, out = image.reshape(-1), result.reshape(-1)
    mixed = np.empty(line, result.dtype)
    for row in range(2 * first_row, 2 * last_row):
        start = row // 2 * line
        other = min(max(row // 2 + row % 2 * 2 - 1, 0), height - 1) * line
        for i in range(line):
            mixed[i] = pixels[start + i] * near + pixels[other + i] * far
        at = row * 2 * line
        for column in range(2 * width):
            here = column // 2 * channels
            there = min(max(column // 2 + column % 2 * 2 - 1, 0), width - 1) * channels
            for c in range(channels):
                out[at + c] = mixed[here + c] * near + mixed[there + c] * far
            at += channels
