"""Wiring of every kind: elements of one tensor, each at a place of its own in another shape.

Transposed tokens and channels, slices, and memory that upstream rereads in another shape are all
this: an address permutation, free of operations on a chip.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import ShapeMismatchError
from s2f_deploy.ir.graph import Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.op import EVERY_LEVEL, Arrays, Op


def infer_type(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """Any shape -> the declared one; params: int32 of its size, flat positions in the source."""
    (source,), (index,) = inputs, params
    size = node.output.channels * node.output.positions
    whole = index.dtype.kind == "i" and index.size == size
    reach = source.channels * source.positions
    if not whole or (size and not 0 <= int(index.min()) <= int(index.max()) < reach):
        raise ShapeMismatchError(
            f"{node.name} wires {source} to {node.output} by {index.size} addresses",
            where=node.origin,
            fix="every element of the result needs the address of one of the source",
        )
    return replace(source, shape=node.output.shape)


def dense(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """The elements, rearranged."""
    rearranged: NDArray[Any] = inputs[0].reshape(-1)[params[0].reshape(-1)]
    return rearranged.reshape(node.output.shape)


def interval(
    node: Node, types: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """Of every channel the widest bounds of those its elements come from."""
    (source,), (index,), (read,) = types, params, inputs
    channel = index.reshape(node.output.channels, -1) // source.positions
    lowest, highest = (np.broadcast_to(end, source.channels) for end in (read.low, read.high))
    # Bounds are Python's integers; by their ranks, millions of elements are compared at once.
    (low, low_ranks), (high, high_ranks) = (
        np.unique(ends, return_inverse=True) for ends in (lowest, highest)
    )
    return Interval(
        low[low_ranks.reshape(-1)[channel].min(1)], high[high_ranks.reshape(-1)[channel].max(1)]
    )


REWIRE = Op("rewire", EVERY_LEVEL, infer_type, dense, interval=interval)
