"""Zeros around an image; lowering moves them into the convolution that reads it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import ShapeMismatchError
from s2f_deploy.ir.graph import Node, TensorType
from s2f_deploy.ops.op import FLOAT_ONLY, Arrays, Op

IMAGE_RANK = 3


def infer_type(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """(C, H, W) -> (C, top + H + bottom, left + W + right)."""
    del params
    (source,), (top, left, bottom, right) = inputs, node["padding"]
    if len(source.shape) != IMAGE_RANK or min(node["padding"]) < 0:
        raise ShapeMismatchError(
            f"{node.name} pads {source} by {node['padding']}",
            where=node.origin,
            fix="pad images, by what is not negative",
        )
    height, width = source.plane
    return replace(source, shape=(source.channels, top + height + bottom, left + width + right))


def dense(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """Any number type[C, H, W] -> the same, zeros around it."""
    del params
    top, left, bottom, right = node["padding"]
    return np.pad(inputs[0], ((0, 0), (top, bottom), (left, right)))


PAD = Op("pad", FLOAT_ONLY, infer_type, dense)
