"""The integer neuron, before and after its rounding has become comparators.

``integer_fire`` (FLOAT, INTEGER): n = clip(round(u), 0, D); in a FLOAT graph the value handed on is
n / norm, in an INTEGER graph n itself, of ``u · scale + shift`` where lowering has left it those.
``integrate_fire`` (EVENT): spike d of the unary train fires iff ``u >= comparators[d - 1]``.

With an attribute ``leak_shift`` = s, u is a membrane that remembers: what input, leak 2**-s and
reset have made of it, see ``real_time``. Real values then are of the comparators' second parameter,
one count, and integers on a grid that is finer than their input's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import ShapeMismatchError
from s2f_deploy.ir.graph import DType, Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.elementwise import dense_affine, per_channel
from s2f_deploy.ops.op import BEFORE_EVENT, EVENT_ONLY, Arrays, Op
from s2f_deploy.ops.real_time import next_membrane


def round_counts(membrane: NDArray[Any], levels: int, rounding: str) -> NDArray[Any]:
    """clip, then round, halves to even or up; the membrane's own dtype, any shape."""
    clipped = np.clip(membrane, 0, levels)
    rounded: NDArray[Any] = np.rint(clipped) if rounding == "half_even" else np.floor(clipped + 0.5)
    return rounded


def infer_fire(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """Real values -> real values (FLOAT) or counts (INTEGER) of the same shape."""
    del params
    return replace(inputs[0], dtype=node.output.dtype, levels=node.output.levels)


def dense_fire(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """real[...] -> n / norm in the same dtype, or n as uint8 where the output is a count."""
    counts = np.stack([n for _, n in fired_steps(node, inputs[0], params)])
    counts = counts.reshape(node.output.array_shape)
    if node.output.dtype is DType.COUNT:
        return counts.astype(np.uint8)
    quotient: NDArray[Any] = counts / counts.dtype.type(node["norm"])
    return quotient


def fired_steps(
    node: Node, current: NDArray[Any], params: Arrays, given: NDArray[Any] | None = None
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Membrane before its reset and counts, real[C, ...], of every real timestep.

    Args:
        node: an integer_fire.
        current: real[C, ...] or real[T, C, ...].
        params: scale and shift of the current, or none.
        given: counts by which membranes are reset, in place of those they fire.
    """
    levels, rounding = node["levels"], node["rounding"]
    leak = 2.0 ** -leak_shift(node)
    left = None
    for t, now in enumerate(current.reshape(node.output.steps, *node.output.shape)):
        scaled = dense_affine(node, [now], params) if params else now
        membrane = scaled if left is None or not leak_shift(node) else left + scaled
        counts = round_counts(membrane, levels, rounding)
        yield membrane, counts
        spent = counts if given is None else given[t].astype(membrane.dtype)
        left = (membrane - spent) * membrane.dtype.type(leak)


def leak_shift(node: Node) -> int:
    """S of the leak 2**-s; 0 where nothing is remembered."""
    shift = dict(node.attributes).get("leak_shift", 0)
    return shift if isinstance(shift, int) else 0


def infer_integrate_fire(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """Membranes and comparators[D, C] or [D, 1] -> counts 0..D of the membranes' shape."""
    comparators, source = params[0], inputs[0]
    levels, channels = comparators.shape
    remembers = leak_shift(node) > 0
    kinds = {source.dtype.array_type}
    if remembers and source.dtype.is_integer:
        kinds = {np.dtype(np.int32), np.dtype(np.int64)}
    one_count = params[1] if remembers else np.zeros(1)
    whole = source.dtype.is_integer
    if (
        channels not in (1, source.channels)
        or comparators.dtype not in kinds
        or one_count.shape not in ((1,), (source.channels,))
        or (remembers and one_count.dtype != (np.uint8 if whole else np.float32))
        or (remembers and whole and int(one_count.max(initial=0)) > _LARGEST_BITS)
    ):
        raise ShapeMismatchError(
            f"{node.name} has {comparators.dtype} comparators for {channels} channels but is fed "
            f"{source}",
            where=node.origin,
            fix="the artefact is damaged: export the network again",
        )
    return replace(source, dtype=DType.COUNT, levels=levels)


_LARGEST_BITS = 62


def dense_integrate_fire(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """Membranes[C, ...] -> uint8[C, ...]: how many comparators are reached."""
    steps = inputs[0].reshape(node.output.steps, *node.output.shape)
    if not leak_shift(node):
        return np.stack([_reached(now, params[0]) for now in steps]).reshape(inputs[0].shape)
    membrane = np.zeros(node.output.shape, params[0].dtype)
    counts = np.zeros(node.output.shape, np.uint8)
    fired = []
    for t, now in enumerate(steps):
        membrane = _carried(node, membrane, counts, now, params[1], first=t == 0)
        counts = _reached(membrane, params[0])
        fired.append(counts)
    return np.stack(fired)


def _reached(membrane: NDArray[Any], comparators: NDArray[Any]) -> NDArray[np.uint8]:
    counts = np.zeros(membrane.shape, np.uint8)
    for comparator in comparators:
        counts += membrane >= comparator.reshape(-1, *[1] * (membrane.ndim - 1))
    return counts


def _carried(
    node: Node,
    membrane: NDArray[Any],
    counts: NDArray[Any],
    current: NDArray[Any],
    one_count: NDArray[Any],
    *,
    first: bool,
) -> NDArray[Any]:
    """The next membrane: of integers without a rounding, of floats as they are written."""
    shift = leak_shift(node)
    if membrane.dtype.kind == "i":
        bits = one_count.astype(np.int64)
        return next_membrane(membrane, counts, current, bits, shift, node.output.steps)
    if first:
        return current
    spent = counts.astype(membrane.dtype) * per_channel(one_count, membrane)
    carried: NDArray[Any] = (membrane - spent) * membrane.dtype.type(2.0**-shift) + current
    return carried


def interval(
    node: Node, types: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """0 to D."""
    del types, inputs, params
    return Interval.constant(0, node.output.levels, node.output.channels)


INTEGER_FIRE = Op(
    "integer_fire", BEFORE_EVENT, infer_fire, dense_fire, interval=interval, couples_time=True
)
INTEGRATE_FIRE = Op(
    "integrate_fire",
    EVENT_ONLY,
    infer_integrate_fire,
    dense_integrate_fire,
    interval=interval,
    couples_time=True,
)
