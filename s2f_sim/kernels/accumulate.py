"""Synaptic layers, spike by spike: list, accumulate, finish, one row of positions at a time.

Every kernel is output-stationary and works on the output rows of its share alone, so that disjoint
ranges may run in parallel; no sum depends on the ranges. Nothing larger than a row of membranes or
of event lists lives between the spikes that come in and those that leave: the caller gives room for
these, to every member of a share its own, on an axis in front.
"""

from typing import Any

from numpy.typing import NDArray

from s2f_sim.kernels.add_rows import add_rows
from s2f_sim.kernels.clearing import clear
from s2f_sim.kernels.events import list_row, merge_rows
from s2f_sim.kernels.finish import Finish, finish_row
from s2f_sim.kernels.kernel import kernel
from s2f_sim.kernels.prefetching import prefetch
from s2f_sim.kernels.sharing import Share, share_rows

OVERHANG = 512
"""Lanes by which the last block of a row of membranes may reach beyond it; it adds zeros there."""


@kernel
def accumulate_rows(
    flat: NDArray[Any],
    channels: int,
    lanes: NDArray[Any],
    blocks: NDArray[Any],
    burst: int,
    tile_positions: int,
    index: NDArray[Any],
    first: NDArray[Any],
    tile: NDArray[Any],
    finish: Finish,
    share: Share,
) -> None:
    """Linear layers and 1x1 convolutions: every spike adds its channel's row at its position.

    Args:
        flat: uint8[P * I] counts, see `events.flat_window`.
        channels: I.
        lanes: packed rows of the I channels, see `packing`.
        blocks: int64[B, 5], likewise.
        burst: likewise.
        tile_positions: positions that go by while one block stays in the cache.
        index: room for the events of so many positions, uint32[members, ...], see
            `events.list_length`.
        first: room for int64[members, tile_positions + 1].
        tile: room for the sums of so many positions, T[members, ...], and `OVERHANG` more.
        finish: see `Finish`.
        share: of the positions.
    """
    if share_rows(share):
        return
    index, first, tile = index[share.member], first[share.member], tile[share.member]
    outputs = finish.bias.shape[1]
    prefetch(lanes)
    for start in range(share.first, share.last, tile_positions):
        left = share.last - start
        positions = tile_positions if tile_positions < left else left
        list_row(flat, start * channels, positions, channels, index, 0, first, 0)
        clear(tile, positions * outputs + OVERHANG)
        for block in range(blocks.shape[0]):
            output, shape = blocks[block, 0], blocks[block, 1]
            base, pitch, silence = blocks[block, 2], blocks[block, 3], blocks[block, 4]
            for k in range(positions):
                # Events are numbered along the tile, weight rows from the position's first.
                row, at = base - k * channels * pitch, k * outputs + output
                begin, end = first[k], first[k + 1]
                add_rows(index, begin, end, lanes, row, pitch, tile, at, burst, silence, shape)
        finish_row(tile, 0, start, positions, finish)


@kernel
def accumulate_convolution(
    flat: NDArray[Any],
    plane: tuple[int, int, int],
    lanes: NDArray[Any],
    blocks: NDArray[Any],
    burst: int,
    window: tuple[int, int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    columns: int,
    tile_columns: int,
    index: NDArray[Any],
    first: NDArray[Any],
    merged: NDArray[Any],
    begins: NDArray[Any],
    tile: NDArray[Any],
    finish: Finish,
    share: Share,
) -> None:
    """Add to each membrane the weight row of every event under its window.

    Args:
        flat: uint8[H * W * I] counts, see `events.flat_window`.
        plane: H, W, I.
        lanes: packed rows of ``kernel height * kernel width * I``, in this order.
        blocks: int64[B, 5], see `packing`.
        burst: likewise.
        window: kernel height, kernel width, and how many neighbouring outputs along x a row holds.
            The kernel's width and the horizontal stride are those of all of them together.
        stride: vertical, horizontal.
        padding: rows above, columns to the left.
        columns: W' of the output.
        tile_columns: outputs of a line that go by while one block stays in the cache; whole
            groups of those that share a row.
        index: room for the events of as many image rows as the kernel has, see `events`; this
            and what follows once for each member.
        first: room for int64[kernel height * (W + 1)].
        merged: room for as many events again.
        begins: room for int64[W + 1].
        tile: room for the sums of ``tile_columns`` and a group more, T, and `OVERHANG` more.
        finish: see `Finish`; positions are numbered ``y * W' + x``.
        share: of the output rows.
    """
    if share_rows(share):
        return
    index, first, merged = index[share.member], first[share.member], merged[share.member]
    begins, tile = begins[share.member], tile[share.member]
    height, width, channels = plane
    kernel_height, kernel_width, together = window
    outputs = finish.bias.shape[1]
    pitch_of_lists = index.size // kernel_height
    listed = 0
    prefetch(lanes)
    for oy in range(share.first, share.last):
        top = oy * stride[0] - padding[0]
        bottom = top + kernel_height
        for y in range(top if top > listed else listed, bottom if bottom < height else height):
            slot = y % kernel_height
            index_at, first_at = slot * pitch_of_lists, slot * (width + 1)
            list_row(flat, y * width * channels, width, channels, index, index_at, first, first_at)
        listed = bottom if bottom > listed else listed
        shift = kernel_width * channels
        merge_rows(index, first, kernel_height, width, top, height, shift, merged, begins)
        for first_column in range(0, columns, tile_columns):
            last_column = first_column + tile_columns
            last_column = last_column if last_column < columns else columns
            clear(tile, (last_column - first_column + together) * outputs + OVERHANG)
            for block in range(blocks.shape[0]):
                output, shape = blocks[block, 0], blocks[block, 1]
                base, pitch, silence = blocks[block, 2], blocks[block, 3], blocks[block, 4]
                for ox in range(first_column, last_column, together):
                    left = ox // together * stride[1] - padding[1]
                    right = left + kernel_width
                    begin_x = left if left > 0 else 0
                    end_x = right if right < width else width
                    if begin_x < end_x:
                        begin, end = begins[begin_x], begins[end_x]
                        # Weight rows follow the taps of a kernel row, as events follow columns.
                        row = base - left * channels * pitch
                        at = (ox - first_column) * outputs + output
                        add_rows(
                            merged, begin, end, lanes, row, pitch, tile, at, burst, silence, shape
                        )
            position = oy * columns + first_column
            finish_row(tile, 0, position, last_column - first_column, finish)
