"""Bilinear resizing of 8-bit pictures in fixed point, bit for bit as OpenCV's ``INTER_LINEAR``.

Detectors of the YOLO family are trained and scored on pictures resized by OpenCV, which rounds
its weights to 11 bits, does not widen its kernel when it shrinks, and averages blocks of 2 x 2
when both sides are halved. Another bilinear resize differs by a grey level, and integer neurons
notice.
"""

import numpy as np
from numpy.typing import NDArray

_ONE = np.float32(1 << 11)
# The rows' sums lose 4 bits so that, times a weight, they fit a word whose upper half is kept.
_ROW_SHIFT, _PRODUCT_SHIFT, _LAST_SHIFT = 4, 16, 2
_HALVING = 2


def resize(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Picture uint8[H, W] or uint8[H, W, C] -> uint8[height, width] or uint8[height, width, C].

    >>> resize(np.array([[0, 100]], np.uint8), 4, 1).tolist()
    [[0, 25, 75, 100]]

    Source: behaviour of OpenCV 5.0, ``cv2.resize`` with ``INTER_LINEAR`` on 8-bit pictures.
    """
    rows, columns = picture.shape[:2]
    if (rows, columns) == (height, width):
        return picture.copy()
    wide = picture.reshape(rows, columns, -1).astype(np.int32)
    if (rows, columns) == (_HALVING * height, _HALVING * width):
        total = wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2]
    else:
        total = _rows_mixed(_columns_mixed(wide, width), height)
    resized = (total + (1 << (_LAST_SHIFT - 1))) >> _LAST_SHIFT
    return resized.astype(np.uint8).reshape(height, width, *picture.shape[2:])


def _columns_mixed(wide: NDArray[np.int32], width: int) -> NDArray[np.int32]:
    columns = wide.shape[1]
    left, share = _neighbours(columns, width)
    # Beyond the centre of the first and last column, that column gets all the weight.
    share = np.where((left < 0) | (left >= columns - 1), np.float32(0), share)
    left = left.clip(0, columns - 1)
    right = np.minimum(left + 1, columns - 1)
    weights = (_fixed(w)[:, None] for w in (1 - share, share))
    return wide[:, left] * next(weights) + wide[:, right] * next(weights)


def _rows_mixed(lines: NDArray[np.int32], height: int) -> NDArray[np.int32]:
    # Rows keep their weights beyond the border; each product is cut on its own.
    above, share = _neighbours(len(lines), height)
    total = np.zeros((height, *lines.shape[1:]), np.int32)
    for row, weight in ((above, 1 - share), (above + 1, share)):
        taken = lines[row.clip(0, len(lines) - 1)] >> _ROW_SHIFT
        total += (taken * _fixed(weight)[:, None, None]) >> _PRODUCT_SHIFT
    return total


def _neighbours(old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Per new pixel: the old pixel before its centre, and the share of the one after that."""
    scale = 1.0 / (new / old)
    centre = ((np.arange(new) + 0.5) * scale - 0.5).astype(np.float32)
    before = np.floor(centre)
    return before.astype(np.int64), centre - before


def _fixed(weight: NDArray[np.float32]) -> NDArray[np.int32]:
    fixed: NDArray[np.int32] = np.rint(weight * _ONE).astype(np.int32)
    return fixed
