"""Bilinear upsampling to twice the size: rows are mixed first, then columns."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_sim.kernels.finish import Finish, finish_row
from s2f_sim.kernels.kernel import kernel
from s2f_sim.kernels.sharing import Share, share_rows


@kernel
def upsample_rows(
    image: NDArray[Any],
    near: Any,
    far: Any,
    tile: NDArray[Any],
    finish: Finish,
    share: Share,
) -> None:
    """Finish two rows of the result for every row of the image.

    Args:
        image: [H, W, C], of the result's type or a narrower one.
        near: weight of the nearer pixel of an axis, T.
        far: of the farther one.
        tile: room for T[members, 2W * C], one row of the result.
        finish: see `Finish`; positions are numbered ``y * 2W + x``.
        share: of the rows of the image.
    """
    if share_rows(share):
        return
    tile = tile[share.member]
    height, width, channels = image.shape
    line = width * channels
    pixels = image.reshape(-1)
    mixed = np.empty(line, tile.dtype)
    for row in range(2 * share.first, 2 * share.last):
        start = row // 2 * line
        other = min(max(row // 2 + row % 2 * 2 - 1, 0), height - 1) * line
        for i in range(line):
            mixed[i] = pixels[start + i] * near + pixels[other + i] * far
        at = 0
        for column in range(2 * width):
            here = column // 2 * channels
            there = min(max(column // 2 + column % 2 * 2 - 1, 0), width - 1) * channels
            for c in range(channels):
                tile[at + c] = mixed[here + c] * near + mixed[there + c] * far
            at += channels
        finish_row(tile, 0, row * 2 * width, 2 * width, finish)
