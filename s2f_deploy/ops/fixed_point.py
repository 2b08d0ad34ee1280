"""Where real values and integers meet, and where integers of different grids do.

A membrane of channel c on the grid 2**e[c] is the integer u that stands for u · 2**e[c].

``digitise`` (image -> integers): u = clip(round(x · 2**-e), low, high), halves to even.
``align`` (integers -> integers): u << shift[c], onto a finer grid or into a wider type.
``read_out`` (integers -> real values): u · 2**e[c], rounded once to float32.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import IllegalGraphError
from s2f_deploy.ir.graph import DType, Level, Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.elementwise import per_channel
from s2f_deploy.ops.op import Arrays, Op

FIXED_POINT = frozenset({Level.INTEGER, Level.EVENT})
# Exponents and shifts beyond these would leave float32 or int64.
_LARGEST_EXPONENT, _LARGEST_SHIFT = 100, 62


def infer_digitise(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """Real values -> int32 of the same shape."""
    del params
    if inputs[0].dtype is not DType.FLOAT32 or abs(node["exponent"]) > _LARGEST_EXPONENT:
        raise _damaged(node, f"digitises {inputs[0]} with exponent {node['exponent']}")
    return TensorType(inputs[0].shape, DType.INT32)


def dense_digitise(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """real[...] -> int32[...]; scaling by a power of two rounds nothing."""
    del params
    # A pixel that overflows is clipped like any other beyond the grid.
    with np.errstate(over="ignore"):
        units = np.rint(inputs[0] * np.float32(2.0 ** -node["exponent"]))
    clipped: NDArray[Any] = np.clip(units, node["low"], node["high"]).astype(np.int32)
    return clipped


def digitise_interval(
    node: Node, types: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """What the clipping leaves."""
    del types, inputs, params
    return Interval.constant(node["low"], node["high"], node.output.channels)


def infer_align(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """Integers -> the declared integer type, as wide or wider; params: shifts uint8[C] or [1]."""
    (source,), (shifts,) = inputs, params
    wide = node.output.dtype
    if (
        not source.dtype.is_integer
        or not wide.is_integer
        or wide.array_type.itemsize < source.dtype.array_type.itemsize
        or shifts.size not in (1, source.channels)
        or shifts.max(initial=0) > _LARGEST_SHIFT
    ):
        raise _damaged(node, f"aligns {source} to {wide.value} by {shifts.size} shifts")
    return TensorType(source.shape, wide)


def dense_align(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """Integers[C, ...] shifted left, per channel."""
    wide = inputs[0].astype(node.output.dtype.array_type)
    shifted: NDArray[Any] = wide << per_channel(params[0], wide).astype(wide.dtype)
    return shifted


def align_interval(
    node: Node, types: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """Times 2**shift."""
    del node, types
    (shifts,) = params
    factors = np.array([1 << int(shift) for shift in shifts], object)
    return inputs[0].times(factors)


def infer_read_out(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """Integers -> real values of the same shape; params: exponents int32[C] or [1]."""
    (source,), (exponents,) = inputs, params
    if (
        not source.dtype.is_integer
        or exponents.size not in (1, source.channels)
        or np.abs(exponents).max(initial=0) > _LARGEST_EXPONENT
    ):
        raise _damaged(node, f"reads {source} with {exponents.size} exponents")
    return TensorType(source.shape, DType.FLOAT32)


def dense_read_out(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """Integers[C, ...] -> float32[C, ...]."""
    del node
    # Only the conversion rounds: no product with these powers of two is too small for float32.
    powers = np.ldexp(np.float32(1), per_channel(params[0], inputs[0]))
    real: NDArray[Any] = inputs[0].astype(np.float32) * powers
    return real


def _damaged(node: Node, what: str) -> IllegalGraphError:
    return IllegalGraphError(
        f"{node.name} {what}",
        where=node.origin,
        fix="the artefact is damaged: export the network again",
    )


DIGITISE = Op("digitise", FIXED_POINT, infer_digitise, dense_digitise, interval=digitise_interval)
ALIGN = Op("align", FIXED_POINT, infer_align, dense_align, interval=align_interval)
READ_OUT = Op("read_out", FIXED_POINT, infer_read_out, dense_read_out)
