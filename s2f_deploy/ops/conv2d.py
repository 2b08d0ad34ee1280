"""Convolution: membrane[o, y, x] = bias[o] + Σ weight[o, i, ky, kx] · input[i, y', x'].

Two operations share this module. ``conv2d`` multiplies: it reads real values, or counts before
the graph is lowered. ``event_conv2d`` reads counts and only accumulates: its weights are rows, one
for every tap and source channel, that a spike adds to the membranes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import ShapeMismatchError
from s2f_deploy.ir.graph import DType, Node, TensorType
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.arithmetic import accumulator, sum_type, with_bias
from s2f_deploy.ops.op import EVENT_ONLY, EVERY_LEVEL, Arrays, Op


def output_plane(node: Node, source: TensorType, kernel: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the result; ``padding`` is top, left, bottom, right."""
    top, left, bottom, right = node["padding"]
    height, width = source.plane
    stride_y, stride_x = node["stride"]
    return (
        (height + top + bottom - kernel[0]) // stride_y + 1,
        (width + left + right - kernel[1]) // stride_x + 1,
    )


def _infer(
    node: Node, source: TensorType, weight_shape: tuple[int, ...], dtype: DType
) -> TensorType:
    out_channels, in_channels, *kernel = weight_shape
    groups = node["groups"]
    if source.channels != in_channels * groups or out_channels % groups:
        raise ShapeMismatchError(
            f"{node.name} has weights for {in_channels * groups} channels but is fed {source}",
            where=node.origin,
            fix="check the widths of the checkpoint against the network's",
        )
    plane = output_plane(node, source, (kernel[0], kernel[1]))
    if min(plane) < 1:
        raise ShapeMismatchError(
            f"{node.name} has a {kernel[0]}x{kernel[1]} kernel but is fed {source}",
            where=node.origin,
            fix="use a larger input image",
        )
    spatial = plane if len(source.shape) == 3 else plane[1:]  # noqa: PLR2004 (C, H, W)
    return TensorType((out_channels, *spatial), dtype)


