"""Addition of currents, and the affine maps that lowering folds away."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import ShapeMismatchError
from s2f_deploy.ir.graph import DType, Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.op import EVERY_LEVEL, FLOAT_ONLY, Arrays, Op


def infer_sum(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """Two equal types -> the same."""
    del params
    if inputs[0] != inputs[1]:
        raise ShapeMismatchError(
            f"{node.name} adds {inputs[0]} and {inputs[1]}",
            where=node.origin,
            fix="both branches of a residual sum need one shape and real values",
        )
    return inputs[0]


def dense_sum(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """Membrane potentials of two branches, added."""
    del node, params
    total: NDArray[Any] = inputs[0] + inputs[1]
    return total


def sum_interval(
    node: Node, types: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """Both branches at their ends."""
    del node, types, params
    return inputs[0].plus(inputs[1])


def per_channel(vector: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """A vector [C] or [1] shaped to broadcast over the positions of ``like``."""
    return vector.reshape(-1, *[1] * (like.ndim - 1))


def infer_affine(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """(C, ...), vectors[C] or [1] -> real values of the same shape."""
    if any(vector.size not in (1, inputs[0].channels) for vector in params):
        raise ShapeMismatchError(
            f"{node.name} scales {params[0].size} channels but is fed {inputs[0]}",
            where=node.origin,
            fix="scale by one value, or by one value per channel",
        )
    return TensorType(inputs[0].shape, DType.FLOAT32)


def dense_affine(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """Value · scale + shift, per channel. No shift at all leaves a negative zero as it is."""
    del node
    value = inputs[0].astype(np.result_type(inputs[0], np.float32))
    scale, shift = (per_channel(vector, value).astype(value.dtype) for vector in params)
    scaled: NDArray[Any] = value * scale
    return scaled + shift if shift.any() else scaled


def dense_batch_norm(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """(value − mean) · gamma / √(var + ε) + beta; params are gamma, beta, mean, var."""
    (value,) = inputs
    gamma, beta, mean, var = (per_channel(p, value).astype(value.dtype) for p in params)
    result: NDArray[Any] = (value - mean) * (gamma / np.sqrt(var + node["epsilon"])) + beta
    return result


def one_rounding(_: Node, __: Sequence[TensorType], ___: Arrays) -> int:
    """One floating point addition."""
    return 1


def affine_roundings(_: Node, __: Sequence[TensorType], ___: Arrays) -> int:
    """A product and a sum."""
    return 2


def affine_macs(node: Node, _: Sequence[TensorType], __: Arrays) -> int:
    """One product per element."""
    return node.output.channels * node.output.positions


def batch_norm_roundings(_: Node, __: Sequence[TensorType], ___: Arrays) -> int:
    """ε added, root, quotient, mean, product, sum, in whichever order they are taken.

    A runtime that folds the norm into its convolution rounds no more than twice as often.
    """
    return 12


ADD = Op("add", EVERY_LEVEL, infer_sum, dense_sum, roundings=one_rounding, interval=sum_interval)
AFFINE = Op(
    "affine",
    EVERY_LEVEL,
    infer_affine,
    dense_affine,
    dense_macs=affine_macs,
    padded_macs=affine_macs,
    roundings=affine_roundings,
)
BATCH_NORM = Op(
    "batch_norm", FLOAT_ONLY, infer_affine, dense_batch_norm, roundings=batch_norm_roundings
)
