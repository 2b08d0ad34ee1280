"""From spike counts to event lists: which channels spike where, and how often."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import kernel, vector_ir

_BYTES = 64
_GROUP = 8
_OVERHANG = 16
_I64 = ir.IntType(64)


def event_capacity(height: int, width: int, channels: int, levels: int) -> int:
    """Length of the ``index`` that `build_events` needs for counts ``<= levels``.

    Each image row owns room for its worst case and for the overhang of vector loads and stores,
    so that ranges of rows can be built in parallel.
    """
    return height * (width * channels * levels + _OVERHANG)


def event_list_bytes(height: int, width: int, channels: int, levels: int) -> int:
    """Memory of the ``index`` (uint32) and ``first`` (int64) that `build_events` needs.

    >>> event_list_bytes(2, 3, 4, 5) == 4 * 2 * (3 * 4 * 5 + 16) + 8 * 2 * (3 + 1)
    True
    """
    return 4 * event_capacity(height, width, channels, levels) + 8 * height * (width + 1)


def _data(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.make_array(kind)(context, builder, value).data


def _mask_intrinsic(_: Any, counts: Any, at: Any, level: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), _BYTES)
        start = builder.gep(_data(context, builder, signature.args[0], args[0]), [args[1]])
        loaded = builder.load(builder.bitcast(start, vector.as_pointer()), align=1)
        level = builder.trunc(args[2], ir.IntType(8))
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), level, _I64(0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), _BYTES), None)
        splat = builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), lanes)
        return builder.bitcast(builder.icmp_unsigned(">=", loaded, splat), _I64)

    return types.int64(counts, at, level), codegen


def _size_intrinsic(_: Any, mask: Any) -> Any:
    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(mask), codegen


def _append_intrinsic(_: Any, index: Any, at: Any, bits: Any, base: Any, table: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i8, i32 = ir.IntType(8), ir.IntType(32)
        channels, events = ir.VectorType(i8, _GROUP), ir.VectorType(i32, _GROUP)
        entry = builder.mul(args[2], _I64(_GROUP))
        source = builder.gep(_data(context, builder, signature.args[4], args[4]), [entry])
        loaded = builder.load(builder.bitcast(source, channels.as_pointer()), align=1)
        undefined = ir.Constant(events, ir.Undefined)
        one = builder.insert_element(undefined, builder.trunc(args[3], i32), _I64(0))
        splat = builder.shuffle_vector(one, undefined, ir.Constant(events, None))
        target = builder.gep(_data(context, builder, signature.args[0], args[0]), [args[1]])
        listed = builder.add(builder.zext(loaded, events), splat)
        builder.store(listed, builder.bitcast(target, events.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(index, at, bits, base, table), codegen


def mask_loop(counts: NDArray[Any], at: int, level: int) -> int:
    """Plain twin: bit b is set where ``counts`` (flat) is at least ``level`` at ``at + b``."""
    window = counts.reshape(-1)[at : at + _BYTES]
    assert window.size == _BYTES
    return sum(1 << bit for bit in range(_BYTES) if window[bit] >= level)


def size_loop(mask: int) -> int:
    """Plain twin: how many bits are set."""
    return mask.bit_count()


def append_loop(index: NDArray[Any], at: int, bits: int, base: int, table: NDArray[Any]) -> None:
    """Plain twin: write 8 table entries of ``bits`` plus ``base``; the caller keeps some."""
    assert at + _GROUP <= index.size
    index[at : at + _GROUP] = table[bits] + np.uint32(base)


_mask = vector_ir(_mask_intrinsic, twin=mask_loop)
_size = vector_ir(_size_intrinsic, twin=size_loop)
_append = vector_ir(_append_intrinsic, twin=append_loop)

_SET_BITS = np.array(
    [[*(b for b in range(_GROUP) if bits >> b & 1), *[0] * _GROUP][:_GROUP] for bits in range(256)],
    np.uint8,
)
"""uint8[256, 8]: the numbers of the bits set in each byte, ascending."""


@kernel
def _flat_window(counts: NDArray[Any]) -> NDArray[Any]:
    """The counts flat, followed by zeros if they fill no vector."""
    flat = counts.reshape(-1)
    if flat.size >= _BYTES:
        return flat
    padded = np.zeros(_BYTES, np.uint8)
    for at in range(flat.size):
        padded[at] = flat[at]
    return padded


@kernel
def _spiking(flat: NDArray[Any], at: int, end: int, level: int) -> int:
    """Bit b set where ``flat[at + b] >= level`` and ``at + b < end``, for b < 64."""
    start = min(at, flat.size - _BYTES)
    mask = _mask(flat, start, level) >> (at - start)
    if end - at < _BYTES:
        mask &= (1 << (end - at)) - 1
    return mask


@kernel
def build_events(
    counts: NDArray[Any],
    first_row: int,
    last_row: int,
    index: NDArray[Any],
    first: NDArray[Any],
) -> None:
    """List the spikes of image rows ``first_row <= y < last_row``.

    A channel c with count n at column x is listed n times as ``x * C + c``. Columns ascend, so
    that the events of neighbouring positions of a row are neighbours; within a position each 64
    channels are listed by timestep, then channel. Disjoint ranges of rows may be built in
    parallel, and ranges do not change the lists.

    Args:
        counts: uint8[H, W, C], at most the ``levels`` given to `event_capacity`.
        first_row: first image row to list.
        last_row: one past the last.
        index: out, uint32[event_capacity(H, W, C, levels)].
        first: out, int64[H, W + 1]; position (y, x) owns the events from ``first[y, x]`` up to
            ``first[y, x + 1]``.
    """
    height, width, channels = counts.shape
    flat = _flat_window(counts)
    length = first_row * (index.size // max(height, 1))
    for y in range(first_row, last_row):
        row = y * width * channels
        for x in range(width):
            first[y, x] = length
            end = row + (x + 1) * channels
            for at in range(end - channels, end, _BYTES):
                for level in range(1, 256):
                    mask = _spiking(flat, at, end, level)
                    if mask == 0:
                        break
                    # Whole groups by table, not bit by bit: no branch depends on the spikes.
                    for group in range(0, min(_BYTES, end - at), _GROUP):
                        bits = (mask >> group) & 255
                        _append(index, length, bits, at + group - row, _SET_BITS)
                        length += _size(bits)
        first[y, width] = length


@kernel
def spikes_by_timestep(counts: NDArray[Any], levels: int) -> NDArray[Any]:
    """How many channels spike at each position and timestep.

    Args:
        counts: uint8[P, C]; a neuron with count n spikes in timesteps 1..n.
        levels: number of timesteps.

    Returns:
        int64[levels, P]; row d - 1 counts the channels with ``n >= d``.
    """
    positions, channels = counts.shape
    flat = _flat_window(counts)
    spikes = np.zeros((levels, positions), np.int64)
    for position in range(positions):
        end = (position + 1) * channels
        for at in range(end - channels, end, _BYTES):
            for level in range(levels):
                spikes[level, position] += _size(_spiking(flat, at, end, level + 1))
    return spikes
