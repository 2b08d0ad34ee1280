"""Max pooling. Of counts it is wiring: an OR of spikes, timestep by timestep.

A neuron with count n spikes in timesteps 1..n, so that the OR of several trains is the train of
the largest count. Of membranes it is a comparison; positions on the padding never win.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import ShapeMismatchError
from s2f_deploy.ir.graph import Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.conv2d import output_plane
from s2f_deploy.ops.op import EVERY_LEVEL, Arrays, Op

IMAGE_RANK = 3


def infer_type(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """(C, H, W) -> (C, H', W'); ``padding`` is top, left, bottom, right."""
    del params
    (source,), kernel, padding = inputs, node["kernel"], node["padding"]
    if len(source.shape) != IMAGE_RANK or len(padding) != 2 * len(kernel):
        raise _unfit(node, source)
    plane = output_plane(node, source, kernel)
    # A window on nothing but padding has no largest element.
    if min(plane) < 1 or any(p >= k for p, k in zip(padding, kernel * 2, strict=True)):
        raise _unfit(node, source)
    return replace(source, shape=(source.channels, *plane))


def dense(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """Any number type[C, H, W] -> the same[C, H', W']; along one axis, then the other."""
    del params
    (value,) = inputs
    lowest = -np.inf if value.dtype.kind == "f" else np.iinfo(value.dtype).min
    top, left, bottom, right = node["padding"]
    padded = np.pad(value, ((0, 0), (top, bottom), (left, right)), constant_values=lowest)
    for axis, (kernel, stride) in enumerate(zip(node["kernel"], node["stride"], strict=True), 1):
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis)
        every = (slice(None),) * axis + (slice(None, None, stride),)
        padded = windows[every].max(-1)
    return padded


def interval(
    node: Node, types: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """Unchanged: a maximum is one of its operands."""
    del node, types, params
    return inputs[0]


def comparisons(node: Node) -> int:
    """Of one sample: one less than there are taps, for every output."""
    rows, columns = node["kernel"]
    return node.output.channels * node.output.positions * int(rows * columns - 1)


def _unfit(node: Node, source: TensorType) -> ShapeMismatchError:
    return ShapeMismatchError(
        f"{node.name} pools {node['kernel']} of {source}, padded by {node['padding']}",
        where=node.origin,
        fix="pool images, with padding smaller than the kernel",
    )


MAX_POOL = Op("max_pool", EVERY_LEVEL, infer_type, dense, interval=interval)
