"""Which of 64 neighbouring counts reach a level, as bits of one word."""

from typing import Any

from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import vector_ir
from s2f_sim.kernels.lanes import I64, load_lanes, pointers, splat

WINDOW = 64
"""Counts looked at together."""

LARGEST_COUNT = 255
"""No neuron spikes in a later timestep, and no level beyond it may be asked for."""


def emit_reached(builder: Any, counts: Any, at: Any, level: Any) -> Any:
    """Emit bits b that are set where ``counts[at + b] >= level``, for b < 64."""
    window = load_lanes(builder, counts, at, WINDOW)
    wanted = splat(builder, builder.trunc(level, ir.IntType(8)), WINDOW)
    return builder.bitcast(builder.icmp_unsigned(">=", window, wanted), I64)


def emit_first(builder: Any, mask: Any, left: Any) -> Any:
    """Emit the first ``left`` bits of a mask, all 64 if there are so many left."""
    wanted = builder.sub(builder.shl(I64(1), left), I64(1))
    whole = builder.icmp_signed(">=", left, I64(WINDOW))
    return builder.select(whole, mask, builder.and_(mask, wanted))


def _spiking_intrinsic(_: Any, flat: Any, at: Any, end: Any, level: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        counts, at, end, level = pointers(context, builder, signature, args)
        array = context.make_array(signature.args[0])(context, builder, args[0])
        last = builder.sub(array.nitems, I64(WINDOW))
        inside = builder.icmp_signed("<", at, last)
        start = builder.select(inside, at, last)
        mask = emit_reached(builder, counts, start, level)
        mask = builder.lshr(mask, builder.sub(at, start))
        return emit_first(builder, mask, builder.sub(end, at))

    return types.int64(flat, at, end, level), codegen


def spiking_loop(flat: NDArray[Any], at: int, end: int, level: int) -> int:
    """Plain twin: bit b is set where ``flat[at + b] >= level`` and ``at + b < end``, for b < 64.

    Args:
        flat: uint8, at least 64 counts.
        at: the first of the window; it may reach beyond ``end`` and beyond the array.
        end: one past the last count asked for.
        level: from 1 to `LARGEST_COUNT`.
    """
    assert flat.size >= WINDOW
    assert at < end <= flat.size
    assert 1 <= level <= LARGEST_COUNT
    window = flat[at : min(at + WINDOW, end)]
    return sum(1 << bit for bit, count in enumerate(window) if count >= level)


def _size_intrinsic(_: Any, mask: Any) -> Any:
    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(mask), codegen


def size_loop(mask: int) -> int:
    """Plain twin: how many bits are set."""
    return mask.bit_count()


spiking = vector_ir(_spiking_intrinsic, twin=spiking_loop)
size_of = vector_ir(_size_intrinsic, twin=size_loop)
