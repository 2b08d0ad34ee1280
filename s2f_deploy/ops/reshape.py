"""Wiring: other names for the positions, the same channels in the same order."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from s2f_deploy.errors import ShapeMismatchError
from s2f_deploy.ir.graph import Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.op import EVERY_LEVEL, Arrays, Op


def infer_type(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """(C, H, W) <-> (C, N), or (C, 1, 1) <-> (C,); the element type stays."""
    del params
    source = inputs[0]
    if (source.channels, source.positions) != (node.output.channels, node.output.positions):
        raise ShapeMismatchError(
            f"{node.name} turns {source} into {node.output}",
            where=node.origin,
            fix="only positions may be regrouped; channels must stay as they are",
        )
    return replace(source, shape=node.output.shape)


def dense(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """The same elements."""
    del params
    return inputs[0].reshape(node.output.shape)


def interval(
    node: Node, types: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """Unchanged."""
    del node, types, params
    return inputs[0]


RESHAPE = Op("reshape", EVERY_LEVEL, infer_type, dense, interval=interval)
