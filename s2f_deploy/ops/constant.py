"""A tensor that no input changes: learned queries, position encodings, and what follows of them.

Of counts it is a population that fires the same spikes for every input.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import ShapeMismatchError
from s2f_deploy.ir.graph import DType, Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.op import EVERY_LEVEL, Arrays, Op


def infer_type(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """The declared type; params: its values, of the shape of its arrays."""
    del inputs
    if params[0].shape != node.output.array_shape:
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
    del types, inputs
    rows = params[0].reshape(node.output.steps, node.output.channels, -1).astype(np.int64)
    return Interval(rows.min((0, 2)).astype(object), rows.max((0, 2)).astype(object))


def always_fires(node: Node) -> bool:
    """Whether a node is a population whose spikes no input changes."""
    return node.op == "constant" and node.output.dtype is DType.COUNT


CONSTANT = Op("constant", EVERY_LEVEL, infer_type, dense, interval=interval)
