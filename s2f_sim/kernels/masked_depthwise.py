"""Depthwise convolution, output by output: every count adds what its bits say of a weight."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_sim.kernels.aligned import aligned_zeros
from s2f_sim.kernels.finish import Finish, finish_row
from s2f_sim.kernels.kernel import kernel, part
from s2f_sim.kernels.masked import add_masked, bits_of
from s2f_sim.kernels.spiking import WINDOW


def count_bits(levels: int) -> int:
    """Bits of the largest count.

    >>> [count_bits(levels) for levels in (1, 2, 4, 8)]
    [1, 2, 3, 4]
    """
    return levels.bit_length()


def weight_bits(weight: NDArray[Any], levels: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Weights [KH, KW, C], times 1, 2, 4, ...: T[KH * KW, bits, C in whole windows].

    ``dtype`` holds any sum of weights times counts, of which these are some.
    """
    bits, channels = count_bits(levels), weight.shape[2]
    table = aligned_zeros((weight[..., 0].size, bits, mask_windows(channels) * WINDOW), dtype)
    wide = weight.reshape(-1, channels).astype(np.int64 if dtype.kind == "i" else dtype)
    for bit in range(bits):
        table[:, bit, :channels] = wide * (1 << bit)
    return table


def mask_windows(channels: int) -> int:
    """Masks of one position and bit."""
    return -(-channels // WINDOW)


def mask_room(positions: int, channels: int, bits: int) -> NDArray[np.uint64]:
    """Room for the masks of so many positions, silent ones: flat uint64."""
    return np.zeros(positions * mask_windows(channels) * bits, np.uint64)


@part
def _mask_image_row(
    flat: NDArray[Any],
    start: int,
    width: int,
    channels: int,
    bits: int,
    masks: NDArray[Any],
    to: int,
) -> None:
    """Masks of one image row: of every column, window of channels, and bit."""
    for x in range(width):
        end = start + (x + 1) * channels
        for at in range(end - channels, end, WINDOW):
            for bit in range(bits):
                masks[to] = bits_of(flat, at, end, 1 << bit)
                to += 1


@kernel
def accumulate_masked(
    flat: NDArray[Any],
    plane: tuple[int, int, int],
    weights: NDArray[Any],
    shape: tuple[int, int, int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    columns: int,
    masks: NDArray[Any],
    tile: NDArray[Any],
    finish: Finish,
    first_row: int,
    last_row: int,
) -> None:
    """Add to each membrane its channel's weight for every event under its window.

    Args:
        flat: uint8[H * W * C] counts, see `events.flat_window`.
        plane: H, W, C.
        weights: flat, see `weight_bits`.
        shape: KH, KW, bits, and channels of the weights in whole windows.
        stride: down and across.
        padding: above, left, below, right.
        columns: W' of the output.
        masks: see `mask_room`, of KH image rows and their padding.
        tile: room for T[W' * C + OVERHANG].
        finish: see `Finish`; positions are numbered ``y * W' + x``.
        first_row: first output row to work on.
        last_row: one past the last.
    """
    height, width, channels = plane
    ring, kernel_width, bits, pitch = shape
    column_pitch = pitch // WINDOW * bits
    row_pitch = (padding[1] + width + padding[3]) * column_pitch
    masked = 0
    for oy in range(first_row, last_row):
        top = oy * stride[0] - padding[0]
        begin = top if top > 0 else 0
        end = top + ring if top + ring < height else height
        masked = masked if masked > begin else begin
        while masked < end:
            to = masked % ring * row_pitch + padding[1] * column_pitch
            _mask_image_row(flat, masked * width * channels, width, channels, bits, masks, to)
            masked += 1
        tap = (begin - top) * kernel_width
        at = 0
        for ox in range(columns):
            for window in range(pitch // WINDOW):
                add_masked(
                    masks, ox * stride[1] * column_pitch + window * bits, begin % ring, ring,
                    row_pitch, column_pitch, weights, window * WINDOW, pitch, bits,
                    tap, end - begin, kernel_width, tile, at + window * WINDOW,
                )  # fmt: skip
            at += channels
        finish_row(tile, 0, oy * columns, columns, finish)
