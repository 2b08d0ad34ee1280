"""Synaptic layers of the ``events`` engine: weights laid out once, accumulated ever after."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node, TensorType
from s2f_sim.kernels.accumulate import accumulate_convolution, accumulate_rows
from s2f_sim.kernels.aligned import aligned_rows, aligned_zeros
from s2f_sim.kernels.depthwise import accumulate_depthwise
from s2f_sim.kernels.events import build_events, event_capacity, event_list_bytes
from s2f_sim.workers import Workers

# Rough speeds of one core, only to judge whether a second thread pays.
ACCUMULATIONS_PER_NS = 20.0
NEURONS_LISTED_PER_NS = 1.0
TYPICAL_COUNT = 0.5

Kernel = Literal["rows", "convolution", "depthwise", "grouped"]


def _estimate_ns(positions: int, weight: NDArray[Any]) -> float:
    return positions * weight.size * TYPICAL_COUNT / ACCUMULATIONS_PER_NS


class Synapse(Protocol):
    """Accumulates the spikes of one layer."""

    def accumulate(self, counts: NDArray[Any], workers: Workers) -> NDArray[Any]:
        """Counts uint8[H, W, I] -> membranes [H', W', L] of the bias's type, bias included."""


def choose_kernel(node: Node, source: TensorType, rows: NDArray[Any]) -> Kernel:
    """Which kernel accumulates one event_conv2d or event_linear; its shape decides."""
    if node.op == "event_linear":
        return "rows"
    groups = node["groups"]
    if rows.shape[2] == 1 and groups == rows.shape[3] == source.channels:
        return "depthwise"
    if groups > 1:
        return "grouped"
    pointwise = rows.shape[:2] == (1, 1) and node["stride"] == (1, 1) and not any(node["padding"])
    return "rows" if pointwise else "convolution"


def prepare(node: Node, source: TensorType, arrays: Sequence[NDArray[Any]]) -> Synapse:
    """Lay out the weights of one event_conv2d or event_linear for its kernel."""
    rows, bias = arrays
    plane, levels = node.output.plane, source.levels
    kernel = choose_kernel(node, source, rows)
    if kernel == "rows":
        weight = aligned_rows(rows.reshape(rows.shape[-2:]))
        return _Rows(plane, weight, _padded_bias(bias), levels)
    if kernel == "grouped":
        return _Grouped(_by_group(node, source, rows, bias), rows.shape[3] // node["groups"])
    geometry = node["stride"], node["padding"][:2]
    if kernel == "depthwise":
        weight = aligned_rows(rows[:, :, 0, :])
        return _Depthwise(plane, weight, _padded_bias(bias), levels, *geometry)
    return _Convolution(plane, aligned_rows(rows), _padded_bias(bias), levels, *geometry)


def largest_event_list_bytes(node: Node, source: TensorType, rows: NDArray[Any]) -> int:
    """What one event_conv2d or event_linear allocates to list spikes, however many there are.

    Lists are as long as if every neuron of the source spiked D times. Groups list theirs one
    after the other; what convolutions merge from these lists is not counted.
    """
    (height, width), channels = source.plane, source.channels
    match choose_kernel(node, source, rows):
        case "rows":
            height, width = source.positions, 1
        case "grouped":
            channels //= node["groups"]
    return event_list_bytes(height, width, channels, source.levels)


def _padded_bias(bias: NDArray[Any]) -> NDArray[Any]:
    """Bias [O] or map [O, H, W] as [L] or [H, W, L]."""
    return aligned_rows(bias if bias.ndim == 1 else bias.transpose(1, 2, 0))


def list_events(
    counts: NDArray[Any], levels: int, workers: Workers
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Event lists of counts uint8[H, W, C]: see ``build_events``."""
    height, width, channels = counts.shape
    index = np.empty(event_capacity(height, width, channels, levels), np.uint32)
    first = np.empty((height, width + 1), np.int64)
    workers.over_rows(
        height,
        lambda a, b: build_events(counts, a, b, index, first),
        counts.size / NEURONS_LISTED_PER_NS,
    )
    return first, index


def _membranes(plane: tuple[int, int], bias: NDArray[Any]) -> NDArray[Any]:
    """Membranes [H, W, L] that hold their bias, [L] or [H, W, L]."""
    membrane = aligned_zeros((*plane, bias.shape[-1]), bias.dtype)
    membrane[:] = bias
    return membrane


@dataclass(frozen=True, eq=False, slots=True)
class _Rows:
    """Linear layers and 1x1 convolutions: weight [I, L], float32 or integers."""

    plane: tuple[int, int]
    weight: NDArray[Any]
    bias: NDArray[Any]
    levels: int

    def accumulate(self, counts: NDArray[Any], workers: Workers) -> NDArray[Any]:
        positions = counts.reshape(-1, 1, counts.shape[2])
        first, index = list_events(positions, self.levels, workers)
        membrane = _membranes(self.plane, self.bias)
        target = membrane.reshape(-1, membrane.shape[2])
        workers.over_rows(
            len(target),
            lambda a, b: accumulate_rows(first, index, self.weight, target, a, b),
            _estimate_ns(len(target), self.weight),
        )
        return membrane


@dataclass(frozen=True, eq=False, slots=True)
class _Convolution:
    """Convolutions across all channels: weight [KH, KW, I, L], float32 or integers."""

    plane: tuple[int, int]
    weight: NDArray[Any]
    bias: NDArray[Any]
    levels: int
    stride: tuple[int, int]
    padding: tuple[int, int]

    def accumulate(self, counts: NDArray[Any], workers: Workers) -> NDArray[Any]:
        first, index = list_events(counts, self.levels, workers)
        membrane = _membranes(self.plane, self.bias)
        arrays = (first, index, self.weight, membrane)
        add = self._adding(counts.shape[2])
        geometry = (self.stride, self.padding)
        workers.over_rows(
            self.plane[0],
            lambda a, b: add(*arrays, *geometry, a, b),
            _estimate_ns(self.plane[0] * self.plane[1], self.weight),
        )
        return membrane

    def _adding(self, channels: int) -> Callable[..., None]:
        """The kernel."""
        del channels
        return accumulate_convolution


class _Depthwise(_Convolution):
    """Depthwise convolutions: weight [KH, KW, L], float32 or integers."""

    __slots__ = ()

    def _adding(self, channels: int) -> Callable[..., None]:
        return partial(accumulate_depthwise, channels)


@dataclass(frozen=True, eq=False, slots=True)
class _Grouped:
    """Convolutions in groups: one convolution per slice of the channels."""

    groups: tuple[_Convolution, ...]
    outputs_per_group: int

    def accumulate(self, counts: NDArray[Any], workers: Workers) -> NDArray[Any]:
        parts = np.split(counts, len(self.groups), axis=2)
        membranes = [
            group.accumulate(np.ascontiguousarray(part), workers)
            for group, part in zip(self.groups, parts, strict=True)
        ]
        unpadded = [membrane[:, :, : self.outputs_per_group] for membrane in membranes]
        return aligned_rows(np.concatenate(unpadded, axis=2))


def _by_group(
    node: Node, source: TensorType, rows: NDArray[Any], bias: NDArray[Any]
) -> tuple[_Convolution, ...]:
    groups = node["groups"]
    return tuple(
        _Convolution(
            node.output.plane,
            aligned_rows(part),
            _padded_bias(part_bias),
            source.levels,
            node["stride"],
            node["padding"][:2],
        )
        for part, part_bias in zip(
            np.split(rows, groups, axis=3), np.split(bias, groups), strict=True
        )
    )
