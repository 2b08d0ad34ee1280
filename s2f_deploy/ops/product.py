"""Product of two things a network computes: held membranes, read by spikes.

out[q, p] = held[I, q] + Σᵢ held[i, q] · count[i, p]: every spike of channel i at position p adds
row i of the held membranes to those of p; the last row, I, is there without a spike. So a product
of spikes with currents ``E · (V s + v)`` costs additions only: the held rows are ``E V`` and
``E v``.

Source: ``spike2former.md`` section 13.2.
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
    """Membranes (I + 1, Q), counts (I, ...) -> membranes (Q, ...) of the declared type."""
    del params
    held, events = inputs
    if held.channels != events.channels + 1:
        raise ShapeMismatchError(
            f"{node.name} reads {events} by the rows of {held}",
            where=node.origin,
            fix="one row for every channel, and one without a spike",
        )
    return TensorType((held.positions, *events.shape[1:]), node.output.dtype)


def dense(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """Held T[I + 1, Q], numbers[I, ...] -> T[Q, ...]; integers exactly."""
    del node, params
    held, events = inputs[0].reshape(len(inputs[0]), -1), inputs[1]
    # BLAS is exact here: lowering refuses sums that double does not hold.
    wide = np.float64 if held.dtype.kind == "i" else held.dtype
    rows, columns = held.astype(wide), events.reshape(len(events), -1).astype(wide)
    total: NDArray[Any] = rows[-1][:, None] + rows[:-1].T @ columns
    return total.astype(held.dtype).reshape(held.shape[1], *events.shape[1:])


def dense_macs(node: Node, inputs: Sequence[TensorType], params: Arrays) -> int:
    """One product per channel, query and position."""
    del node, params
    held, events = inputs
    return held.positions * events.channels * events.positions


def interval(
    node: Node, types: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """Every row at its ends, as often as its channel may spike."""
    del params
    held, events = inputs
    ends = held.with_zero()
    most = np.broadcast_to(events.high, types[1].channels)
    low = sum(int(a) * int(n) for a, n in zip(ends.low[:-1], most, strict=True))
    high = sum(int(a) * int(n) for a, n in zip(ends.high[:-1], most, strict=True))
    return Interval.constant(
        low + int(ends.low[-1]), high + int(ends.high[-1]), node.output.channels
    )


def roundings(node: Node, inputs: Sequence[TensorType], params: Arrays) -> int:
    """A product for every channel and their sum, a bias."""
    del node, params
    return inputs[1].channels + 1


PRODUCT = Op(
    "product",
    EVERY_LEVEL,
    infer_type,
    dense,
    dense_macs=dense_macs,
    padded_macs=dense_macs,
    roundings=roundings,
    interval=interval,
)
