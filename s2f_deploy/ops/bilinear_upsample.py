"""Bilinear upsampling to exactly twice the size: shifts and additions of membranes.

Along an axis, results 2i and 2i + 1 lie a quarter of a pixel before and behind pixel i:
(3 · in[i] + in[i ∓ 1]) / 4, where the edge pixel stands for what lies beyond it. Over both axes
the weights are 9, 3, 3 and 1 sixteenths, so that integers are exact on a grid 4 bits finer.

Source: ``spike2former.md`` sections 4 and 13, row 7; ONNX, operator Resize, ``half_pixel``.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import ShapeMismatchError
from s2f_deploy.ir.graph import DType, Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.op import EVERY_LEVEL, Arrays, Op

IMAGE_RANK = 3
FINER_BITS = 4
"""By which the grid of the result is finer than that of the source."""
WHOLE_WEIGHTS = (3, 1)
"""Of the nearer and the farther pixel of one axis, in units of a quarter."""
REAL_WEIGHTS = (0.75, 0.25)


def infer_type(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """(C, H, W) -> (C, 2H, 2W), real values, or integers that may widen."""
    del params
    (source,) = inputs
    if len(source.shape) != IMAGE_RANK or source.dtype is DType.COUNT:
        raise ShapeMismatchError(
            f"{node.name} interpolates {source}",
            where=node.origin,
            fix="interpolate images of real values; put a convolution behind the neuron",
        )
    whole = source.dtype.is_integer and node.output.dtype.is_integer
    dtype = node.output.dtype if whole else source.dtype
    height, width = source.plane
    return replace(source, shape=(source.channels, 2 * height, 2 * width), dtype=dtype)


def farther(side: int) -> NDArray[np.int64]:
    """int64[2 · side]: the farther of the two pixels that each result reads.

    >>> farther(3).tolist()
    [0, 1, 0, 2, 1, 2]
    """
    result = np.arange(2 * side)
    other: NDArray[np.int64] = np.clip(result // 2 + 2 * (result % 2) - 1, 0, side - 1)
    return other


def dense(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """real[C, H, W] -> the same[C, 2H, 2W]; integers -> integers[C, 2H, 2W], 16 times as large."""
    del params
    (value,) = inputs
    if whole := node.output.dtype.is_integer:
        value = value.astype(node.output.dtype.array_type)
    near, far = (value.dtype.type(w) for w in (WHOLE_WEIGHTS if whole else REAL_WEIGHTS))
    for axis in (1, 2):
        other = value.take(farther(value.shape[axis]), axis)
        value = value.repeat(2, axis) * near + other * far
    return value


def additions(source: TensorType) -> int:
    """Of one image: 3a + b is two, a shift left aside; where b is a itself it is none."""
    height, width = source.plane
    down, across = 2 * (2 * height - 2) * width, 2 * (2 * width - 2) * 2 * height
    return source.channels * (down + across)


def interval(
    node: Node, types: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """Sixteen times the source's, partial sums included."""
    del node, types, params
    return inputs[0].with_zero().times(1 << FINER_BITS)


def roundings(_: Node, __: Sequence[TensorType], ___: Arrays) -> int:
    """A product and a sum along each axis; or one product with all weights, and three sums."""
    return 4


BILINEAR_UPSAMPLE = Op(
    "bilinear_upsample", EVERY_LEVEL, infer_type, dense, roundings=roundings, interval=interval
)
