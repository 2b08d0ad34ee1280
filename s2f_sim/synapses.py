"""Synaptic layers of the ``events`` engine: weights laid out once, accumulated ever after."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node, TensorType
from s2f_sim.depthwise import Depthwise
from s2f_sim.kernels.accumulate import OVERHANG, accumulate_convolution, accumulate_rows
from s2f_sim.kernels.aligned import aligned_copy
from s2f_sim.kernels.events import flat_window, list_length
from s2f_sim.kernels.finish import Finish, finish_positions, only_sums
from s2f_sim.kernels.multiply import LANES, multiply_convolution
from s2f_sim.kernels.packing import CACHE_BYTES, PackedRows, pack_rows
from s2f_sim.kernels.sharing import Share, alone
from s2f_sim.layout import ACCUMULATIONS_PER_NS, TYPICAL_COUNT, Layout, tile_positions
from s2f_sim.rooms import Arrays, Room
from s2f_sim.workers import Pace, Workers

# A rough speed of one core, only to judge whether a second thread pays.
PRODUCTS_PER_NS = 10.0

_FETCHES_PER_TILE = 4


class Synapse(Protocol):
    """Accumulates the spikes of one layer, or multiplies the image, and finishes the sums."""

    @property
    def bias(self) -> NDArray[Any]:
        """T[1 or H' * W', O], for `Finish`."""

    def accumulate(self, source: NDArray[Any], finish: Finish, workers: Workers) -> None:
        """Counts uint8[H, W, I], or an image, become what ``finish`` says."""


def prepare(
    node: Node, source: TensorType, arrays: Sequence[NDArray[Any]], layout: Layout
) -> Synapse:
    """Lay out the weights of one event_conv2d or event_linear for its kernel."""
    rows, bias = arrays
    if rows.ndim == 2:  # noqa: PLR2004 (linear: [I, O])
        rows = rows[None, None]
    match layout.kernel:
        case "rows":
            packed = pack_rows(rows[0, 0], layout.cache_bytes)
            return _Rows.of(packed, flat_bias(bias), source)
        case "grouped":
            return _Grouped.of(node, source, rows, bias, layout)
        case "depthwise":
            return Depthwise.of(node, source, rows, flat_bias(bias))
        case _:
            return _Convolution.of(node, source, rows, bias, layout)


def prepare_products(
    node: Node, arrays: Sequence[NDArray[Any]], largest_pixel: int | None
) -> Synapse:
    """Lay out the weights of a plain conv2d that multiplies.

    Args:
        node: of one group.
        arrays: its weight and bias.
        largest_pixel: bound of the integers it reads, if it reads integers and that is known.
    """
    weight, bias = arrays
    lines = weight.transpose(2, 3, 1, 0).reshape(weight.shape[2], -1, weight.shape[0])
    narrow = weight.itemsize <= np.dtype(np.int16).itemsize
    paired = narrow and largest_pixel is not None and largest_pixel <= np.iinfo(np.int16).max
    odd = lines.shape[1] % 2 if paired else 0
    rows = np.pad(lines.astype(bias.dtype), ((0, 0), (0, odd), (0, -lines.shape[2] % LANES)))
    if paired:
        short = rows.astype(np.int16)
        rows = np.stack([short[:, ::2], short[:, 1::2]], axis=-1).view(np.int32)[..., 0]
    padding = node["padding"]
    kind = np.dtype(np.int16) if paired else bias.dtype
    geometry = node["stride"], padding, node.output.plane
    pace = Pace(node.output.positions * rows.size / PRODUCTS_PER_NS)
    room = Room((node.output.plane[1] * len(bias) + rows.shape[2], bias.dtype))
    return _Products(aligned_copy(rows), flat_bias(bias), kind, *geometry, room, pace)


def flat_bias(bias: NDArray[Any]) -> NDArray[Any]:
    """Bias [O] or map [O, H, W] as [1, O] or [H * W, O]."""
    # A copy of its own: kernels are compiled once more for arrays that are read-only.
    return np.array(bias.reshape(bias.shape[0], -1).T, order="C")


@dataclass(frozen=True, eq=False, slots=True)
class _Rows:
    """Linear layers and 1x1 convolutions."""

    packed: PackedRows
    bias: NDArray[Any]
    channels: int
    tile: int
    room: Room
    pace: Pace

    @classmethod
    def of(cls, packed: PackedRows, bias: NDArray[Any], source: TensorType) -> "_Rows":
        """Of rows [I, O]."""
        outputs = bias.shape[1]
        tile = min(tile_positions(outputs), source.positions)
        synapses = source.positions * source.channels * outputs
        return cls(
            packed,
            bias,
            source.channels,
            tile,
            Room(
                (list_length(tile, source.channels, source.levels), np.uint32),
                (tile + 1, np.int64),
                (tile * outputs + OVERHANG, bias.dtype),
            ),
            Pace(synapses * TYPICAL_COUNT / ACCUMULATIONS_PER_NS),
        )

    def accumulate(self, source: NDArray[Any], finish: Finish, workers: Workers) -> None:
        packed = self.packed
        arrays = flat_window(source), self.channels, packed.lanes, packed.blocks, packed.burst

        def work(room: Arrays, share: Share) -> None:
            given: Any = *arrays, self.tile, *room, finish, share
            accumulate_rows(*given)

        workers.over_rows(source.size // self.channels, work, self.pace, self.room)


@dataclass(frozen=True, eq=False, slots=True)
class _Convolution:
    """Convolutions across all channels."""

    packed: PackedRows
    bias: NDArray[Any]
    window: tuple[int, int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    plane: tuple[int, int]
    tile: int
    room: Room
    pace: Pace

    @classmethod
    def of(
        cls,
        node: Node,
        source: TensorType,
        rows: NDArray[Any],
        bias: NDArray[Any],
        layout: Layout,
    ) -> "_Convolution":
        """Weights [KH, KW, I, O], of ``together`` outputs side by side in one row."""
        together, (down, across) = layout.together, node["stride"]
        height, width, channels, outputs = rows.shape
        side = width + (together - 1) * across
        wide = np.zeros((height, side, channels, together, outputs), rows.dtype)
        for k in range(together):
            wide[:, k * across : k * across + width, :, k] = rows
        packed = pack_rows(wide.reshape(-1, together * outputs), layout.cache_bytes)
        plane, synapses = node.output.plane, node.output.positions * rows.size
        tile, places = _tile_columns(packed, plane[1], together, outputs), source.plane[1] + 1
        listed = height * list_length(source.plane[1], channels, source.levels)
        return cls(
            packed,
            flat_bias(bias),
            (height, side, together),
            (down, across * together),
            node["padding"][:2],
            plane,
            tile,
            Room(
                (listed, np.uint32),
                (height * places, np.int64),
                (listed, np.uint32),
                (places, np.int64),
                ((tile + together) * outputs + OVERHANG, bias.dtype),
            ),
            Pace(synapses * TYPICAL_COUNT / ACCUMULATIONS_PER_NS),
        )

    def accumulate(self, source: NDArray[Any], finish: Finish, workers: Workers) -> None:
        packed, (lines, columns) = self.packed, self.plane
        arrays = flat_window(source), source.shape, packed.lanes, packed.blocks, packed.burst
        geometry = self.window, self.stride, self.padding, columns, self.tile

        def work(room: Arrays, share: Share) -> None:
            given: Any = *arrays, *geometry, *room, finish, share
            accumulate_convolution(*given)

        workers.over_rows(lines, work, self.pace, self.room)


def _tile_columns(packed: PackedRows, columns: int, together: int, outputs: int) -> int:
    """As many as leave room for a block of weights, or enough to pay for fetching it."""
    largest_block = packed.lanes.nbytes // len(packed.blocks)
    tile = tile_positions(outputs)
    tile = tile if largest_block <= CACHE_BYTES else _FETCHES_PER_TILE * tile
    return min(-(-tile // together), -(-columns // together)) * together


@dataclass(frozen=True, eq=False, slots=True)
class _Grouped:
    """Convolutions in groups: one convolution per slice of the channels."""

    groups: tuple[_Convolution, ...]
    bias: NDArray[Any]

    @classmethod
    def of(
        cls,
        node: Node,
        source: TensorType,
        rows: NDArray[Any],
        bias: NDArray[Any],
        layout: Layout,
    ) -> "_Grouped":
        """Weights [KH, KW, I / groups, O]."""
        groups = node["groups"]
        parts = zip(np.split(rows, groups, axis=3), np.split(bias, groups), strict=True)
        return cls(
            tuple(_Convolution.of(node, source, part, own, layout) for part, own in parts),
            np.zeros((1, rows.shape[3]), bias.dtype),
        )

    def accumulate(self, source: NDArray[Any], finish: Finish, workers: Workers) -> None:
        parts = np.split(source, len(self.groups), axis=2)
        sums = []
        for group, part in zip(self.groups, parts, strict=True):
            lines, columns = group.plane
            membrane = np.empty((lines * columns, group.bias.shape[1]), self.bias.dtype)
            group.accumulate(np.ascontiguousarray(part), only_sums(group.bias, membrane), workers)
            sums.append(membrane)
        finish_positions(np.concatenate(sums, axis=1).reshape(-1), finish, alone(len(sums[0])))


@dataclass(frozen=True, eq=False, slots=True)
class _Products:
    """The encoding layer; for its rows see `multiply_convolution`."""

    rows: NDArray[Any]
    bias: NDArray[Any]
    pixel: np.dtype[Any]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    plane: tuple[int, int]
    room: Room
    pace: Pace

    def accumulate(self, source: NDArray[Any], finish: Finish, workers: Workers) -> None:
        top, left, bottom, right = self.padding
        height, width, channels = source.shape
        # One more column: the last pair may look beyond its window.
        image = np.zeros((top + height + bottom, left + width + right + 1, channels), self.pixel)
        inside = image[top : top + height, left : left + width]
        # An image comes channel by channel: three long loops cost less than many of three.
        for channel in range(channels):
            inside[..., channel] = source[..., channel]
        lines, columns = self.plane
        pixels = image.reshape(-1), image[0].size, self.rows.reshape(-1), self.rows.shape, channels

        def work(room: Arrays, share: Share) -> None:
            given: Any = *pixels, self.stride, columns, *room, finish, share
            multiply_convolution(*given)

        workers.over_rows(lines, work, self.pace, self.room)


READING_IN_PLACE = _Rows, _Convolution, Depthwise
"""Synapses that do nothing but call one kernel, on the counts they are given."""
