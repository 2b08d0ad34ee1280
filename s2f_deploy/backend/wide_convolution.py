"""Convolution in double precision, tap by tap: no runtime has it as one operator."""

import numpy as np

from s2f_deploy.backend.onnx_writer import Array, OnnxWriter
from s2f_deploy.ir.graph import Node, TensorType


def wide_convolution(
    out: OnnxWriter, node: Node, source: TensorType, weight: Array, name: str
) -> str:
    """Append the convolution without its bias; returns the name of a double [B, O, ...].

    Args:
        out: the model under construction; what the node reads is a tensor of its input's name.
        node: a conv2d.
        source: type of what it reads.
        weight: float64[O, I / groups, KH, KW].
        name: of the result, and stem of all names on the way to it.
    """
    outputs, fan_in, kernel_height, kernel_width = weight.shape
    groups, (height, width) = node["groups"], node.output.plane
    image = _padded(out, node, source, name)
    # Products of matrices are taken group by group, all positions at once.
    dims = out.constant(f"{name}.windows", [0, groups, fan_in, height * width], np.int64)
    total = ""
    for tap in range(kernel_height * kernel_width):
        y, x = divmod(tap, kernel_width)
        seen = _seen(out, node, image, (y, x), f"{name}.tap{tap}")
        grouped = out.op("Reshape", [seen, dims], f"{name}.tap{tap}.grouped", wide=True)
        rows = weight[:, :, y, x].reshape(groups, outputs // groups, fan_in)
        matrix = out.constant(f"{name}.tap{tap}.weight", rows, np.float64)
        product = out.op("MatMul", [matrix, grouped], f"{name}.tap{tap}.product", wide=True)
        sum_name = f"{name}.tap{tap}.sum"
        total = out.op("Add", [total, product], sum_name, wide=True) if total else product
    shape = out.constant(f"{name}.shape", [0, *node.output.shape], np.int64)
    return out.op("Reshape", [total, shape], name, wide=True)


def _padded(out: OnnxWriter, node: Node, source: TensorType, name: str) -> str:
    """The image as [B, C, H, W], zeros around it."""
    dims = out.constant(f"{name}.image_shape", [0, source.channels, *source.plane], np.int64)
    wide = out.cast(node.inputs[0], wide=True)
    image = out.op("Reshape", [wide, dims], f"{name}.image", wide=True)
    top, left, bottom, right = node["padding"]
    pads = out.constant(f"{name}.pads", [0, 0, top, left, 0, 0, bottom, right], np.int64)
    return out.op("Pad", [image, pads], f"{name}.padded", wide=True)


def _seen(out: OnnxWriter, node: Node, image: str, tap: tuple[int, int], name: str) -> str:
    """What every output sees under one tap, [B, C, H', W']."""
    sides = zip(tap, node.output.plane, node["stride"], strict=True)
    ends = [first + (outputs - 1) * stride + 1 for first, outputs, stride in sides]
    bounds = [("starts", tap), ("ends", ends), ("axes", (2, 3)), ("steps", node["stride"])]
    operands = [out.constant(f"{name}.{part}", list(values), np.int64) for part, values in bounds]
    return out.op("Slice", [image, *operands], f"{name}.seen", wide=True)
