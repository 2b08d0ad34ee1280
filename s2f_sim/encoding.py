"""Layers that multiply: the image is laid out for them first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node
from s2f_sim.kernels.aligned import aligned_copy
from s2f_sim.kernels.encoding import digitise
from s2f_sim.kernels.finish import Finish
from s2f_sim.kernels.multiply import LANES, multiply_convolution
from s2f_sim.kernels.sharing import Share
from s2f_sim.rooms import Arrays, Room
from s2f_sim.synapses import flat_bias
from s2f_sim.workers import Pace, Workers

# Rough speeds of one core, only to judge whether a second thread pays.
PRODUCTS_PER_NS = 10.0
PIXELS_PER_NS = 1.0


@dataclass(frozen=True, eq=False, slots=True)
class Products:
    """A plain conv2d that multiplies; for its rows see `multiply_convolution`."""

    rows: NDArray[Any]
    bias: NDArray[Any]
    pixel: np.dtype[Any]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    plane: tuple[int, int]
    room: Room
    pace: Pace

    @classmethod
    def of(
        cls, node: Node, arrays: Sequence[NDArray[Any]], largest_pixel: int | None
    ) -> "Products":
        """Lay out its weights.

        Args:
            node: of one group.
            arrays: its weight and bias.
            largest_pixel: bound of the integers it reads, if it reads integers and that is known.
        """
        weight, bias = arrays
        lines = weight.transpose(2, 3, 1, 0).reshape(weight.shape[2], -1, weight.shape[0])
        narrow = weight.itemsize <= np.dtype(np.int16).itemsize
        paired = narrow and largest_pixel is not None and largest_pixel <= np.iinfo(np.int16).max
        odd = lines.shape[1] % 2 if paired else 0
        rows = np.pad(lines.astype(bias.dtype), ((0, 0), (0, odd), (0, -lines.shape[2] % LANES)))
        if paired:
            short = rows.astype(np.int16)
            rows = np.stack([short[:, ::2], short[:, 1::2]], axis=-1).view(np.int32)[..., 0]
        kind = np.dtype(np.int16) if paired else bias.dtype
        geometry = node["stride"], node["padding"], node.output.plane
        pace = Pace(node.output.positions * rows.size / PRODUCTS_PER_NS)
        room = Room((node.output.plane[1] * len(bias) + rows.shape[2], bias.dtype))
        return cls(aligned_copy(rows), flat_bias(bias), kind, *geometry, room, pace)

    def padded(self, height: int, width: int, channels: int) -> NDArray[Any]:
        """Zeros T[H', W', C] for an image [H, W, C], and its padding."""
        top, left, bottom, right = self.padding
        # One more column: the last pair may look beyond its window.
        return np.zeros((top + height + bottom, left + width + right + 1, channels), self.pixel)

    def accumulate(self, source: NDArray[Any], finish: Finish, workers: Workers) -> None:
        """An image [H, W, C] becomes what ``finish`` says."""
        top, left = self.padding[:2]
        height, width, channels = source.shape
        image = self.padded(height, width, channels)
        inside = image[top : top + height, left : left + width]
        # An image comes channel by channel: three long loops cost less than many of three.
        for channel in range(channels):
            inside[..., channel] = source[..., channel]
        self.multiply(image, finish, workers)

    def multiply(self, image: NDArray[Any], finish: Finish, workers: Workers) -> None:
        """An image with its padding, see `padded`."""
        lines, columns = self.plane
        channels, line = image.shape[2], image[0].size
        pixels = image.reshape(-1), line, self.rows.reshape(-1), self.rows.shape, channels

        def work(room: Arrays, share: Share) -> None:
            given: Any = *pixels, self.stride, columns, *room, finish, share
            multiply_convolution(*given)

        workers.over_rows(lines, work, self.pace, self.room)


class Encoding:
    """A conv2d that alone reads the image as integers: these are laid out as they are made.

    Args:
        node: of one group.
        arrays: its weight and bias.
        pixels: the node of op ``digitise`` that it reads.
    """

    def __init__(self, node: Node, arrays: Sequence[NDArray[Any]], pixels: Node) -> None:
        self._low, self._high = pixels["low"], pixels["high"]
        self._products = Products.of(node, arrays, max(-self._low, self._high))
        self._scale = np.float32(2.0 ** -pixels["exponent"])
        self._shape = pixels.output.array_shape
        channels, height, width = self._shape
        # The padding stays as it is, from one image to the next.
        self._image = self._products.padded(height, width, channels)
        self._pace = Pace(channels * height * width / PIXELS_PER_NS)

    @property
    def bias(self) -> NDArray[Any]:
        """T[1 or H' * W', O]."""
        return self._products.bias

    def digitise(self, pixels: NDArray[np.float32], workers: Workers) -> NDArray[Any]:
        """Pixels float32[H, W, C], of any strides: integers with padding, for `accumulate`."""
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)).reshape(-1)
        top, left = self._products.padding[:2]
        pixel_range = self._scale, np.float32(self._low), np.float32(self._high)
        target = self._image.reshape(-1), self._image[0].size, (top, left)

        def work(_: Arrays, share: Share) -> None:
            given: Any = planes, self._shape, *pixel_range, *target, share
            digitise(*given)

        workers.over_rows(self._shape[1], work, self._pace)
        return self._image

    def accumulate(self, source: NDArray[Any], finish: Finish, workers: Workers) -> None:
        """What `digitise` gave becomes what ``finish`` says."""
        self._products.multiply(source, finish, workers)
