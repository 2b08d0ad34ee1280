"""Fitting a picture into a network's input, and what the network says of every pixel back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Fit:
    """One picture's place in the network's input: its upper left corner. Height, width in pixels.

    Attributes:
        picture: size of the original.
        resized: size of the part of the input that shows it; the rest is padding.
    """

    picture: Size
    resized: Size

    @classmethod
    def into(cls, picture: Size, shape: Size) -> "Fit":
        """Scaled up or down, without distortion, until it touches two borders of ``shape``.

        >>> Fit.into((427, 640), (512, 512)).resized
        (342, 512)

        Source: ``spike2former.md`` section 10; sides are rounded half up, as mmcv does.
        """
        scale = min(room / side for room, side in zip(shape, picture, strict=True))
        height, width = (
            max(1, min(room, int(side * scale + 0.5)))
            for room, side in zip(shape, picture, strict=True)
        )
        return cls(picture, (height, width))

    def labels(self, scores: NDArray[Any]) -> NDArray[np.uint16]:
        """Scores float[K, H, W] of the input -> uint16[h, w], the best class of every pixel.

        Padding is cut off, the rest brought to the size of the picture by ``resize_plane``; of
        equal scores the first class wins.
        """
        rows, columns = self.resized
        best = np.full(self.picture, -np.inf, np.float32)
        labels = np.zeros(self.picture, np.uint16)
        # Class by class: all classes of a large picture would not fit into memory.
        for index, plane in enumerate(scores[:, :rows, :columns]):
            resized = resize_plane(np.asarray(plane, np.float32), self.picture)
            better = resized > best
            best[better] = resized[better]
            labels[better] = index
        return labels


def resize_plane(plane: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """float32[h, w] -> float32[*size], bilinear between the centres of pixels, not antialiased.

    >>> resize_plane(np.array([[0, 1]], np.float32), (1, 4)).tolist()
    [[0.0, 0.25, 0.75, 1.0]]

    Source: PyTorch's ``interpolate`` with ``align_corners=False``.
    """
    if plane.shape == size:
        return plane
    (above, below, down), (left, right, across) = (
        _neighbours(old, new) for old, new in zip(plane.shape, size, strict=True)
    )
    wide: NDArray[Any] = plane[:, left] * (1 - across) + plane[:, right] * across
    down = down[:, None]
    mixed: NDArray[Any] = wide[above] * (1 - down) + wide[below] * down
    return mixed


def _neighbours(
    old: int, new: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Per new pixel the old ones before and after its centre, and the share of the latter."""
    scale = np.float32(old / new)
    centre = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    centre = centre.clip(0)
    before = np.minimum(centre.astype(np.int64), old - 1)
    share = (centre - before.astype(np.float32)).astype(np.float32)
    return before, np.minimum(before + 1, old - 1), share
