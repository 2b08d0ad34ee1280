"""Deformable sampling by attention spikes: taps that no spike triggers cost nothing.

What spikes trigger is listed first: where each tap lies, how often it counts. Then every listed tap
adds the pixels around it, by their shares times its count; on a chip these are the shifts and
additions that `sampling` counts.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from s2f_sim.kernels.kernel import kernel


class Spiking(NamedTuple):
    """Taps with spikes, in some rows.

    Attributes:
        at: int64[N], ascending positions in these rows' counts [R, W, G · K].
        counts: uint8[N].
        offsets: of each, x and y: int64[N, 2] in units of a grid, or float32[N, 2] in pixels.
    """

    at: NDArray[np.int64]
    counts: NDArray[np.uint8]
    offsets: NDArray[Any]


class Geometry(NamedTuple):
    """What is sampled, and how: an image's height and width, groups, side of a square of taps."""

    height: int
    width: int
    groups: int
    side: int


class Taps(NamedTuple):
    """Taps with spikes that touch the image, position by position and group by group.

    Attributes:
        first: int64[P · G + 1], where the list of a position and a group begins.
        counts: T[N], spikes; T is int64 of offsets on a grid and float32 of others.
        cells: int64[N, 2], row and column of the pixel above and to the left, from -1 on.
        shares: T[N, 2], how far below and to the right of it, in units of the grid or in pixels.
    """

    first: NDArray[np.int64]
    counts: NDArray[Any]
    cells: NDArray[np.int64]
    shares: NDArray[Any]


def empty_taps(lists: int, longest: int, dtype: np.dtype[Any]) -> Taps:
    """Room for ``longest`` taps in so many ``lists``."""
    return Taps(
        np.zeros(lists + 1, np.int64),
        np.empty(longest, dtype),
        np.empty((longest, 2), np.int64),
        np.empty((longest, 2), dtype),
    )


@kernel
def list_dyadic(
    spiking: Spiking, geometry: Geometry, bits: int, first_row: int, taps: Taps
) -> None:
    """List taps whose offsets are integers, in units of 2**-bits.

    Args:
        spiking: of some rows.
        geometry: of all.
        bits: positive.
        first_row: the number of these rows' first.
        taps: out.
    """
    side, one = geometry.side, 1 << bits
    listed, found = 0, 0
    for i in range(len(spiking.at)):
        lists, tap = spiking.at[i] // (side * side), spiking.at[i] % (side * side)
        while listed <= lists:
            taps.first[listed] = found
            listed += 1
        position = lists // geometry.groups
        row, column = first_row + position // geometry.width, position % geometry.width
        x = ((column + tap // side - side // 2) << bits) + spiking.offsets[i, 0]
        y = ((row + tap % side - side // 2) << bits) + spiking.offsets[i, 1]
        if x > -one and x < geometry.width * one and y > -one and y < geometry.height * one:
            taps.counts[found] = spiking.counts[i]
            above, before = y >> bits, x >> bits
            taps.cells[found, 0], taps.cells[found, 1] = above, before
            taps.shares[found, 0], taps.shares[found, 1] = y - above * one, x - before * one
            found += 1
    taps.first[listed:] = found


@kernel
def list_exact(spiking: Spiking, geometry: Geometry, first_row: int, taps: Taps) -> None:
    """`list_dyadic` of offsets as they are."""
    side, one = geometry.side, np.float32(1)
    listed, found = 0, 0
    for i in range(len(spiking.at)):
        lists, tap = spiking.at[i] // (side * side), spiking.at[i] % (side * side)
        while listed <= lists:
            taps.first[listed] = found
            listed += 1
        position = lists // geometry.groups
        row, column = first_row + position // geometry.width, position % geometry.width
        # Added in the order of the exported function, see `deformable_sample`.
        x = spiking.offsets[i, 0] + np.float32(tap // side - side // 2) + np.float32(column)
        y = spiking.offsets[i, 1] + np.float32(tap % side - side // 2) + np.float32(row)
        # What is no number touches nothing.
        if x > -one and x < geometry.width and y > -one and y < geometry.height:
            taps.counts[found] = spiking.counts[i]
            above, before = np.floor(y), np.floor(x)
            taps.cells[found, 0], taps.cells[found, 1] = int(above), int(before)
            taps.shares[found, 0], taps.shares[found, 1] = y - above, x - before
            found += 1
    taps.first[listed:] = found


@kernel
def add_taps(
    image: NDArray[Any],
    taps: Taps,
    groups: int,
    ones: NDArray[Any],
    scale: NDArray[Any],
    result: NDArray[Any],
) -> None:
    """Write the sums of listed taps.

    Args:
        image: T[H, W, C].
        taps: of R rows.
        groups: of the channels.
        ones: of the type of shares[1], the distance between pixels.
        scale: int64[1] or float32[1], what a whole share is multiplied by.
        result: out, T[R, W, C], of image's type or a wider one.
    """
    height, width, channels = image.shape
    span, one = channels // groups, ones[0]
    none, weight = one - one, np.empty(4, scale.dtype)
    sums, pixels = result.reshape(-1), image.reshape(-1)
    for at in range(len(taps.first) - 1):
        target, base = at * span, at % groups * span
        for c in range(span):
            sums[target + c] = 0
        for i in range(taps.first[at], taps.first[at + 1]):
            above, before = taps.cells[i, 0], taps.cells[i, 1]
            lower, right, count = taps.shares[i, 0], taps.shares[i, 1], taps.counts[i]
            # Pixels outside of the image count for nothing.
            top = one - lower if above >= 0 else none
            left = one - right if before >= 0 else none
            bottom = lower if above + 1 < height else none
            right = right if before + 1 < width else none
            weight[0], weight[1] = top * left * count, top * right * count
            weight[2], weight[3] = bottom * left * count, bottom * right * count
            w0, w1 = weight[0] * scale[0], weight[1] * scale[0]
            w2, w3 = weight[2] * scale[0], weight[3] * scale[0]
            first, second = max(above, 0) * width, min(above + 1, height - 1) * width
            near, far = max(before, 0), min(before + 1, width - 1)
            p0, p1 = (first + near) * channels + base, (first + far) * channels + base
            p2, p3 = (second + near) * channels + base, (second + far) * channels + base
            for c in range(span):
                total = sums[target + c] + w0 * pixels[p0 + c]
                total = total + w1 * pixels[p1 + c]
                total = total + w2 * pixels[p2 + c]
                sums[target + c] = total + w3 * pixels[p3 + c]
