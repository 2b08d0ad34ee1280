"""Depthwise convolution by accumulation: a spike adds a patch to the membranes of its channel."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_sim.kernels.aligned import aligned_zeros
from s2f_sim.kernels.clearing import clear
from s2f_sim.kernels.events import list_row
from s2f_sim.kernels.finish import Finish, finish_row
from s2f_sim.kernels.kernel import kernel, part
from s2f_sim.kernels.patches import CHUNK_BYTES, LONGEST, add_patches
from s2f_sim.kernels.ring_rows import take_row
from s2f_sim.kernels.sharing import Share, share_rows


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


@part
def _add_image_row(
    flat: NDArray[Any],
    start: int,
    width: int,
    channels: int,
    patches: NDArray[Any],
    rotated: int,
    phases: int,
    lanes: int,
    padding: int,
    ring: int,
    index: NDArray[Any],
    first: NDArray[Any],
    scratch: NDArray[Any],
    pitch: int,
) -> None:
    """Add the patches of all spikes of one image row; its rotation begins at ``rotated``."""
    chunks = lanes * patches.itemsize // CHUNK_BYTES
    chunks = chunks if chunks <= LONGEST else 0
    list_row(flat, start, width, channels, index, 0, first, 0)
    for x in range(width):
        last, phase = (x + padding) // phases, (x + padding) % phases
        add_patches(
            index, first[x], first[x + 1], x * channels, patches,
            rotated + phase * channels * lanes, lanes, scratch, last * ring, pitch, chunks,
        )  # fmt: skip


def scratch_pitch(table: PatchTable, width: int, padding: int, columns: int) -> int:
    """Elements of one channel's ring of output rows, all its columns.

    An odd number of cache lines, so that the channels of one column fall into different sets.
    """
    _, ring, phases, _, lanes = table.patches.shape
    furthest: int = max((width + padding) // phases, columns + table.reach[1]) * ring + lanes
    line = CHUNK_BYTES // table.patches.itemsize
    return (furthest // line // 2 * 2 + 3) * line


@kernel
def accumulate_depthwise(
    flat: NDArray[Any],
    plane: tuple[int, int, int],
    patches: NDArray[Any],
    shape: tuple[int, int, int, int],
    reach: tuple[int, int],
    kernel_height: int,
    padding: tuple[int, int],
    columns: int,
    index: NDArray[Any],
    first: NDArray[Any],
    scratch: NDArray[Any],
    tile: NDArray[Any],
    finish: Finish,
    share: Share,
) -> None:
    """Add to each membrane its channel's weight for every event under its window.

    Args:
        flat: uint8[H * W * C] counts, see `events.flat_window`.
        plane: H, W, C.
        patches: flat, see `PatchTable`.
        shape: phases down, R, phases across, and lanes of the patches.
        reach: see `PatchTable`.
        kernel_height: rows of the kernel.
        padding: rows above, columns to the left.
        columns: W' of the output.
        index: room for the events of one image row, uint32, see `events.list_length`; this and
            what follows once for each member.
        first: room for int64[W + 1].
        scratch: room for C times `scratch_pitch`, of the patches' type.
        tile: room for T[W' * C].
        finish: see `Finish`; positions are numbered ``y * W' + x``.
        share: of the output rows.
    """
    if share_rows(share):
        return
    index, first, scratch = index[share.member], first[share.member], scratch[share.member]
    tile, first_row = tile[share.member], share.first
    # A piece that ended with other rows has left sums of those that follow.
    clear(scratch)
    height, width, channels = plane
    stride, ring, phases, lanes = shape
    pitch = scratch.size // channels
    reached = (width - 1 + padding[1]) // phases + reach[1]
    y = first_row * stride - padding[0]
    y = y if y > 0 else 0
    # Rows before the first are accumulated in part, only to free their lanes of the ring.
    for oy in range(first_row - reach[0] + 1, share.last):
        end = oy * stride - padding[0] + kernel_height
        end = end if end < height else height
        while y < end:
            last, phase = (y + padding[0]) // stride, (y + padding[0]) % stride
            rotated = (phase * ring + last % ring) * phases * channels * lanes
            _add_image_row(
                flat, y * width * channels, width, channels, patches, rotated, phases, lanes,
                padding[1], ring, index, first, scratch, pitch,
            )  # fmt: skip
            y += 1
        lane = oy % ring
        take_row(scratch, pitch, lane, ring, reach[1] - 1, columns, reached, channels, tile)
        if oy >= first_row:
            finish_row(tile, 0, oy * columns, columns, finish)
