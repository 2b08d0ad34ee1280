"""Where real time begins and ends: a constant value becomes T equal ones, T values one sum."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import ShapeMismatchError
from s2f_deploy.ir.graph import Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.op import EVERY_LEVEL, FLOAT_ONLY, Arrays, Op


def infer_repeat(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """[C, ...] -> [T, C, ...], T being ``steps``."""
    del params
    if inputs[0].steps != 1 or node["steps"] < 1:
        raise _unfit(node, inputs[0])
    return replace(inputs[0], steps=node["steps"])


def dense_repeat(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """Any number type[C, ...] -> the same[T, C, ...]."""
    del params
    return np.repeat(inputs[0][None], node["steps"], axis=0)


def same_interval(
    node: Node, types: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """Unchanged."""
    del node, types, params
    return inputs[0]


def infer_over_time(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """[T, C, ...] -> [C, ...]; integers may widen."""
    del params
    (source,) = inputs
    if source.steps < 2:  # noqa: PLR2004 (one value is its own sum)
        raise _unfit(node, source)
    whole = source.dtype.is_integer and node.output.dtype.is_integer
    return replace(source, steps=1, dtype=node.output.dtype if whole else source.dtype)


def dense_mean(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """real[T, C, ...] -> real[C, ...]."""
    del node, params
    mean: NDArray[Any] = inputs[0].mean(0)
    return mean


def dense_sum(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """Any number type[T, C, ...] -> the same, or a wider integer, [C, ...]."""
    del params
    wide = node.output.dtype.array_type if node.output.dtype.is_integer else inputs[0].dtype
    # One after the other, as a sum over another axis than the last is taken anyway.
    total: NDArray[Any] = inputs[0].sum(0, dtype=wide)
    return total


def sum_interval(
    node: Node, types: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """T times the source's, partial sums included."""
    del node, params
    return inputs[0].with_zero().times(types[0].steps)


def roundings(_: Node, inputs: Sequence[TensorType], __: Arrays) -> int:
    """One sum per timestep at most, and the quotient."""
    return inputs[0].steps + 1


def _unfit(node: Node, source: TensorType) -> ShapeMismatchError:
    return ShapeMismatchError(
        f"{node.name} cannot repeat or sum up {source}",
        where=node.origin,
        fix="repeat an image once, and take the mean over its time steps once",
    )


REPEAT = Op(
    "repeat", EVERY_LEVEL, infer_repeat, dense_repeat, interval=same_interval, couples_time=True
)
TIME_MEAN = Op(
    "time_mean", FLOAT_ONLY, infer_over_time, dense_mean, roundings=roundings, couples_time=True
)
TIME_SUM = Op(
    "time_sum",
    EVERY_LEVEL,
    infer_over_time,
    dense_sum,
    roundings=roundings,
    interval=sum_interval,
    couples_time=True,
)
