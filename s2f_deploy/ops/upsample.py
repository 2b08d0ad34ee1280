"""Nearest upsampling by whole factors: wiring, every source is seen several times."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import ShapeMismatchError
from s2f_deploy.ir.graph import Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.op import EVERY_LEVEL, Arrays, Op

IMAGE_RANK = 3


def infer_type(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """(C, H, W) -> (C, f · H, g · W), the factors being f, g."""
    del params
    (source,), factors = inputs, node["factors"]
    if len(source.shape) != IMAGE_RANK or len(factors) != len(source.plane) or min(factors) < 1:
        raise ShapeMismatchError(
            f"{node.name} enlarges {source} by {factors}",
            where=node.origin,
            fix="enlarge images, by whole factors",
        )
    plane = (side * factor for side, factor in zip(source.plane, factors, strict=True))
    return replace(source, shape=(source.channels, *plane))


def dense(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """Any number type[C, H, W] -> the same, every element in a block of its own."""
    del params
    rows, columns = node["factors"]
    return inputs[0].repeat(rows, axis=1).repeat(columns, axis=2)


def spread(node: Node, source: TensorType, values: NDArray[Any]) -> NDArray[Any]:
    """The same of numbers per position: [..., H · W] -> [..., f · H · g · W]."""
    rows, columns = node["factors"]
    plane = values.reshape(-1, *source.plane).repeat(rows, axis=1).repeat(columns, axis=2)
    return np.ascontiguousarray(plane).reshape(*values.shape[:-1], -1)


def interval(
    node: Node, types: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """Unchanged."""
    del node, types, params
    return inputs[0]


UPSAMPLE = Op("upsample", EVERY_LEVEL, infer_type, dense, interval=interval)
