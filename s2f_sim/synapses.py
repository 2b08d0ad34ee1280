"""Synaptic layers of the ``events`` engine: weights laid out once, accumulated ever after."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node, TensorType
from s2f_sim.kernels.accumulate import accumulate_convolution, accumulate_rows
from s2f_sim.kernels.aligned import aligned_rows, aligned_zeros
from s2f_sim.kernels.depthwise import accumulate_depthwise
from s2f_sim.kernels.events import build_events, event_capacity
from s2f_sim.workers import Workers

# Rough speeds of one core, only to judge whether a second thread pays.
ACCUMULATIONS_PER_NS = 20.0
NEURONS_LISTED_PER_NS = 1.0
TYPICAL_COUNT = 0.5


def _estimate_ns(positions: int, weight: NDArray[Any]) -> float:
    return positions * weight.size * TYPICAL_COUNT / ACCUMULATIONS_PER_NS


class Synapse(Protocol):
    """Accumulates the spikes of one layer."""

    def accumulate(self, counts: NDArray[Any], workers: Workers) -> NDArray[Any]:
        """Counts uint8[H, W, I] -> membranes [H', W', L] of the bias's type, bias included."""


def prepare(node: Node, source: TensorType, arrays: Sequence[NDArray[Any]]) -> Synapse:
    """Choose the kernel of one event_conv2d or event_linear by its shape."""
    rows, bias = arrays
    levels = source.levels
    if node.op == "event_linear":
        return _Rows((1, 1), aligned_rows(rows), _padded_bias(bias), levels)
    plane = node.output.plane
    stride, padding = node["stride"], node["padding"]
    groups, group_channels = node["groups"], rows.shape[2]
    if groups == rows.shape[3] and group_channels == 1 and groups == source.channels:
        weight = aligned_rows(rows[:, :, 0, :])
        return _Depthwise(plane, weight, _padded_bias(bias), levels, stride, padding[:2])
    if groups > 1:
        return _Grouped(_by_group(node, source, rows, bias), rows.shape[3] // groups)
    if rows.shape[:2] == (1, 1) and stride == (1, 1) and not any(padding):
        return _Rows(plane, aligned_rows(rows[0, 0]), _padded_bias(bias), levels)
    return _Convolution(plane, aligned_rows(rows), _padded_bias(bias), levels, stride, padding[:2])


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
