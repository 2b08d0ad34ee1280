"""Fitting a picture into a detector's input without distortion, and boxes back into the picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import InputError
from s2f_sim.bilinear import resize

SIDE, STRIDE = 640, 32
PADDING = 114
# Both paddings of an odd remainder are rounded from the half, the first one down.
_NUDGE = 0.1
_RECT_ROOM = 0.5

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Letterbox:
    """One picture's place in the network's input. All sizes are height, width in pixels.

    Attributes:
        picture: size of the original.
        resized: size of the part of the input that shows it.
        before: padding above, on the left.
        after: padding below, on the right.
        gain: input pixels per pixel of the original, y then x, as boxes are mapped back.
        offset: of the picture in the input, y then x, as boxes are mapped back.
    """

    picture: Size
    resized: Size
    before: Size
    after: Size
    gain: tuple[float, float]
    offset: Size

    @classmethod
    def for_prediction(
        cls, picture: Size, side: int = SIDE, stride: int = STRIDE, *, square: bool = False
    ) -> "Letterbox":
        """Scaled up or down into ``side`` squared, padded to multiples of ``stride`` or a square.

        >>> Letterbox.for_prediction((480, 640)).shape
        (480, 640)
        >>> Letterbox.for_prediction((427, 640)).shape
        (448, 640)

        Source: ``spike_yolo.md`` section 5; a batch of pictures that differ in size is square.
        """
        return cls._centred(picture, (side, side), None if square else stride)

    @classmethod
    def into(cls, picture: Size, shape: Size) -> "Letterbox":
        """As ``for_prediction``, for a network whose input has one shape.

        >>> Letterbox.into((427, 640), (480, 640)).before
        (26, 0)
        """
        return cls._centred(picture, shape, None)

    @classmethod
    def _centred(cls, picture: Size, room: Size, modulo: int | None) -> "Letterbox":
        height, width = picture
        scale = min(room[0] / height, room[1] / width)
        resized = max(1, round(height * scale)), max(1, round(width * scale))
        before, after = _paddings(resized, room, modulo)
        rows, columns = (r + b + a for r, b, a in zip(resized, before, after, strict=True))
        gain = min(rows / height, columns / width)
        offset = (
            round((rows - height * gain) / 2 - _NUDGE),
            round((columns - width * gain) / 2 - _NUDGE),
        )
        return cls(picture, resized, before, after, (gain, gain), offset)

    @classmethod
    def for_validation(
        cls, picture: Size, shape: Size | None = None, side: int = SIDE
    ) -> "Letterbox":
        """Long side scaled to ``side``, padded to ``shape``: see ``rect_shapes``; else a square.

        Raises:
            InputError: the resized picture does not fit ``shape``.

        Source: ``spike_yolo.md`` section 5. Boxes go back by the scales and the padding that were
        applied here: the picture does not touch the borders of its shape.
        """
        longest = max(picture)
        height, width = (min(math.ceil(n * side / longest), side) for n in picture)
        shape = shape or (side, side)
        if height > shape[0] or width > shape[1]:
            raise InputError(
                f"a picture of {width}x{height} pixels does not fit {shape[1]}x{shape[0]}",
                where="letterbox",
                fix="pad to the shape that rect_shapes gives for it, or to a square",
            )
        before, after = _paddings((height, width), shape, None)
        gain = height / picture[0], width / picture[1]
        return cls(picture, (height, width), before, after, gain, before)

    @property
    def shape(self) -> Size:
        """Height and width of the network's input."""
        above, left = self.before
        below, right = self.after
        return above + self.resized[0] + below, left + self.resized[1] + right

    def place(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Pixels uint8[h, w, C] of the picture -> uint8[H, W, C], resized and padded with grey.

        Raises:
            InputError: the pixels are those of a picture of another size.
        """
        if pixels.shape[:2] != self.picture:
            raise InputError(
                f"pixels of shape {list(pixels.shape)} for a picture of {list(self.picture)}",
                where="letterbox",
                fix="make a letterbox for every size of picture",
            )
        height, width = self.resized
        return self.pad(resize(pixels, width, height))

    def pad(self, fitting: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The resized picture uint8[h, w, C] -> uint8[H, W, C], with grey around it."""
        placed = np.full((*self.shape, *fitting.shape[2:]), PADDING, np.uint8)
        (top, left), (height, width) = self.before, self.resized
        placed[top : top + height, left : left + width] = fitting
        return placed

    def to_picture(self, boxes: NDArray[Any]) -> NDArray[np.float64]:
        """Boxes[N, x1 y1 x2 y2] in input pixels -> in pixels of the original, clipped to it."""
        height, width = self.picture
        (down, across), (tall, wide) = self.offset, self.gain
        moved = np.asarray(boxes, np.float64) - [across, down, across, down]
        back = moved / [wide, tall, wide, tall]
        return back.clip(0, [width, height, width, height])


def network_input(placed: NDArray[np.uint8]) -> NDArray[np.float32]:
    """RGB pixels uint8[H, W, 3] -> float32[1, 3, H, W] in [0, 1]."""
    channels_first = placed.transpose(2, 0, 1)[None]
    return np.ascontiguousarray(channels_first, np.float32) / np.float32(255)


def rect_shapes(
    pictures: Sequence[Size], batch: int, side: int = SIDE, stride: int = STRIDE
) -> list[Size]:
    """Per picture the input shape that rectangular validation gives it.

    Pictures are sorted by height over width and cut into batches; each batch gets the smallest
    shape for its most extreme picture, and room for half a stride.

    >>> rect_shapes([(427, 640), (640, 480)], batch=1)
    [(448, 672), (672, 512)]

    Source: ``spike_yolo.md`` section 5; upstream sorts equal aspects in no defined order, here
    they stay in theirs.
    """
    aspects = np.array([height / width for height, width in pictures])
    order = np.argsort(aspects, kind="stable")
    shapes: list[Size] = [(0, 0)] * len(pictures)
    for first in range(0, len(order), batch):
        members = order[first : first + batch]
        least, most = float(aspects[members[0]]), float(aspects[members[-1]])
        height, width = (most, 1.0) if most < 1 else (1.0, 1 / least) if least > 1 else (1.0, 1.0)
        shape = _roomy(height * side, stride), _roomy(width * side, stride)
        for member in members:
            shapes[member] = shape
    return shapes


def _roomy(length: float, stride: int) -> int:
    return math.ceil(length / stride + _RECT_ROOM) * stride


def _paddings(resized: Size, room: Size, modulo: int | None) -> tuple[Size, Size]:
    left_over = [
        r - n if modulo is None else (r - n) % modulo for r, n in zip(room, resized, strict=True)
    ]
    before, after = ([round(n / 2 + nudge) for n in left_over] for nudge in (-_NUDGE, _NUDGE))
    return (before[0], before[1]), (after[0], after[1])
