"""Firing: a membrane's count is the number of comparators it passes."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import kernel, vector_ir

_LANES = 16
_I64 = ir.IntType(64)


def _emit_reached(builder: Any, membrane: Any, comparator: Any) -> Any:
    """Emit ``membrane >= comparator`` as one byte a lane; false for NaN."""
    if isinstance(membrane.type.element, ir.IntType):
        reached = builder.icmp_signed(">=", membrane, comparator)
    else:
        reached = builder.fcmp_ordered(">=", membrane, comparator)
    return builder.zext(reached, ir.VectorType(ir.IntType(8), _LANES))


def _count_lanes_intrinsic(
    _: Any,
    membrane: Any,
    at: Any,
    comparators: Any,
    channel: Any,
    levels: Any,
    counts: Any,
    to: Any,
) -> Any:
    signature = types.void(membrane, at, comparators, channel, levels, counts, to)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def lanes_at(array: int, start: Any) -> Any:
            """Pointer to the lanes of argument ``array`` that begin at element ``start``."""
            kind = signature.args[array]
            pointer = context.make_array(kind)(context, builder, args[array]).data
            vector = ir.VectorType(pointer.type.pointee, _LANES).as_pointer()
            return builder.bitcast(builder.gep(pointer, [start]), vector)

        width = context.make_array(signature.args[2])(context, builder, args[2]).shape
        held = builder.load(lanes_at(0, args[1]), align=4)
        none = ir.Constant(ir.VectorType(ir.IntType(8), _LANES), None)
        entry = builder.block
        head, inside, done = (builder.append_basic_block(part) for part in ("head", "in", "out"))
        builder.branch(head)
        builder.position_at_end(head)
        level, count = builder.phi(_I64), builder.phi(none.type)
        builder.cbranch(builder.icmp_signed("<", level, args[4]), inside, done)
        builder.position_at_end(inside)
        start = builder.mul(level, builder.extract_value(width, 1))
        comparator = builder.load(lanes_at(2, builder.add(start, args[3])), align=4)
        for phi, before, after in (
            (level, _I64(0), builder.add(level, _I64(1))),
            (count, none, builder.add(count, _emit_reached(builder, held, comparator))),
        ):
            phi.add_incoming(before, entry)
            phi.add_incoming(after, inside)
        builder.branch(head)
        builder.position_at_end(done)
        builder.store(count, lanes_at(5, args[6]), align=1)
        return context.get_dummy_value()

    return signature, codegen


def count_lanes_loop(
    membrane: NDArray[Any],
    at: int,
    comparators: NDArray[Any],
    channel: int,
    levels: int,
    counts: NDArray[Any],
    to: int,
) -> None:
    """Plain twin: fire the 16 neurons at flat element ``at`` into flat element ``to``."""
    lanes = membrane.reshape(-1)[at : at + _LANES]
    reached = lanes >= comparators[:levels, channel : channel + _LANES]
    counts.reshape(-1)[to : to + _LANES] = reached.sum(axis=0)


_count_lanes = vector_ir(_count_lanes_intrinsic, twin=count_lanes_loop)


@kernel
def _count_few(
    membrane: NDArray[Any],
    comparators: NDArray[Any],
    levels: int,
    counts: NDArray[Any],
    first_row: int,
    last_row: int,
) -> None:
    """`fire` where a position has fewer channels than a register has lanes."""
    for row in range(first_row, last_row):
        for channel in range(counts.shape[1]):
            count = 0
            for level in range(levels):
                count += 1 if membrane[row, channel] >= comparators[level, channel] else 0
            counts[row, channel] = count


@kernel
def fire(
    membrane: NDArray[Any],
    comparators: NDArray[Any],
    timesteps: int,
    counts: NDArray[Any],
    first_row: int,
    last_row: int,
) -> None:
    """Count the comparators each membrane reaches; a NaN membrane reaches none.

    Args:
        membrane: float32[P, L] or int32[P, L], L at least C.
        comparators: of the same type, [D, C] or [D, 1] for all channels alike, ascending in d.
        timesteps: only the first ``timesteps`` comparators are asked.
        counts: out, uint8[P, C].
        first_row: first position to work on.
        last_row: one past the last.
    """
    channels, lanes = counts.shape[1], membrane.shape[1]
    levels = min(timesteps, comparators.shape[0])
    wide = np.empty((comparators.shape[0], channels), comparators.dtype)
    for level in range(len(comparators)):
        for channel in range(channels):
            wide[level, channel] = comparators[level, channel % comparators.shape[1]]
    if channels < _LANES:
        _count_few(membrane, wide, levels, counts, first_row, last_row)
        return
    for row in range(first_row, last_row):
        for start in range(0, channels, _LANES):
            # The last block steps back, not beyond the row: firing twice is harmless.
            channel = min(start, channels - _LANES)
            at, to = row * lanes + channel, row * channels + channel
            _count_lanes(membrane, at, wide, channel, levels, counts, to)
