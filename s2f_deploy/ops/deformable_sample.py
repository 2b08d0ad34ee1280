"""Deformable sampling: membranes read at learned places between pixels, as often as spikes say.

    Z[c, p] = Σ over taps k of group g of A[g, k, p] · X_c(p + tap k + O[g, k, p])

X_c is bilinear between pixels and zero outside of the image. Operands are X (C, H, W), the offsets
O (G · K · 2, H, W), in pixels, x before y, and the attention A (G · K, H, W); channel c belongs to
group c // (C / G). K is ``kernel`` squared, the taps of a square; tap k lies at x = k div kernel,
y = k mod kernel.

``bits`` = 0 takes offsets as they are (*exact*, real values only). Otherwise (*dyadic*) they are
rounded once, o = floor(O · 2**bits + ½); a position is ``(pixel + tap) · 2**bits + o``, its cell
that shifted right, f what is left. Per axis the weights are 2**bits - f and f. So of integer
membranes everything is an integer, on a grid finer by 2 · ``bits``. Membranes of offsets come with
shifts, one param: from their grids to that of 2**-bits, to the right if positive.

Source: Wang et al. 2023 (InternImage), arXiv:2211.05778; ``spike2former.md`` sections 4.2 and 13.1.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import ShapeMismatchError
from s2f_deploy.ir.graph import DType, Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.elementwise import per_channel
from s2f_deploy.ops.op import EVERY_LEVEL, Arrays, Op

IMAGE_RANK = 3
MOST_BITS = 16
LONGEST_SHIFTS = (-40, 62)
"""To the left and to the right; anything further gives what these give."""
_OUTSIDE = 2.0**40
_LARGEST = 2**61


def taps_of(node: Node) -> int:
    """K."""
    return int(node["kernel"]) ** 2


def infer_type(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """X (C, H, W), O (G · K · 2, H, W), A (G · K, H, W) -> X's type; integers may widen."""
    source, offsets, attention = inputs
    groups, bits, taps = node["groups"], node["bits"], taps_of(node)
    shapes = ((groups * taps * 2, *source.shape[1:]), (groups * taps, *source.shape[1:]))
    if (
        len(source.shape) != IMAGE_RANK
        or min(groups, taps) < 1
        or source.channels % groups
        or (offsets.shape, attention.shape) != shapes
        or not 0 <= bits <= MOST_BITS
        or DType.COUNT in (source.dtype, offsets.dtype)
        or source.dtype.is_integer != offsets.dtype.is_integer
    ):
        raise _unfit(node, inputs, f"{groups} groups of {taps} taps and offsets of {bits} bits")
    if not source.dtype.is_integer:
        return source
    wide = node.output.dtype
    shifts = params[0] if len(params) == 1 else np.zeros(0, np.int8)
    if (
        attention.dtype is not DType.COUNT
        or not bits
        or wide.array_type.itemsize < source.dtype.array_type.itemsize
        or shifts.shape not in ((1,), (offsets.channels,))
        or not LONGEST_SHIFTS[0] <= int(shifts.min()) <= int(shifts.max()) <= LONGEST_SHIFTS[1]
    ):
        raise _unfit(node, inputs, f"{shifts.size} shifts to {bits} bits as {wide.value}")
    return replace(source, dtype=wide)


def _unfit(node: Node, inputs: Sequence[TensorType], how: str) -> ShapeMismatchError:
    return ShapeMismatchError(
        f"{node.name} samples {', '.join(map(str, inputs))} with {how}",
        where=node.origin,
        fix="sample membranes where membranes say, twice as many as there are counts; if this is "
        "an artefact, export the network again",
    )


def tap_moves(kernel: int) -> NDArray[np.int64]:
    """int64[2, K]: x and y of every tap.

    >>> tap_moves(3)[:, :4].tolist()
    [[-1, -1, -1, 0], [-1, 0, 1, -1]]
    """
    return np.stack(np.divmod(np.arange(kernel * kernel), kernel)) - kernel // 2


def rounded_offsets(
    offsets: NDArray[Any], bits: int, shifts: NDArray[Any] | None
) -> NDArray[np.int64]:
    """Offsets in units of 2**-bits: floor(O · 2**bits + ½).

    Args:
        offsets: real pixels, which are rounded as float operators of their own type would, or
            integers.
        bits: positive.
        shifts: of integers, broadcastable to them.

    >>> rounded_offsets(np.array([-0.125, -0.126, 3.1]), 2, None).tolist()
    [0, -1, 12]
    >>> rounded_offsets(np.array([-2, -3, 1]), 2, np.array([2, 2, -1])).tolist()
    [0, -1, 2]
    """
    if shifts is None:
        kind = offsets.dtype.type
        with np.errstate(over="ignore"):
            units = np.floor(offsets * kind(1 << bits) + kind(0.5))
        # What is no number, or far away, lies outside of every image.
        return np.where(np.abs(units) < _OUTSIDE, units, _OUTSIDE).astype(np.int64)
    wide, right = offsets.astype(np.int64), shifts.astype(np.int64)
    # Halves of a unit first: nothing is added that could wrap.
    units = ((wide >> np.maximum(right - 1, 0)) + 1) >> 1
    if (right > 0).all():
        return units
    left = np.maximum(-right, 0)
    reach = _LARGEST >> left
    return np.where(right > 0, units, np.clip(wide, -reach, reach) << left)


