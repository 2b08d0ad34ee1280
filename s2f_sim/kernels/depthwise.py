"""Depthwise convolution by accumulation: a spike adds a kernel row to a row of membranes.

A depthwise spike has no row of outputs in the channels-last layout, but it has one along x: the
outputs its kernel row reaches are neighbours. So an output row is accumulated channel by
channel in a scratch that stays in the innermost cache, and added to the membranes once.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import kernel, vector_ir

_LANES = 8


def _add_lanes_intrinsic(_: Any, rows: Any, row: Any, target: Any, at: Any) -> Any:
    signature = types.void(rows, row, target, at)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        added, slot = (
            builder.gep(
                context.make_array(signature.args[array])(context, builder, args[array]).data,
                [args[array + 1]],
            )
            for array in (0, 2)
        )
        vector = ir.VectorType(slot.type.pointee, _LANES)
        slot = builder.bitcast(slot, vector.as_pointer())
        held = builder.load(slot, align=4)
        row = builder.load(builder.bitcast(added, vector.as_pointer()), align=4)
        whole = isinstance(vector.element, ir.IntType)
        total = builder.add(held, row) if whole else builder.fadd(held, row)
        builder.store(total, slot, align=4)
        return context.get_dummy_value()

    return signature, codegen


def add_lanes_loop(rows: NDArray[Any], row: int, target: NDArray[Any], at: int) -> None:
    """Plain twin: add the 8 lanes at flat element ``row`` to those at flat element ``at``."""
    assert 0 <= row <= rows.size - _LANES
    assert 0 <= at <= target.size - _LANES
    target.reshape(-1)[at : at + _LANES] += rows.reshape(-1)[row : row + _LANES]


_add_lanes = vector_ir(_add_lanes_intrinsic, twin=add_lanes_loop)


@kernel
def _kernel_rows(
    weight: NDArray[Any], channels: int, stride: int, reach: int, target: NDArray[Any]
) -> NDArray[Any]:
    """Weights as rows along x: T[KH, stride, channels, lanes], T the type of ``target``.

    Lane l of phase f holds the weight for the l-th of the ``reach`` outputs that an input
    column x, with ``(x + padding) % stride == f``, can reach; zero if the kernel ends before.
    """
    kernel_height, kernel_width = weight.shape[0], weight.shape[1]
    lanes = (reach + _LANES - 1) // _LANES * _LANES
    rows = np.zeros((kernel_height, stride, channels, lanes), target.dtype)
    for ky in range(kernel_height):
        for kx in range(kernel_width):
            lane = reach - 1 - kx // stride
            for channel in range(channels):
                rows[ky, kx % stride, channel, lane] = weight[ky, kx, channel]
    return rows


@kernel
def _add_row_events(
    first: NDArray[Any],
    index: NDArray[Any],
    rows: NDArray[Any],
    padding: int,
    scratch: NDArray[Any],
) -> None:
    """Add the kernel row of every event of one image row to ``scratch`` T[C, wide].

    ``first`` int64[W + 1] is the image row's; ``rows`` T[stride, C, lanes] the kernel row's.
    """
    stride, channels, lanes = rows.shape
    wide = scratch.shape[1]
    for x in range(first.size - 1):
        reached = (x + padding) // stride
        phase = ((x + padding) % stride - x) * channels
        for event in range(first[x], first[x + 1]):
            value = int(index[event])
            row = (phase + value) * lanes
            at = (value - x * channels) * wide + reached
            for lane in range(0, lanes, _LANES):
                _add_lanes(rows, row + lane, scratch, at + lane)


@kernel
def accumulate_depthwise(
    channels: int,
    first: NDArray[Any],
    index: NDArray[Any],
    weight: NDArray[Any],
    membrane: NDArray[Any],
    stride: tuple[int, int],
    padding: tuple[int, int],
    first_row: int,
    last_row: int,
) -> None:
    """Add to each membrane its channel's weight for every event under its window.

    Args:
        channels: C.
        first: int64[H, W + 1], where the events of each position begin, from `build_events`.
        index: uint32, the events ``x * C + c`` of each image row in order.
        weight: float32[KH, KW, L] or an integer type, L at least C.
        membrane: float32[Ho, Wo, L] or int32[Ho, Wo, L], accumulated in place.
        stride: vertical, horizontal.
        padding: rows above, columns to the left.
        first_row: first output row to work on.
        last_row: one past the last.
    """
    height, width = first.shape[0], first.shape[1] - 1
    kernel_height, kernel_width = weight.shape[0], weight.shape[1]
    columns = membrane.shape[1]
    reach = (kernel_width + stride[1] - 1) // stride[1]
    rows = _kernel_rows(weight, channels, stride[1], reach, membrane)
    furthest = max((width + padding[1]) // stride[1] + rows.shape[3], columns + reach)
    # An odd number of cache lines, so that the channels of one column fall into different sets.
    wide = (furthest // 32 * 2 + 3) * 16
    scratch = np.zeros((channels, wide), membrane.dtype)
    for oy in range(first_row, last_row):
        for ky in range(kernel_height):
            iy = oy * stride[0] - padding[0] + ky
            if 0 <= iy < height:
                _add_row_events(first[iy], index, rows[ky], padding[1], scratch)
        for ox in range(columns):
            for channel in range(channels):
                membrane[oy, ox, channel] += scratch[channel, ox + reach - 1]
        scratch.fill(0)