def infer_type(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """(I, H, W), weight[O, I / groups, KH, KW] -> (O, H', W'); tokens (I, N) -> (O, N')."""
    return _infer(node, inputs[0], params[0].shape, sum_type(node, params))


def infer_event_type(node: Node, inputs: Sequence[TensorType], params: Arrays) -> TensorType:
    """(I, H, W), rows[KH, KW, I / groups, O] -> (O, H', W'); tokens (I, N) -> (O, N')."""
    kernel_height, kernel_width, in_channels, out_channels = params[0].shape
    shape = (out_channels, in_channels, kernel_height, kernel_width)
    return _infer(node, inputs[0], shape, sum_type(node, params))


def dense(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """Any number type[I, H, W] -> real weights' type or integers[O, H', W'], a product per tap."""
    weight, bias = params
    wide = accumulator(inputs[0], weight)
    groups = node["groups"]
    out_channels, group_channels, kernel_height, kernel_width = weight.shape
    source = TensorType(inputs[0].shape, DType.FLOAT32)
    height, width = output_plane(node, source, (kernel_height, kernel_width))
    stride_y, stride_x = node["stride"]
    top, left, bottom, right = node["padding"]
    image = inputs[0].reshape(source.channels, *source.plane).astype(wide)
    image = np.pad(image, ((0, 0), (top, bottom), (left, right)))
    rows = weight.reshape(groups, out_channels // groups, group_channels, -1).astype(wide)
    result = np.zeros((groups, out_channels // groups, height * width), wide)
    for tap in range(kernel_height * kernel_width):
        y, x = divmod(tap, kernel_width)
        seen = image[
            :,
            y : y + (height - 1) * stride_y + 1 : stride_y,
            x : x + (width - 1) * stride_x + 1 : stride_x,
        ].reshape(groups, group_channels, -1)
        # A depthwise product is elementwise; matmul would take it one row at a time.
        result += rows[..., tap] * seen if group_channels == 1 else rows[..., tap] @ seen
    total = result.reshape(out_channels, height, width)
    biased = with_bias(node, total, bias.reshape(out_channels, *_ones(bias)))
    return biased.reshape(node.output.shape)


def _ones(bias: NDArray[Any]) -> tuple[int, ...]:
    """A bias is one value per channel, or a whole map where the border differs."""
    return bias.shape[1:] or (1, 1)


def dense_event(node: Node, inputs: Arrays, params: Arrays) -> NDArray[Any]:
    """The same from weights in rows: counts[I, H, W] -> float[O, H', W']."""
    rows, bias = params
    return dense(node, inputs, [rows.transpose(3, 2, 0, 1), bias])


def interval(
    node: Node, _: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """Every source channel at the end of its range that a weight's sign prefers."""
    weight, bias = params
    by_tap = weight.reshape(*weight.shape[:2], -1)
    return inputs[0].weighted(by_tap, bias, node["groups"])


def event_interval(
    node: Node, types: Sequence[TensorType], inputs: Sequence[Interval], params: Arrays
) -> Interval:
    """The same from weights in rows."""
    return interval(node, types, inputs, [params[0].transpose(3, 2, 0, 1), params[1]])


def taps_per_position(size: int, outputs: int, kernel: int, stride: int, before: int) -> Any:
    """int64[size]: in how many (output, tap) pairs each input of one axis takes part.

    >>> taps_per_position(4, 4, 3, 1, 1).tolist()
    [2, 3, 3, 2]
    """
    outs, taps = np.arange(outputs)[:, None], np.arange(kernel)
    reached = (outs * stride + taps - before).ravel()
    return np.bincount(reached[(reached >= 0) & (reached < size)], minlength=size)


def _synapses(node: Node, source: TensorType, shape: tuple[int, ...]) -> NDArray[Any]:
    out_channels, _, kernel_height, kernel_width = shape
    plane = output_plane(node, source, (kernel_height, kernel_width))
    axes = [
        taps_per_position(size, outputs, kernel, stride, before)
        for size, outputs, kernel, stride, before in zip(
            source.plane,
            plane,
            (kernel_height, kernel_width),
            node["stride"],
            node["padding"][:2],
            strict=True,
        )
    ]
    reached: NDArray[Any] = np.outer(*axes).ravel() * (out_channels // node["groups"])
    return reached


def fan_out(node: Node, source: TensorType, params: Arrays) -> NDArray[Any]:
    """int64[H * W]: synapses a spike reaches from each position, border effects included."""
    return _synapses(node, source, params[0].shape)


def event_fan_out(node: Node, source: TensorType, params: Arrays) -> NDArray[Any]:
    """int64[H * W]: synapses a spike reaches from each position, border effects included."""
    return _synapses(node, source, params[0].transpose(3, 2, 0, 1).shape)


def dense_macs(node: Node, inputs: Sequence[TensorType], params: Arrays) -> int:
    """Products with taps inside the image."""
    return int(fan_out(node, inputs[0], params).sum()) * inputs[0].channels


def event_dense_macs(node: Node, inputs: Sequence[TensorType], params: Arrays) -> int:
    """Products with taps inside the image, of the layer this one replaces."""
    return int(event_fan_out(node, inputs[0], params).sum()) * inputs[0].channels


def padded_macs(node: Node, _: Sequence[TensorType], params: Arrays) -> int:
    """Products with every tap: outputs times kernel size."""
    return node.output.positions * params[0].size


def roundings(_: Node, __: Sequence[TensorType], params: Arrays) -> int:
    """A product and a sum per tap and source channel at most, and the bias."""
    return int(params[0][0].size) + 1


CONV2D = Op(
    "conv2d",
    EVERY_LEVEL,
    infer_type,
    dense,
    fan_out,
    dense_macs,
    padded_macs,
    roundings,
    interval,
)
EVENT_CONV2D = Op(
    "event_conv2d",
    EVENT_ONLY,
    infer_event_type,
    dense_event,
    event_fan_out,
    event_dense_macs,
    padded_macs,
    interval=event_interval,
)
