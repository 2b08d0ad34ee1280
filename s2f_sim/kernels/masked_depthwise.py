"""Depthwise convolution, output by output: every count adds what its bits say of a weight."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from s2f_sim.kernels.aligned import aligned_zeros
from s2f_sim.kernels.clearing import clear
from s2f_sim.kernels.finish import Finish, finish_row
from s2f_sim.kernels.kernel import kernel, part
from s2f_sim.kernels.masked import BITS, RUN, join_masks, list_masks, put_masks
from s2f_sim.kernels.masked_blocks import BLOCK, add_block
from s2f_sim.kernels.masked_columns import add_listed
from s2f_sim.kernels.sharing import Share, share_rows

_REGISTER_BYTES = 64
_KINDS: dict[int, Any] = {8: np.uint8, 16: np.uint16, 32: np.uint32}
_FEW = 4
"""Masks of which so small a part is set are listed, and added one after the other."""


def count_bits(levels: int) -> int:
    """Bits of the largest count.

    >>> [count_bits(levels) for levels in (1, 2, 4, 8)]
    [1, 2, 3, 4]
    """
    return levels.bit_length()


class Masking(NamedTuple):
    """How channels and columns are laid into masks.

    A window of L channels fills a mask, and a register of sums. What is left of the channels is the
    last window: where it is narrow, a mask holds that of several outputs, side by side.

    Attributes:
        lanes: L, bits of a mask.
        windows: masks of one position and bit.
        together: outputs of which one mask of the last window tells.
        stride: input columns from one output to the next.
        outputs: W', in a row.
        columns: of an image row's masks, whole runs: with its padding, and with what the last
            block of outputs looks at beyond it.
    """

    lanes: int
    windows: int
    together: int
    stride: int
    outputs: int
    columns: int

    @classmethod
    def of(
        cls,
        dtype: np.dtype[Any],
        channels: int,
        kernel_width: int,
        stride: int,
        outputs: int,
        padded: int,
    ) -> "Masking":
        """For sums of ``dtype``, and image rows of so many columns, with their padding."""
        lanes = _REGISTER_BYTES // dtype.itemsize
        windows = -(-channels // lanes)
        left = channels - (windows - 1) * lanes
        # As many as save a block.
        together = min(range(1, lanes // left + 1), key=lambda many: -(-outputs // (BLOCK * many)))
        reached = (most_outputs(outputs, together) - 1) * stride + kernel_width
        columns = -(-max(padded, reached) // RUN) * RUN
        return cls(lanes, windows, together, stride, outputs, columns)


def most_outputs(outputs: int, together: int) -> int:
    """Outputs of a row in whole blocks of registers of one, or of several of them."""
    return max(-(-outputs // (BLOCK * many)) * BLOCK * many for many in (1, together))


class MaskRoom(NamedTuple):
    """What the members of a share work in; each has a row, of what is flat there.

    Attributes:
        masks: uint[KH, windows, bits, columns]: a ring of image rows and their padding.
        listed: int32, as ``masks``: columns of the masks that are not silent, in ascending order.
        found: int64[KH, windows, bits]: how many these are.
        passes: int64[KH * bits, 2], see `add_block`.
        sums: T[outputs in whole blocks, L].
        tile: T or a wider type: sums of a row, and what the last block stores beyond them.
    """

    masks: NDArray[Any]
    listed: NDArray[np.int32]
    found: NDArray[np.int64]
    passes: NDArray[np.int64]
    sums: NDArray[Any]
    tile: NDArray[Any]


def mask_room(
    masking: Masking,
    channels: int,
    kernel_height: int,
    bits: int,
    dtype: np.dtype[Any],
    wide: np.dtype[Any],
) -> list[tuple[int, Any]]:
    """Elements and types of a `MaskRoom`, for sums of ``dtype`` that become ``wide``."""
    rows, lanes = kernel_height * masking.windows * bits, masking.lanes
    return [
        (rows * masking.columns, _KINDS[lanes]),
        (rows * masking.columns, np.int32),
        (rows, np.int64),
        (2 * kernel_height * bits, np.int64),
        (most_outputs(masking.outputs, 1) * lanes, dtype),
        (most_outputs(masking.outputs, masking.together) * channels + lanes, wide),
    ]


def mask_bytes(masking: Masking, kernel_height: int, bits: int) -> int:
    """Memory of the masks, of the lists of those that are not silent, and of their lengths."""
    rows = kernel_height * masking.windows * bits
    return rows * (masking.columns * (masking.lanes // 8 + 4) + 8)


def weight_bits(weight: NDArray[Any], bits: int, masking: Masking, dtype: Any) -> NDArray[Any]:
    """Weights [KH, KW, C], times 1, 2, 4, ...: T[windows, KH, bits, KW, L].

    ``dtype`` holds any sum of weights times counts, of which these are some. Where a mask tells of
    several outputs, the weights are repeated.
    """
    height, width, channels = weight.shape
    lanes, windows = masking.lanes, masking.windows
    wide = weight.astype(np.int64 if dtype.kind == "i" else dtype)
    table = aligned_zeros((windows, height, bits, width, lanes), dtype)
    for window, piece in enumerate(np.split(wide, range(lanes, channels, lanes), axis=2)):
        row = np.tile(piece, masking.together if window == windows - 1 else 1)
        for bit in range(bits):
            table[window, :, bit, :, : row.shape[2]] = row * (1 << bit)
    return table


@part
def _mask_row(
    flat: NDArray[Any],
    start: int,
    width: int,
    channels: int,
    padding: int,
    masking: Masking,
    bits: int,
    masks: NDArray[Any],
    listed: NDArray[Any],
    found: NDArray[Any],
    number: int,
) -> None:
    """Masks of one image row; those of its first window and bit are the ``number``-th row."""
    lanes, windows, together, stride, _, columns = masking
    for window in range(windows):
        left = channels - window * lanes
        for bit in range(0, bits, BITS):
            put_masks(
                flat, start + window * lanes, width, channels, left, bit, min(bits - bit, BITS),
                masks, (number + bit) * columns + padding, columns,
            )  # fmt: skip
        joined = together if window == windows - 1 else 1
        for row in range(number, number + bits):
            if joined > 1:
                # Those of the padding may have been joined with others before.
                for place in range(row * columns, row * columns + padding):
                    masks[place] = 0
                join_masks(masks, row * columns, columns, joined, stride, left)
            found[row] = list_masks(masks, row * columns, columns, listed)
        number += bits


@part
def _add_listed_rows(
    masks: NDArray[Any],
    listed: NDArray[Any],
    found: NDArray[Any],
    few: int,
    columns: int,
    rows: int,
    slot: int,
    ring: int,
    pitch: int,
    first: int,
    bits: int,
    weights: NDArray[Any],
    source: int,
    pass_weights: int,
    width: int,
    stride: int,
    sums: NDArray[Any],
    outputs: int,
    passes: NDArray[Any],
) -> int:
    """Add what is listed of some image rows of one window; the number of passes for all others."""
    dense = 0
    for _ in range(rows):
        number = slot * pitch + first
        for row in range(number, number + bits):
            if found[row] > few:
                passes[2 * dense] = row * columns
                passes[2 * dense + 1] = source
                dense += 1
            elif found[row] > 0:
                add_listed(
                    masks, row * columns, listed, found[row], weights, source, width, stride,
                    sums, outputs,
                )  # fmt: skip
            source += pass_weights
        slot += 1
        slot = 0 if slot == ring else slot
    return dense


@kernel
def accumulate_masked(
    flat: NDArray[Any],
    plane: tuple[int, int, int],
    weights: NDArray[Any],
    shape: tuple[int, int, int],
    stride: int,
    padding: tuple[int, int],
    masking: Masking,
    room: MaskRoom,
    finish: Finish,
    share: Share,
) -> None:
    """Add to each membrane its channel's weight for every event under its window.

    Args:
        flat: uint8[H * W * C] counts, see `events.flat_window`.
        plane: H, W, C.
        weights: flat, see `weight_bits`.
        shape: KH, KW and bits.
        stride: down.
        padding: above, left.
        masking: see `Masking`.
        room: see `mask_room`.
        finish: see `Finish`; positions are numbered ``y * W' + x``.
        share: of the output rows.
    """
    if share_rows(share):
        return
    height, width, channels = plane
    ring, kernel_width, bits = shape
    lanes, windows, joined, across, outputs, columns = masking
    masks, listed = room.masks[share.member], room.listed[share.member]
    found, passes = room.found[share.member], room.passes[share.member]
    sums, tile = room.sums[share.member], room.tile[share.member]
    clear(masks, ring * windows * bits * columns)
    clear(sums, -(-outputs // BLOCK) * BLOCK * lanes)
    masked = 0
    for oy in range(share.first, share.last):
        top = oy * stride - padding[0]
        begin, end = max(top, 0), min(top + ring, height)
        for y in range(max(masked, begin), end):
            _mask_row(
                flat, y * width * channels, width, channels, padding[1], masking, bits,
                masks, listed, found, y % ring * windows * bits,
            )  # fmt: skip
        masked = max(masked, end)
        # What a window stores beyond its channels, those before it overwrite.
        for window in range(windows - 1, -1, -1):
            # Chosen here: among the arguments of a call, Numba would count references around it.
            together = joined if window == windows - 1 else 1
            copies = together if window > 0 else 1
            step, pitch = across * together, together * channels
            blocks = -(-outputs // (together * BLOCK))
            dense = _add_listed_rows(
                masks, listed, found, width // _FEW, columns, end - begin, begin % ring, ring,
                windows * bits, window * bits, bits, weights,
                (window * ring + begin - top) * bits * kernel_width * lanes, kernel_width * lanes,
                kernel_width, step, sums, blocks * BLOCK, passes,
            )  # fmt: skip
            for block in range(0, blocks * BLOCK, BLOCK):
                add_block(
                    masks, block * step, weights, passes, dense, kernel_width, step, sums,
                    block * lanes, tile, block * pitch + window * lanes, pitch,
                    copies, (windows - 1) * lanes,
                )  # fmt: skip
        finish_row(tile, 0, oy * outputs, outputs, finish)
