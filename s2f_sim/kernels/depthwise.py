"""Depthwise convolution by accumulation: a spike adds a patch to the membranes of its channel."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_sim.kernels.aligned import aligned_zeros
from s2f_sim.kernels.events import flat_window, list_row
from s2f_sim.kernels.finish import Finish, finish_row
from s2f_sim.kernels.kernel import kernel
from s2f_sim.kernels.patches import CHUNK_BYTES, LONGEST, add_patches, take_lane
from s2f_sim.kernels.spiking import WINDOW


@dataclass(frozen=True, eq=False, slots=True)
class PatchTable:
    """The kernels of all channels as patches.

    Attributes:
        patches: T[phases down, R, phases across, C, lanes]: for every residue of a spike's place
            by the stride, and every rotation of the ring of R output rows, see `patches`.
        reach: output rows, and columns, that a spike reaches at the most.
    """

    patches: NDArray[Any]
    reach: tuple[int, int]


def patch_table(weight: NDArray[Any], stride: tuple[int, int], dtype: np.dtype[Any]) -> PatchTable:
    """Lay out weights [KH, KW, C] as patches of ``dtype``, wide enough for every sum of them."""
    kernel_height, kernel_width, channels = weight.shape
    reach = (-(-kernel_height // stride[0]), -(-kernel_width // stride[1]))
    ring = 1 << (reach[0] - 1).bit_length()
    chunk = CHUNK_BYTES // dtype.itemsize
    lanes = -(-reach[1] * ring // chunk) * chunk
    patches = aligned_zeros((stride[0], ring, stride[1], channels, lanes), dtype)
    for ky in range(kernel_height):
        for kx in range(kernel_width):
            # Tap k of a spike whose place is f modulo the stride reaches the k // stride-th output
            # before the last one it reaches.
            back, phase_y = divmod(ky, stride[0])
            column, phase_x = reach[1] - 1 - kx // stride[1], kx % stride[1]
            for last in range(ring):
                lane = column * ring + (last - back) % ring
                patches[phase_y, last, phase_x, :, lane] = weight[ky, kx]
    return PatchTable(patches, reach)


@kernel
def _add_image_row(
    flat: NDArray[Any],
    start: int,
    shape: tuple[int, int],
    patches: NDArray[Any],
    padding: int,
    ring: int,
    index: NDArray[Any],
    first: NDArray[Any],
    scratch: NDArray[Any],
) -> None:
    """Add the patches of all spikes of one image row; ``patches`` T[phases across, C, lanes]."""
    width, channels = shape
    phases, lanes = patches.shape[0], patches.shape[2]
    pitch = scratch.shape[1]
    chunks = lanes * patches.itemsize // CHUNK_BYTES
    chunks = chunks if chunks <= LONGEST else 0
    list_row(flat, start, width, channels, index, first)
    table, membranes = patches.reshape(-1), scratch.reshape(-1)
    for x in range(width):
        last, phase = (x + padding) // phases, (x + padding) % phases
        add_patches(
            index, first[x], first[x + 1], x * channels, table, phase * channels * lanes, lanes,
            membranes, last * ring, pitch, chunks,
        )  # fmt: skip


@kernel
def _take_row(scratch: NDArray[Any], lane: int, ring: int, before: int, tile: NDArray[Any]) -> None:
    """Move one output row from its lane of the ring to ``tile`` T[columns, C]."""
    columns, channels = tile.shape
    pitch = scratch.shape[1]
    sums, membranes = scratch.reshape(-1), tile.reshape(-1)
    for channel in range(channels):
        at = channel * pitch + lane
        # Outputs beyond either border are never read, but must not overflow.
        for column in range(before):
            sums[at + column * ring] = 0
        take_lane(sums, at + before * ring, ring, columns, membranes, channel, channels)
        for column in range(before + columns, pitch // ring):
            sums[at + column * ring] = 0


@kernel
def accumulate_depthwise(
    counts: NDArray[Any],
    levels: int,
    patches: NDArray[Any],
    reach: tuple[int, int],
    kernel_height: int,
    padding: tuple[int, int],
    columns: int,
    finish: Finish,
    first_row: int,
    last_row: int,
) -> None:
    """Add to each membrane its channel's weight for every event under its window.

    Args:
        counts: uint8[H, W, C], at most ``levels``.
        levels: D of the neurons read.
        patches: see `PatchTable`.
        reach: likewise.
        kernel_height: rows of the kernel.
        padding: rows above, columns to the left.
        columns: W' of the output.
        finish: see `Finish`; positions are numbered ``y * W' + x``.
        first_row: first output row to work on.
        last_row: one past the last.
    """
    height, width, channels = counts.shape
    stride, ring, phases, _, lanes = patches.shape
    flat = flat_window(counts)
    index = np.empty(width * channels * levels + WINDOW, np.uint32)
    first = np.empty(width + 1, np.int64)
    furthest = max((width + padding[1]) // phases, columns + reach[1]) * ring + lanes
    # An odd number of cache lines, so that the channels of one column fall into different sets.
    line = CHUNK_BYTES // patches.itemsize
    scratch = np.zeros((channels, (furthest // line // 2 * 2 + 3) * line), patches.dtype)
    tile = np.empty((columns, channels), finish.bias.dtype)
    row = np.empty(channels, finish.bias.dtype)
    y = max(first_row * stride - padding[0], 0)
    # Rows before the first are accumulated in part, only to free their lanes of the ring.
    for oy in range(first_row - reach[0] + 1, last_row):
        end = min(oy * stride - padding[0] + kernel_height, height)
        while y < end:
            last, phase = (y + padding[0]) // stride, (y + padding[0]) % stride
            start, rotated = y * width * channels, patches[phase, last % ring]
            _add_image_row(
                flat, start, (width, channels), rotated, padding[1], ring, index, first, scratch
            )
            y += 1
        _take_row(scratch, oy % ring, ring, reach[1] - 1, tile)
        if oy >= first_row:
            finish_row(tile.reshape(-1), 0, oy * columns, columns, finish, row)
