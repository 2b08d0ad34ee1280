"""Bilinear upsampling: shifts and additions of membranes.

Along an axis of n pixels enlarged to m, result o lies at pixel (o + ½) · n / m − ½ and takes shares
of the two pixels around it; the edge pixel stands for what lies beyond it. To exactly twice the
size these shares are quarters, and over both axes sixteenths: integers are exact on a grid 4 bits
finer. Of any other ratio, integers take shares rounded to ``bits`` bits.

Source: ``spike2former.md`` sections 4 and 13, row 7; ONNX, operator Resize, ``half_pixel``.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import ShapeMismatchError
from s2f_deploy.ir.graph import DType, Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.op import EVERY_LEVEL, Arrays, Op

IMAGE_RANK = 3
TWOFOLD_BITS = 2
"""Bits of a share where the size exactly doubles."""
ROUNDED_BITS = 8
"""Bits that other shares are rounded to."""


class Axis(NamedTuple):
    """What every result along one axis reads.

    Attributes:
        lower: int64[m], the pixel before it.
        upper: int64[m], the one behind it; beyond an edge both are the edge's.
        share: of the one behind: int64[m] in units of ``2**-bits``, or float64[m] as it is.
    """

    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    share: NDArray[Any]


def along(source: int, target: int, bits: int) -> Axis:
    """Enlarge ``source`` pixels to ``target``; shares as they are if ``bits`` is 0.

    >>> [part.tolist() for part in along(2, 4, 2)]
    [[0, 0, 0, 1], [0, 1, 1, 1], [3, 1, 3, 1]]
    """
    before, rest = np.divmod((2 * np.arange(target) + 1) * source - target, 2 * target)
    share = rest / (2 * target)
    if bits:
        share = np.rint(share * (1 << bits)).astype(np.int64)
    lower, upper = (np.clip(pixel, 0, source - 1) for pixel in (before, before + 1))
    return Axis(lower, upper, share)


def is_twofold(node: Node, source: TensorType) -> bool:
    """Whether both sides exactly double, and shares are quarters."""
    height, width = source.plane
    return bool(node["bits"] == TWOFOLD_BITS and node["plane"] == (2 * height, 2 * width))


def infer_type(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """(C, H, W) -> (C, *plane), real values, or integers that may widen."""
    del params
    (source,) = inputs
    unfit = len(source.shape) != IMAGE_RANK or any(
        large < small for large, small in zip(node["plane"], source.plane, strict=True)
    )
    if unfit or source.dtype is DType.COUNT:
        raise ShapeMismatchError(
            f"{node.name} interpolates {source} to {'x'.join(map(str, node['plane']))}",
            where=node.origin,
            fix="enlarge images of real values; put a convolution behind the neuron",
        )
    whole = source.dtype.is_integer and node.output.dtype.is_integer
    dtype = node.output.dtype if whole else source.dtype
    return replace(source, shape=(source.channels, *node["plane"]), dtype=dtype)


def dense(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """real[C, H, W] -> the same[C, H', W']; integers 4**bits times as large."""
    del params
    (value,) = inputs
    if whole := node.output.dtype.is_integer:
        value = value.astype(node.output.dtype.array_type)
    one = 1 << node["bits"]
    for axis, target in ((1, node["plane"][0]), (2, node["plane"][1])):
        lower, upper, share = along(value.shape[axis], target, node["bits"])
        near, far = one - share, share
        if not whole:
            near, far = near / one, far / one
        by_axis = (-1, 1) if axis == 1 else (-1,)
        near, far = (part.astype(value.dtype).reshape(by_axis) for part in (near, far))
        value = value.take(lower, axis) * near + value.take(upper, axis) * far
    return value


def additions(node: Node, source: TensorType) -> int:
    """Of one image. A share f of 2**b between a and c is a sum of shifted differences.

    ``(a << b) + f · (c − a)``, or the same from the other side: a difference, and an addition for
    every bit that is set in f, or in what it leaves. Where nothing is between, there is none.
    """
    one, (height, width), (rows, columns) = 1 << node["bits"], source.plane, node["plane"]

    def of(small: int, large: int) -> int:
        lower, upper, share = along(small, large, node["bits"])
        mixed = (lower != upper) & (share > 0) & (share < one)
        bits = np.minimum(np.bitwise_count(share), np.bitwise_count(one - share)) + 1
        return int(bits[mixed].sum())

    total: int = source.channels * (of(height, rows) * width + of(width, columns) * rows)
    return total


def interval(
    node: Node, types: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """4**bits times the source's, partial sums included."""
    del types, params
    return inputs[0].with_zero().times(1 << (2 * node["bits"]))


def roundings(_: Node, __: Sequence[TensorType], ___: Arrays) -> int:
    """A product and a sum along each axis; or one product with all weights, and three sums."""
    return 4


BILINEAR_UPSAMPLE = Op(
    "bilinear_upsample", EVERY_LEVEL, infer_type, dense, roundings=roundings, interval=interval
)
