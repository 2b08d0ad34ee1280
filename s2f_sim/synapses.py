"""Synaptic layers of the ``events`` engine: weights laid out once, accumulated ever after."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node, TensorType
from s2f_sim.depthwise import Depthwise
from s2f_sim.kernels.accumulate import OVERHANG, accumulate_convolution, accumulate_rows
from s2f_sim.kernels.events import flat_window, list_length
from s2f_sim.kernels.finish import Finish, finish_positions, only_sums
from s2f_sim.kernels.packing import CACHE_BYTES, PackedRows, pack_rows
from s2f_sim.kernels.sharing import Share, alone
from s2f_sim.layout import ACCUMULATIONS_PER_NS, TYPICAL_COUNT, Layout, tile_positions
from s2f_sim.rooms import Arrays, Room
from s2f_sim.workers import Pace, Workers

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


READING_IN_PLACE = _Rows, _Convolution, Depthwise
"""Synapses that do nothing but call one kernel, on what they are given."""
