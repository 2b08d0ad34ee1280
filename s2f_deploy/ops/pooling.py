"""Global pooling over positions: the mean of the float network, the sum of the event graph."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.op import EVERY_LEVEL, FLOAT_ONLY, Arrays, Op


def infer_type(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """(C, ...) -> (C,); integers may widen."""
    del params
    whole = inputs[0].dtype.is_integer and node.output.dtype.is_integer
    return TensorType(inputs[0].shape[:1], node.output.dtype if whole else inputs[0].dtype)


def dense_mean(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """real[C, ...] -> real[C]."""
    del node, params
    mean: NDArray[Any] = inputs[0].reshape(inputs[0].shape[0], -1).mean(1)
    return mean


def dense_sum(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """Any number type[C, ...] -> the same, or a wider integer, [C]."""
    del params
    wide = node.output.dtype.array_type if node.output.dtype.is_integer else inputs[0].dtype
    total: NDArray[Any] = inputs[0].reshape(inputs[0].shape[0], -1).sum(1, dtype=wide)
    return total


def sum_interval(
    node: Node, types: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """As many times the source's as there are positions, partial sums included."""
    del node, params
    return inputs[0].with_zero().times(types[0].positions)


def roundings(_: Node, inputs: Sequence[TensorType], __: Arrays) -> int:
    """One sum per position at most, and the quotient."""
    return inputs[0].positions + 1


MEAN_POOL = Op("mean_pool", FLOAT_ONLY, infer_type, dense_mean, roundings=roundings)
SUM_POOL = Op(
    "sum_pool", EVERY_LEVEL, infer_type, dense_sum, roundings=roundings, interval=sum_interval
)
