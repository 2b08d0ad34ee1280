"""How each synaptic layer is laid out: which kernel, in which lanes, with how long lists."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node, TensorType
from s2f_sim.kernels.events import list_bytes
from s2f_sim.kernels.masked_depthwise import Masking, count_bits, mask_bytes
from s2f_sim.kernels.packing import CACHE_BYTES, event_cycles, longest_burst, pair_type

Kernel = Literal["rows", "convolution", "depthwise", "grouped", "products"]
_TILE_BYTES = 16 * 1024
_MOST_TILE_POSITIONS = 128
_TOGETHER = (1, 2, 4, 8)

# Rough numbers, only to judge whether a second thread pays.
ACCUMULATIONS_PER_NS = 25.0
TYPICAL_COUNT = 0.3


@dataclass(frozen=True, slots=True)
class Layout:
    """How one synaptic layer is computed; any layout gives the same sums.

    Attributes:
        kernel: ``rows`` (linear and 1x1), ``convolution``, ``depthwise`` (a register of
            channels at a time), ``grouped`` (one convolution per group) accumulate; ``products``
            multiplies the image.
        together: neighbouring outputs along x that one weight row of a convolution serves.
        cache_bytes: what one block of weights may take, see `packing`.
    """

    kernel: Kernel
    together: int = 1
    cache_bytes: int = CACHE_BYTES


def choose_layout(node: Node, source: TensorType, rows: NDArray[Any]) -> Layout:
    """Which kernel accumulates one event_conv2d or event_linear; its shape decides."""
    if node.op == "event_linear":
        return Layout("rows")
    groups = node["groups"]
    if rows.shape[2] == 1 and groups == rows.shape[3] == source.channels:
        return Layout("depthwise")
    if groups > 1:
        return Layout("grouped")
    if rows.shape[:2] == (1, 1) and node["stride"] == (1, 1) and not any(node["padding"]):
        return Layout("rows")
    return Layout("convolution", _choose_together(node, rows))


def masking_of(node: Node, source: TensorType, rows: NDArray[Any]) -> Masking:
    """How a depthwise layer of weights [KH, KW, 1, C] lays channels and columns into masks."""
    dtype = narrowest_sum(rows[:, :, 0], source.levels)
    _, left, _, right = node["padding"]
    across, outputs = node["stride"][1], node.output.plane[1]
    padded = left + source.plane[1] + right
    return Masking.of(dtype, source.channels, rows.shape[1], across, outputs, padded)


def _choose_together(node: Node, rows: NDArray[Any]) -> int:
    """Narrow rows leave registers empty: let them serve several outputs of a line."""
    _, kernel_width, _, outputs = rows.shape
    stride: int = node["stride"][1]

    def cycles(together: int) -> float:
        columns = kernel_width + (together - 1) * stride
        return float(columns * event_cycles(together * outputs, rows.dtype) / together)

    fitting = [together for together in _TOGETHER if together <= node.output.plane[1]]
    return min(fitting, key=cycles)


def tile_positions(outputs: int) -> int:
    """Positions of a tile of membranes that leaves room for weights in the nearest cache."""
    return min(max(_TILE_BYTES // (4 * outputs), 8), _MOST_TILE_POSITIONS)


def largest_event_list_bytes(
    node: Node, source: TensorType, rows: NDArray[Any], layout: Layout
) -> int:
    """What one thread allocates to list spikes, however many there are.

    Lists are as long as if every neuron of the source spiked D times. Groups list theirs one
    after the other. A convolution keeps the lists of as many image rows as its kernel has, and
    as much again to merge them.
    """
    (_, width), channels, levels = source.plane, source.channels, source.levels
    match layout.kernel:
        case "rows":
            tile = min(tile_positions(node.output.channels), node.output.positions)
            return list_bytes(tile, channels, levels)
        case "depthwise":
            masking = masking_of(node, source, rows)
            return mask_bytes(masking, rows.shape[0], count_bits(levels))
        case "grouped":
            channels //= node["groups"]
    taps = int(rows.shape[0])
    lists = taps * list_bytes(width, channels, levels)
    merged = lists - 8 * (taps - 1) * (width + 1)
    return lists + merged


@dataclass(frozen=True, slots=True)
class NarrowSums:
    """What sums are held in while spikes arrive.

    Attributes:
        dtype: of a lane; the membrane's own, or a narrower one.
        burst: rows added before lanes are added to the wide membranes; None if none can be more.
    """

    dtype: np.dtype[Any]
    burst: int | None


def narrow_sums(source: TensorType, rows: NDArray[Any], layout: Layout) -> NarrowSums:
    """In what a layer accumulates; the bound of a burst follows from its largest weight."""
    if rows.dtype == np.float32:
        return NarrowSums(rows.dtype, None)
    if layout.kernel == "depthwise":
        return NarrowSums(narrowest_sum(rows[:, :, 0], source.levels), None)
    burst, most = longest_burst(rows), source.levels * rows[..., 0].size
    return NarrowSums(pair_type(rows.dtype), burst if burst < most else None)


def narrowest_sum(weight: NDArray[Any], levels: int) -> np.dtype[Any]:
    """The narrowest type that holds any sum of depthwise weights [KH, KW, C] times counts."""
    if weight.dtype == np.float32:
        return weight.dtype
    largest = int(np.abs(weight.astype(np.int64)).sum((0, 1)).max(initial=0)) * levels
    return np.dtype(next(t for t in (np.int16, np.int32, np.int64) if largest <= np.iinfo(t).max))
