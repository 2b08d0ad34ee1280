"""Concatenation along channels: wiring, of spikes and of membranes alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import ShapeMismatchError
from s2f_deploy.ir.graph import Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.op import EVERY_LEVEL, Arrays, Op


def infer_type(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """(C₁, ...), (C₂, ...), ... -> (C₁ + C₂ + ..., ...); of counts the largest D."""
    del params
    first = inputs[0]
    if any((i.shape[1:], i.dtype) != (first.shape[1:], first.dtype) for i in inputs):
        raise ShapeMismatchError(
            f"{node.name} concatenates {', '.join(map(str, inputs))}",
            where=node.origin,
            fix="concatenate along channels what has one plane, spikes with spikes alone",
        )
    channels = sum(i.channels for i in inputs)
    levels = max(i.levels for i in inputs)
    return TensorType((channels, *first.shape[1:]), first.dtype, levels)


def dense(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """Any number type[C, ...] each -> the same."""
    del node, params
    return np.concatenate(inputs)


def interval(
    node: Node, types: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """Every channel as it was."""
    del node, params
    pairs = [
        (np.broadcast_to(i.low, t.channels), np.broadcast_to(i.high, t.channels))
        for i, t in zip(inputs, types, strict=True)
    ]
    low, high = zip(*pairs, strict=True)
    return Interval(np.concatenate(low), np.concatenate(high))


CONCAT = Op("concat", EVERY_LEVEL, infer_type, dense, interval=interval)
