"""What rounding does to deformable sampling: sums are a little off, and so is where they are read.

Offsets that were added up in another order are not quite the same. Taken as they are, a sample
moves by as little, and a bilinear surface changes by no more than its slope times that. Rounded to
a grid, they give the same position, unless they lie within their own error of where rounding
turns: then one unit more or less is possible, and the sample moves by that. Either way the
change, the *jump*, is bounded by the steepest slopes of the cells around, zeros outside included.
It is no multiple of γ, see `error_bounds`, and is carried beside the majorant.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node
from s2f_deploy.ops import OPS
from s2f_deploy.ops.deformable_sample import dense, rounded_offsets, roundings, tap_moves, taps_of
from s2f_sim.rounding import ENLARGED, MANTISSA, NOISE, ROUNDING, gamma
from s2f_sim.traced import Traced

Array = NDArray[Any]

_AROUND = 4
"""Zeros around an image so that the cells next to it, and those next to these, exist."""
_STEEPER = 2.0**-8
"""Of its majorant a pixel may be off by less; slopes are those of computed pixels."""
_SECOND_ORDER = 1 + 2.0**-10


def passed_on(
    node: Node, sources: Sequence[Traced], absolute: Sequence[Array], majorant: Array
) -> Array:
    """The jump of a result, from those of what it was computed from.

    Args:
        node: no sampling.
        sources: what it reads.
        absolute: its arrays, as they give the majorant.
        majorant: of its result.
    """
    if not any(source.jump.any() for source in sources):
        return np.zeros(1)
    jumps = [np.broadcast_to(source.jump, source.value.shape) for source in sources]
    if node.op == "max_pool":
        return OPS[node.op].dense(node, jumps, [])
    raised = [source.majorant + jump for source, jump in zip(sources, jumps, strict=True)]
    change: Array = OPS[node.op].dense(node, raised, absolute) - majorant
    return np.maximum(change, 0) * ENLARGED + NOISE * majorant


def sampled(node: Node, sources: Sequence[Traced], event_roundings: Array) -> Traced:
    """The result of a deformable_sample in a FLOAT graph.

    Args:
        node: at one real timestep.
        sources: image, offsets and attention.
        event_roundings: k of the offsets in the event graph, broadcastable to them.
    """
    image, offsets, attention = sources
    value = dense(node, [image.value, offsets.value, attention.value], [])
    majorant = dense(node, [image.majorant, offsets.value, attention.majorant], [])
    moved = _moved(node, offsets, _radius(offsets, event_roundings))
    jump = _jump(node, image, offsets.value, attention.majorant, moved)
    jump += dense(node, [_jump_of(image), offsets.value, attention.majorant], [])
    before = float(image.roundings.max()) + float(attention.roundings.max())
    rounded = np.full((1, 1, 1), before + roundings(node, [], []))
    grid = _grid(node, image, attention)
    if not before and offsets.exact and not moved.any():
        rounded = np.where(majorant <= MANTISSA * grid[:, None, None], 0.0, rounded)
    return Traced(value, majorant, rounded, grid, jump)


def _jump_of(source: Traced) -> Array:
    return np.broadcast_to(source.jump, source.value.shape)


def _grid(node: Node, image: Traced, attention: Traced) -> Array:
    """Powers of two that divide all terms, float64[C]; 0 if unknown."""
    if not node["bits"] or not attention.grid.all():
        return np.zeros(len(image.value))
    grid: Array = image.grid * attention.grid.min() * 2.0 ** (-2 * node["bits"])
    return grid


def _radius(offsets: Traced, event_roundings: Array) -> Array:
    """How far computed offsets, of either network, can be from the exact ones, in pixels."""
    own, most = offsets.roundings, np.maximum(offsets.roundings, event_roundings)
    off = gamma(most) * offsets.majorant * ENLARGED + NOISE * own * offsets.majorant
    radius: Array = np.where(own > 0, off, 0.0) + offsets.jump
    return radius


def _moved(node: Node, offsets: Traced, radius: Array) -> Array:
    """How far computed positions can be from the exact ones, in pixels, [G · K · 2, H, W]."""
    side, bits = max(node.output.plane) + int(node["kernel"]), int(node["bits"])
    # Tap, pixel and the share below a whole pixel are added to an offset, or taken from it.
    adding = ROUNDING * (3 * side + 8) * ENLARGED
    if not bits:
        return radius + adding
    unit = 2.0**-bits
    raised = np.abs(offsets.value) / unit + 0.5
    step = np.minimum(offsets.grid / unit, 0.5)[:, None, None]
    exactly = (offsets.roundings == 0) & (offsets.jump == 0) & (raised <= MANTISSA * step)
    off = radius / unit + np.where(exactly, 0.0, ROUNDING * (raised + radius / unit) * ENLARGED)
    turns = offsets.value / unit + 0.5
    distance = np.abs(turns - np.rint(turns))
    uncertain = (off > 0) & (distance <= off * ENLARGED + NOISE * raised)
    moved: Array = np.where(uncertain, np.ceil(off), 0.0) * unit
    return moved if side / unit <= MANTISSA else moved + adding


def _jump(node: Node, image: Traced, offsets: Array, attention: Array, moved: Array) -> Array:
    """Σ over taps of attention times how much the surface can change, float64[C, H, W]."""
    groups, taps, (height, width) = node["groups"], taps_of(node), node.output.plane
    by_tap = (groups, taps, 2, height * width)
    channels = (groups, -1, (height + _AROUND + 1) * (width + _AROUND + 1))
    slopes = [one.reshape(channels) for one in _slopes(image)]
    rows, columns = _cells(node, offsets)
    weights = attention.reshape(groups, taps, -1)
    most = (image.majorant * (1 + _STEEPER) + _jump_of(image)).max((1, 2))
    largest = 2 * most.reshape(groups, -1, 1)
    jump = np.zeros((groups, len(image.value) // groups, height * width))
    for k in range(taps):
        at = (rows[:, k] * (width + _AROUND + 1) + columns[:, k])[:, None]
        for axis, slope in enumerate(slopes):
            by = moved.reshape(by_tap)[:, k, axis][:, None]
            steepest = np.take_along_axis(slope, at, 2)
            # Beyond a pixel, cells that were not looked at come into it.
            change = np.where(by <= 1, np.minimum(by, 1) * steepest, largest)
            jump += weights[:, k][:, None] * change
    return jump.reshape(image.value.shape) * _SECOND_ORDER


def _cells(node: Node, offsets: Array) -> tuple[Array, Array]:
    """Rows and columns of `_slopes` in which taps lie, int64[G, K, H · W] each."""
    (height, width), bits = node.output.plane, int(node["bits"])
    by_tap = offsets.reshape(node["groups"], taps_of(node), 2, height, width)
    found = []
    for axis, side in ((1, height), (0, width)):
        own = by_tap[:, :, axis]
        if bits:
            own = rounded_offsets(own, bits, None) * 2.0**-bits
        places = np.indices((height, width))[1 - axis]
        moves = tap_moves(node["kernel"])[axis][:, None, None]
        first = 1 - _AROUND
        cell = np.clip(np.floor(own + moves + places), first, side + 1) - first
        found.append(cell.astype(np.int64).reshape(*own.shape[:2], -1))
    return found[0], found[1]


def _slopes(image: Traced) -> tuple[Array, Array]:
    """Along x and y the steepest slopes of every cell and its neighbours, zeros outside included.

    float64[C, H + 5, W + 5]; the first cell is that of row and column -3.
    """
    around = ((0, 0), (_AROUND, _AROUND), (_AROUND, _AROUND))
    value, off = (
        np.pad(part, around) for part in (image.value, image.majorant * _STEEPER + _jump_of(image))
    )
    across = np.abs(np.diff(value, axis=2)) + off[:, :, 1:] + off[:, :, :-1]
    down = np.abs(np.diff(value, axis=1)) + off[:, 1:] + off[:, :-1]
    return _largest(across, (4, 3)), _largest(down, (3, 4))


def _largest(values: Array, window: tuple[int, int]) -> Array:
    """Maxima of all windows of the last two axes."""
    for axis, size in enumerate(window, 1):
        values = np.lib.stride_tricks.sliding_window_view(values, size, axis).max(-1)
    return values
