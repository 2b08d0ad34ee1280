"""Spiking attention: per head ``(q kᵀ) v``, no softmax. Of counts it is an exact integer.

Queries may be other tokens, and of another number, than keys and values.

Channel ``c`` of q and k belongs to head ``c // d``; of v to head ``c // d_v``. The ``association``
says which product comes first: ``qk_v`` or ``q_kv``; the result is the same integer.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import ShapeMismatchError
from s2f_deploy.ir.graph import Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.op import EVERY_LEVEL, Arrays, Op


def infer_type(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """(C, N), (C, M), (C_v, M) -> (C_v, N): real values, or the integer sum of counts."""
    del params
    query, key, value = inputs
    heads = node["heads"]
    if (
        query.channels != key.channels
        or value.positions != key.positions
        or query.channels % heads
        or value.channels % heads
    ):
        raise ShapeMismatchError(
            f"{node.name} attends {query}, {key}, {value} with {heads} heads",
            where=node.origin,
            fix="keys and values agree in tokens, queries and keys in channels, which heads divide",
        )
    return TensorType((value.channels, query.positions), node.output.dtype)


def dense(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """Counts -> integers[C_v, N] exactly; real values -> their own type."""
    del params
    heads = node["heads"]
    # BLAS is exact here: lowering refuses sums of counts that double does not hold.
    wide = np.float64 if inputs[0].dtype == np.uint8 else inputs[0].dtype
    query, key, value = (
        operand.reshape(heads, operand.shape[0] // heads, -1).astype(wide) for operand in inputs
    )
    if node["association"] == "qk_v":
        attended = value @ (query.transpose(0, 2, 1) @ key).transpose(0, 2, 1)
    else:
        attended = (value @ key.transpose(0, 2, 1)) @ query
    result: NDArray[Any] = attended.reshape(node.output.shape)
    whole = node.output.dtype.is_integer
    return result.astype(node.output.dtype.array_type) if whole else result


def dense_macs(node: Node, inputs: Sequence[TensorType], params: Arrays) -> int:
    """Products of the two matrix multiplications, in the order the node says."""
    del params
    query, key, value = inputs
    if node["association"] == "qk_v":
        return query.positions * key.positions * (query.channels + value.channels)
    tokens = query.positions + key.positions
    return tokens * query.channels * value.channels // int(node["heads"])


def interval(
    node: Node, types: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """Every query, key and value at its largest: products of counts are never negative."""
    del params
    query, key, value = inputs
    terms = types[1].positions * (types[1].channels // int(node["heads"]))
    reach = query.reach * key.reach * value.reach * terms
    return Interval.constant(0, reach, node.output.channels)


def roundings(node: Node, inputs: Sequence[TensorType], params: Arrays) -> int:
    """Two inner products, one over tokens and one over the channels of a head."""
    del params
    return inputs[1].positions + inputs[1].channels // int(node["heads"])


ATTENTION = Op(
    "attention",
    EVERY_LEVEL,
    infer_type,
    dense,
    dense_macs=dense_macs,
    padded_macs=dense_macs,
    roundings=roundings,
    interval=interval,
)
