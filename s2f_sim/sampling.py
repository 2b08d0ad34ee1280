"""Deformable sampling in the ``events`` engine, and the work that it is.

Attention spikes trigger it. With offsets as they are (*exact*) every tap with a spike multiplies
the pixels around it, of each channel of its group. With rounded offsets (*dyadic*) it adds, in
each channel:

- with the tap's first spike, the sample is interpolated: along x in the rows above and below it
  that lie in the image and have a share, then along y. Between a and c, a fraction f away from a,
  that is ``(a << b) + f · (c - a)``: a difference, and a shifted addition for every bit of f that
  is set; nothing where f is 0;
- with every spike, the sample is added to the sum.

Taps without a spike, or without a pixel of the image around them, cost nothing. Rounding offsets
and finding pixels is addressing, and not counted, as that of every other layer. Of float32 weights
two engines may add an offset up differently, and rarely count another bit.

Source: ``spike2former.md`` section 13.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.ir.graph import Node, TensorType
from s2f_deploy.ops.deformable_sample import rounded_offsets
from s2f_sim.kernels.deformable import (
    Geometry,
    Spiking,
    Taps,
    add_taps,
    empty_taps,
    list_dyadic,
    list_exact,
)
from s2f_sim.run import LayerCounts
from s2f_sim.workers import Pace, Workers

# Rough speeds of one core, only to judge whether a second thread pays.
PIXELS_PER_NS = 1.0
TYPICAL_TAPS = 0.5

Array = NDArray[Any]


def sample(node: Node, inputs: Sequence[Array], arrays: Sequence[Array], workers: Workers) -> Array:
    """The value of a deformable_sample, channels last."""
    if node.output.steps == 1:
        return _sampled(node, inputs, arrays, workers)
    return np.stack(
        [_sampled(node, now, arrays, workers) for now in zip(*inputs, strict=True)],
    )


def _sampled(
    node: Node, inputs: Sequence[Array], arrays: Sequence[Array], workers: Workers
) -> Array:
    """T[H, W, C], T[H, W, G · K · 2], uint8[H, W, G · K] -> T[H, W, C]."""
    image, offsets, counts = (np.ascontiguousarray(value) for value in inputs)
    groups, one, kind = int(node["groups"]), 1 << int(node["bits"]), node.output.dtype.array_type
    result = np.empty((*node.output.plane, node.output.channels), kind)
    ones = np.full(1, one, _share_type(node))
    scale = np.ones(1, np.int64) if kind.kind == "i" else np.full(1, one**-2, np.float32)

    def rows(first: int, last: int) -> None:
        taps = _listed(node, offsets, counts, arrays, first, last)
        add_taps(image, taps, groups, ones, scale, result[first:last])

    pixels = 4 * counts.size * (image.shape[2] // groups)
    workers.over_ranges(len(image), rows, Pace(pixels * TYPICAL_TAPS / PIXELS_PER_NS))
    return result


def _share_type(node: Node) -> np.dtype[Any]:
    """Of offsets on a grid integers."""
    return np.dtype(np.int64 if node["bits"] else np.float32)


def _listed(
    node: Node, offsets: Array, counts: Array, arrays: Sequence[Array], first: int, last: int
) -> Taps:
    """Taps of rows ``first`` to ``last``, channels last."""
    bits, groups, here = int(node["bits"]), int(node["groups"]), counts[first:last]
    # Of booleans, and by whole rows, NumPy is several times as fast.
    at = np.flatnonzero(here != 0)
    read = np.take(offsets[first:last].reshape(-1, 2), at, axis=0)
    if bits:
        shifts = _of_taps(arrays[0], at, counts.shape[2]) if arrays else None
        read = rounded_offsets(read, bits, shifts)
    spiking = Spiking(at, here.reshape(-1)[at], read)
    geometry = Geometry(*node.output.plane, groups, int(node["kernel"]))
    taps = empty_taps(here.shape[0] * here.shape[1] * groups, len(at), _share_type(node))
    if bits:
        list_dyadic(spiking, geometry, bits, first, taps)
    else:
        list_exact(spiking, geometry, first, taps)
    return taps


def _of_taps(shifts: Array, at: Array, channels: int) -> Array:
    """Shifts [G · K · 2] or [1] of the two offsets of every listed tap."""
    if (shifts == shifts[0]).all():
        return shifts[:1]
    by_tap: Array = shifts.reshape(-1, 2)[at % channels]
    return by_tap


def largest_list_bytes(node: Node, attention: TensorType) -> int:
    """What one thread allocates to list taps, if every one has a spike."""
    taps, lists = attention.channels * attention.positions, attention.positions * node["groups"]
    of_tap = sum(array.nbytes for array in empty_taps(0, 1, _share_type(node))[1:])
    return 8 * (int(lists) + 1) + taps * of_tap


@dataclass(frozen=True, slots=True)
class SamplingWork:
    """What one deformable sampling did for one sample.

    Attributes:
        spikes: of attention, that arrive in every timestep.
        additions: that they cause.
        products: that they cause, of all timesteps.
    """

    spikes: tuple[int, ...]
    additions: tuple[int, ...]
    products: int

    def of(self, layer: LayerCounts) -> LayerCounts:
        """The counts of the layer, with what it did."""
        accumulated = self.additions if layer.kind == "dyadic_sampling" else ()
        return layer._replace(
            spikes_by_timestep=self.spikes,
            ac_by_timestep=accumulated,
            mac=self.products,
        )


def sampling_work(
    node: Node, inputs: Sequence[Array], arrays: Sequence[Array], timesteps: int
) -> SamplingWork:
    """Count one sample's.

    Args:
        node: a deformable_sample.
        inputs: offsets T[G · K · 2, H, W] and counts uint8[G · K, H, W], or of T real timesteps.
        arrays: the node's own.
        timesteps: K.
    """
    steps, plane = node.output.steps, node.output.plane
    by_step = (
        np.ascontiguousarray(v.reshape(steps, -1, *plane).transpose(0, 2, 3, 1)) for v in inputs
    )
    parts = [
        _work_at_once(node, offsets, counts, arrays, timesteps)
        for offsets, counts in zip(*by_step, strict=True)
    ]
    return SamplingWork(
        tuple(n for part in parts for n in part.spikes),
        tuple(n for part in parts for n in part.additions),
        sum(part.products for part in parts),
    )


def _work_at_once(
    node: Node, offsets: Array, counts: Array, arrays: Sequence[Array], timesteps: int
) -> SamplingWork:
    """Of one real timestep, channels last."""
    taps = _listed(node, offsets, counts, arrays, 0, len(counts))
    found, channels = int(taps.first[-1]), node.output.channels // int(node["groups"])
    levels = range(1, timesteps + 1)
    spikes = tuple(int(np.count_nonzero(counts >= d)) for d in levels)
    rows, columns = (
        _pixels_read(taps.cells[:found, axis], taps.shares[:found, axis], side)
        for axis, side in enumerate(node.output.plane)
    )
    if not node["bits"]:
        return SamplingWork(spikes, (0,) * timesteps, channels * int((rows * columns).sum()))
    down, across = (_interpolation(taps.shares[:found, axis]) for axis in (0, 1))
    first = int((rows * across + down).sum())
    added = [int(np.count_nonzero(taps.counts[:found] >= d)) for d in levels]
    additions = (channels * (n + (first if d == 1 else 0)) for d, n in enumerate(added, 1))
    return SamplingWork(spikes, tuple(additions), 0)


def _pixels_read(cells: Array, shares: Array, side: int) -> Array:
    """int64[N]: of the two pixels along an axis, those in the image with a share."""
    before, behind = cells >= 0, (cells + 1 < side) & (shares > 0)
    return before.astype(np.int64) + behind


def _interpolation(shares: Array) -> Array:
    """int64[N]: additions of one interpolation with a fraction."""
    return np.bitwise_count(shares).astype(np.int64) + (shares > 0)
