"""Synaptic layers, spike by spike: list, accumulate, finish, one row of positions at a time.

Every kernel is output-stationary and works on the output rows ``first_row <= row < last_row``
alone, so that disjoint ranges may run in parallel; no sum depends on the ranges. Nothing larger
than a row of membranes or of event lists lives between the spikes that come in and those that
leave.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_sim.kernels.add_rows import add_rows
from s2f_sim.kernels.events import flat_window, list_row, merge_rows
from s2f_sim.kernels.finish import Finish, finish_row
from s2f_sim.kernels.kernel import kernel
from s2f_sim.kernels.spiking import WINDOW

OVERHANG = 512
"""Lanes by which the last block of a row of membranes may reach beyond it; it adds zeros there."""


@kernel
def accumulate_rows(
    counts: NDArray[Any],
    levels: int,
    lanes: NDArray[Any],
    blocks: NDArray[Any],
    burst: int,
    tile_positions: int,
    finish: Finish,
    first_row: int,
    last_row: int,
) -> None:
    """Linear layers and 1x1 convolutions: every spike adds its channel's row at its position.

    Args:
        counts: uint8[P, I], at most ``levels``.
        levels: D of the neurons read.
        lanes: packed rows of the I channels, see `packing`.
        blocks: int64[B, 4], likewise.
        burst: likewise.
        tile_positions: positions that go by while one block stays in the cache.
        finish: see `Finish`.
        first_row: first position to work on.
        last_row: one past the last.
    """
    channels = counts.shape[1]
    bias = finish.bias
    outputs = bias.shape[1]
    flat = flat_window(counts)
    index = np.empty(tile_positions * channels * levels + WINDOW, np.uint32)
    first = np.empty(tile_positions + 1, np.int64)
    tile = np.empty(tile_positions * outputs + OVERHANG, bias.dtype)
    scratch = np.empty(outputs, bias.dtype)
    for start in range(first_row, last_row, tile_positions):
        positions = min(tile_positions, last_row - start)
        list_row(flat, start * channels, positions, channels, index, first)
        tile[:] = 0
        for block in range(blocks.shape[0]):
            output, shape, base, pitch = blocks[block]
            for k in range(positions):
                # Events are numbered along the tile, weight rows from the position's first.
                row, at = base - k * channels * pitch, k * outputs + output
                add_rows(index, first[k], first[k + 1], lanes, row, pitch, tile, at, burst, shape)
        finish_row(tile, 0, start, positions, finish, scratch)


@kernel
def accumulate_convolution(
    counts: NDArray[Any],
    levels: int,
    lanes: NDArray[Any],
    blocks: NDArray[Any],
    burst: int,
    window: tuple[int, int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    columns: int,
    tile_columns: int,
    finish: Finish,
    first_row: int,
    last_row: int,
) -> None:
    """Add to each membrane the weight row of every event under its window.

    Args:
        counts: uint8[H, W, I], at most ``levels``.
        levels: D of the neurons read.
        lanes: packed rows of ``kernel height * kernel width * I``, in this order.
        blocks: int64[B, 4], see `packing`.
        burst: likewise.
        window: kernel height, kernel width, and how many neighbouring outputs along x a row holds.
            The kernel's width and the horizontal stride are those of all of them together.
        stride: vertical, horizontal.
        padding: rows above, columns to the left.
        columns: W' of the output.
        tile_columns: outputs of a line that go by while one block stays in the cache; whole
            groups of those that share a row.
        finish: see `Finish`; positions are numbered ``y * W' + x``.
        first_row: first output row to work on.
        last_row: one past the last.
    """
    height, width, channels = counts.shape
    kernel_height, kernel_width, together = window
    bias = finish.bias
    outputs = bias.shape[1]
    flat = flat_window(counts)
    length = width * channels * levels + WINDOW
    index = np.empty((kernel_height, length), np.uint32)
    first = np.empty((kernel_height, width + 1), np.int64)
    merged = np.empty(kernel_height * length, np.uint32)
    begins = np.empty(width + 1, np.int64)
    tile = np.empty((tile_columns + together) * outputs + OVERHANG, bias.dtype)
    scratch = np.empty(outputs, bias.dtype)
    listed = 0
    for oy in range(first_row, last_row):
        top = oy * stride[0] - padding[0]
        for y in range(max(top, listed), min(top + kernel_height, height)):
            slot = y % kernel_height
            list_row(flat, y * width * channels, width, channels, index[slot], first[slot])
        listed = max(listed, top + kernel_height)
        merge_rows(index, first, top, height, kernel_width * channels, merged, begins)
        for first_column in range(0, columns, tile_columns):
            last_column = min(first_column + tile_columns, columns)
            tile[:] = 0
            for block in range(blocks.shape[0]):
                output, shape, base, pitch = blocks[block]
                for ox in range(first_column, last_column, together):
                    left = ox // together * stride[1] - padding[1]
                    begin_x, end_x = max(left, 0), min(left + kernel_width, width)
                    if begin_x < end_x:
                        begin, end = begins[begin_x], begins[end_x]
                        # Weight rows follow the taps of a kernel row, as events follow columns.
                        row = base - left * channels * pitch
                        at = (ox - first_column) * outputs + output
                        add_rows(merged, begin, end, lanes, row, pitch, tile, at, burst, shape)
            position = oy * columns + first_column
            finish_row(tile, 0, position, last_column - first_column, finish, scratch)
