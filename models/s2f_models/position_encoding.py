"""Where a token lies in its map, as sines and cosines.

Source: Carion et al. 2020 (DETR), arXiv:2005.12872, as mmdet normalises it.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_TEMPERATURE = 10_000
_EPSILON = 1e-6


def sine_encoding(height: int, width: int, channels: int, like: Tensor) -> Tensor:
    """One vector for each position.

    Channels of the first half say the row, of the second half the column: sines in even places,
    cosines in odd ones, of wavelengths that grow.

    Returns:
        Of shape [channels, height, width], in the dtype and on the device of ``like``.
    """
    rows, columns = (
        torch.from_numpy(_axis(side, channels // 2)).to(like) for side in (height, width)
    )
    shape = (channels // 2, height, width)
    return torch.cat([rows[:, :, None].expand(shape), columns[:, None, :].expand(shape)])


@cache
def _axis(side: int, channels: int) -> NDArray[np.float64]:
    """float64[channels, side]."""
    position = 2 * np.pi * np.arange(1, side + 1) / (side + _EPSILON)
    wave = np.arange(channels)
    phase = position / _TEMPERATURE ** (2 * (wave // 2) / channels)[:, None]
    return np.where((wave % 2)[:, None], np.cos(phase), np.sin(phase))
