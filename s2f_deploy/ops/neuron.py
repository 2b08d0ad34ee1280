"""The integer neuron, before and after its rounding has become comparators.

``integer_fire`` (FLOAT, INTEGER): n = clip(round(u), 0, D); in a FLOAT graph the value handed on is
n / norm, in an INTEGER graph n itself, of ``u · scale + shift`` where lowering has left it those.
``integrate_fire`` (EVENT): spike d of the unary train fires iff ``u >= comparators[d - 1]``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import ShapeMismatchError
from s2f_deploy.ir.graph import DType, Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.elementwise import dense_affine
from s2f_deploy.ops.op import BEFORE_EVENT, EVENT_ONLY, Arrays, Op


def round_counts(membrane: NDArray[Any], levels: int, rounding: str) -> NDArray[Any]:
    """clip, then round, halves to even or up; the membrane's own dtype, any shape."""
    clipped = np.clip(membrane, 0, levels)
    rounded: NDArray[Any] = np.rint(clipped) if rounding == "half_even" else np.floor(clipped + 0.5)
    return rounded


def infer_fire(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """Real values -> real values (FLOAT) or counts (INTEGER) of the same shape."""
    del params
    return TensorType(inputs[0].shape, node.output.dtype, node.output.levels)


def dense_fire(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """real[...] -> n / norm in the same dtype, or n as uint8 where the output is a count."""
    membrane = inputs[0] if not params else dense_affine(node, inputs, params)
    counts = round_counts(membrane, node["levels"], node["rounding"])
    if node.output.dtype is DType.COUNT:
        return counts.astype(np.uint8)
    quotient: NDArray[Any] = counts / counts.dtype.type(node["norm"])
    return quotient


def infer_integrate_fire(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """Membranes and comparators[D, C] or [D, 1] -> counts 0..D of the membranes' shape."""
    levels, channels = params[0].shape
    if channels not in (1, inputs[0].channels) or params[0].dtype != inputs[0].dtype.array_type:
        raise ShapeMismatchError(
            f"{node.name} has {params[0].dtype} comparators for {channels} channels but is fed "
            f"{inputs[0]}",
            where=node.origin,
            fix="the artefact is damaged: export the network again",
        )
    return TensorType(inputs[0].shape, DType.COUNT, levels)


def dense_integrate_fire(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """Membranes[C, ...] -> uint8[C, ...]: how many comparators are reached."""
    del node
    (membrane,), (comparators,) = inputs, params
    counts = np.zeros(membrane.shape, np.uint8)
    for comparator in comparators:
        counts += membrane >= comparator.reshape(-1, *[1] * (membrane.ndim - 1))
    return counts


def interval(
    node: Node, types: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """0 to D."""
    del types, inputs, params
    return Interval.constant(0, node.output.levels, node.output.channels)


INTEGER_FIRE = Op("integer_fire", BEFORE_EVENT, infer_fire, dense_fire, interval=interval)
INTEGRATE_FIRE = Op(
    "integrate_fire", EVENT_ONLY, infer_integrate_fire, dense_integrate_fire, interval=interval
)
