"""Fully connected layer: membrane[j] = bias[j] + Σᵢ weight[j, i] · input[i].

``linear`` multiplies; ``event_linear`` reads counts and accumulates rows of ``weight[i, j]``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import ShapeMismatchError
from s2f_deploy.ir.graph import DType, Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.arithmetic import accumulator, sum_type, with_bias
from s2f_deploy.ops.op import EVENT_ONLY, EVERY_LEVEL, Arrays, Op


def _infer(node: Node, source: TensorType, shape: tuple[int, ...], dtype: DType) -> TensorType:
    out_features, in_features = shape
    if source.shape != (in_features,):
        raise ShapeMismatchError(
            f"{node.name} reads {in_features} values but is fed {source}",
            where=node.origin,
            fix="pool or flatten before it, or check the widths of the checkpoint",
        )
    return TensorType((out_features,), dtype)


def infer_type(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """(I,), weight[O, I] -> (O,)."""
    return _infer(node, inputs[0], params[0].shape, sum_type(node, params))


def infer_event_type(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """(I,), rows[I, O] -> (O,)."""
    return _infer(node, inputs[0], params[0].T.shape, sum_type(node, params))


def dense(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """Any number type[I] -> real weights' type or integers[O]."""
    weight, bias = params
    wide = accumulator(inputs[0], weight)
    return with_bias(node, weight.astype(wide) @ inputs[0].astype(wide), bias)


def dense_event(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """The same from weights in rows: counts[I] -> float[O]."""
    return dense(node, inputs, [params[0].T, params[1]])


def interval(
    _: Node, __: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """Every source at the end of its range that a weight's sign prefers."""
    weight, bias = params
    return inputs[0].weighted(weight[:, :, None], bias, 1)


def event_interval(
    node: Node, types: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """The same from weights in rows."""
    return interval(node, types, inputs, [params[0].T, params[1]])


def fan_out(_: Node, __: TensorType, params: Arrays) -> NDArray[Any]:
    """int64[1]: every spike reaches every output."""
    return np.array([params[0].shape[0]], np.int64)


def event_fan_out(_: Node, __: TensorType, params: Arrays) -> NDArray[Any]:
    """int64[1]: every spike reaches every output."""
    return np.array([params[0].shape[1]], np.int64)


def macs(_: Node, __: Sequence[TensorType], params: Arrays) -> int:
    """One product per weight."""
    return params[0].size


def roundings(_: Node, __: Sequence[TensorType], params: Arrays) -> int:
    """A product and a sum per input at most, and the bias."""
    return int(params[0].shape[1]) + 1


LINEAR = Op("linear", EVERY_LEVEL, infer_type, dense, fan_out, macs, macs, roundings, interval)
EVENT_LINEAR = Op(
    "event_linear",
    EVENT_ONLY,
    infer_event_type,
    dense_event,
    event_fan_out,
    macs,
    macs,
    interval=event_interval,
)