def corners(
    node: Node, offsets: NDArray[Any], params: Arrays, axis: int
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """The two pixels between which taps lie along one axis, and how much each weighs.

    Args:
        node: a deformable_sample.
        offsets: real or integers[G · K · 2, H, W].
        params: its shifts, if it has some.
        axis: 0 for x, 1 for y.

    Returns:
        Of each of the two: pixels int64[G, K, H · W], inside the image, and weights of their shape,
        int64 in units of 2**-bits or real, zero where the pixel would be outside.
    """
    bits, (height, width) = node["bits"], node.output.plane
    side = (width, height)[axis]
    places = np.arange(side) if axis == 0 else np.arange(side)[:, None]
    moves = tap_moves(node["kernel"])[axis][:, None, None]
    if bits:
        shifts = per_channel(params[0], offsets) if params else None
        offsets = rounded_offsets(offsets, bits, shifts)
        moves, places = moves << bits, places << bits
    by_tap = offsets.reshape(node["groups"], taps_of(node), 2, height, width)[:, :, axis]
    kind = by_tap.dtype.type
    one = kind(1 << bits)
    # In the order in which the exported function adds real values.
    position = (by_tap + moves.astype(kind)) + places.astype(kind)
    touches = (position > -one) & (position < kind(side) * one)
    position = np.where(touches, position, -one).reshape(*by_tap.shape[:2], -1)
    cell = position >> bits if bits else np.floor(position)
    share = position - cell * one
    found = []
    for pixel, weight in ((cell.astype(np.int64), one - share), (cell.astype(np.int64) + 1, share)):
        inside = (pixel >= 0) & (pixel < side)
        found.append((np.clip(pixel, 0, side - 1), np.where(inside, weight, kind(0))))
    return found


def dense(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """Real X, O and A, or counts -> X's type; integers and counts -> integers, exactly."""
    source, offsets, attention = inputs
    groups, bits, (height, width) = node["groups"], node["bits"], node.output.plane
    whole = source.dtype.kind == "i"
    wide = np.dtype(np.int64) if whole else source.dtype
    image = source.reshape(groups, -1, height * width).astype(wide)
    weights = attention.reshape(groups, taps_of(node), -1)
    columns, rows = (corners(node, offsets, params, axis) for axis in (0, 1))
    total = np.zeros(image.shape, wide)
    scale = wide.type(1 if whole else 2.0 ** (-2 * bits))
    for k in range(taps_of(node)):
        for y, down in rows:
            for x, across in columns:
                pixels = (y[:, k] * width + x[:, k])[:, None]
                shares = (down[:, k] * across[:, k]) * weights[:, k]
                factors = shares.astype(wide)[:, None] * scale
                total += factors * np.take_along_axis(image, pixels, 2)
    result: NDArray[Any] = total.reshape(node.output.shape)
    return result.astype(node.output.dtype.array_type) if whole else result


def interval(
    node: Node, types: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """Every tap of a group at its largest count, at the end of the range of the membranes."""
    del params
    source, _, attention = inputs
    groups, channels = node["groups"], types[0].channels
    most = np.broadcast_to(attention.high, types[2].channels).reshape(groups, -1).sum(1)
    factors = np.repeat(most, channels // groups).astype(object) * (1 << 2 * int(node["bits"]))
    return source.with_zero().times(factors)


def macs(node: Node, _: Sequence[TensorType], __: Arrays) -> int:
    """Four products for every tap and channel, one for each corner."""
    return 4 * taps_of(node) * node.output.channels * node.output.positions


def roundings(node: Node, _: Sequence[TensorType], __: Arrays) -> int:
    """Of a term: 1 - share, the corner's weight, times attention, times value, and all sums."""
    return 4 + 4 * taps_of(node)


DEFORMABLE_SAMPLE = Op(
    "deformable_sample",
    EVERY_LEVEL,
    infer_type,
    dense,
    dense_macs=macs,
    padded_macs=macs,
    roundings=roundings,
    interval=interval,
)
