"""A tensor that no input changes: learned queries, position encodings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import ShapeMismatchError
from s2f_deploy.ir.graph import Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.op import EVERY_LEVEL, Arrays, Op


def infer_type(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """The declared type; params: its values, of its shape."""
    del inputs
    if params[0].shape != node.output.shape:
        raise ShapeMismatchError(
            f"{node.name} declares {node.output} but holds {list(params[0].shape)}",
            where=node.origin,
            fix="the artefact is damaged: export the network again",
        )
    return node.output


def dense(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """The values themselves."""
    del inputs
    whole = node.output.dtype.is_integer
    return params[0].astype(node.output.dtype.array_type) if whole else params[0]


def interval(
    node: Node, types: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """The smallest and largest value of every channel."""
    del node, types, inputs
    rows = params[0].reshape(len(params[0]), -1).astype(np.int64)
    return Interval(rows.min(1).astype(object), rows.max(1).astype(object))


CONSTANT = Op("constant", EVERY_LEVEL, infer_type, dense, interval=interval)
