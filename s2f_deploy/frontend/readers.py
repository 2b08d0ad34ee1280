"""One reader for every ONNX operator that has a place in a spiking network."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from s2f_deploy.frontend.attention_reader import read_product
from s2f_deploy.frontend.importer import Importer, attribute, unsupported
from s2f_deploy.frontend.integer_fire import OPERATORS, rule_of
from s2f_deploy.frontend.plane_readers import (
    read_concat,
    read_max_pool,
    read_pad,
    read_resize,
)
from s2f_deploy.frontend.views import Product, Value, View, whole

Reader = Callable[[Importer, onnx.NodeProto], Value]

LARGEST_COUNT = 255
LARGEST_SHIFT = 8
IMAGE_RANK = 4  # batch or timesteps, channels, rows, columns


def read_conv(importer: Importer, node: onnx.NodeProto) -> Value:
    """2-D convolution, or 1-D over tokens."""
    weight = importer.required(node, 1)
    spatial = weight.ndim - 2
    if spatial not in (1, 2) or any(d != 1 for d in attribute(node, "dilations", [])):
        raise unsupported(node, "is dilated or 3-D", "only plain 1-D and 2-D kernels deploy")
    if attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise unsupported(node, "pads automatically", "state the padding in numbers")
    strides = attribute(node, "strides", [1] * spatial)
    pads = attribute(node, "pads", [0] * 2 * spatial)
    if spatial == 1:
        weight = weight[:, :, None, :]
        strides, pads = [1, *strides], [0, pads[0], 0, pads[1]]
    bias = importer.constant(node, 2)
    if bias is None:
        bias = np.zeros(len(weight), weight.dtype)
    source = importer.laid_out(node, importer.view(node, 0))
    return importer.emit(
        node,
        "conv2d",
        (source,),
        {"weight": weight, "bias": bias},
        stride=tuple(strides),
        padding=tuple(pads),
        groups=attribute(node, "group", 1),
    )


def read_gemm(importer: Importer, node: onnx.NodeProto) -> Value:
    """A fully connected layer on a vector."""
    weight = importer.required(node, 1) * attribute(node, "alpha", 1.0)
    if not attribute(node, "transB", 0):
        weight = weight.T
    if attribute(node, "transA", 0):
        raise unsupported(node, "transposes its input", "give the vector as [1, channels]")
    bias = importer.constant(node, 2)
    bias = np.zeros(len(weight)) if bias is None else bias * attribute(node, "beta", 1.0)
    source = importer.laid_out(node, importer.view(node, 0))
    arrays = {"weight": weight, "bias": np.broadcast_to(bias.ravel(), len(weight))}
    return importer.emit(node, "linear", (source,), arrays)


def read_matmul(importer: Importer, node: onnx.NodeProto) -> Value:
    """A fully connected layer without bias, or one of the two products of attention."""
    weight = importer.constant(node, 1)
    if weight is None:
        return read_product(importer, node)
    source = importer.laid_out(node, importer.view(node, 0))
    arrays = {"weight": weight.T, "bias": np.zeros(weight.shape[1], weight.dtype)}
    return importer.emit(node, "linear", (source,), arrays)


def read_batch_norm(importer: Importer, node: onnx.NodeProto) -> Value:
    """Batch norm with stored statistics."""
    if attribute(node, "training_mode", 0):
        raise unsupported(node, "is in training mode", "export the model after model.eval()")
    names = ("gamma", "beta", "mean", "var")
    arrays = {name: importer.required(node, i) for i, name in enumerate(names, 1)}
    source = importer.laid_out(node, importer.view(node, 0))
    epsilon = float(attribute(node, "epsilon", 1e-5))
    return importer.emit(node, "batch_norm", (source,), arrays, epsilon=epsilon)


def read_add(importer: Importer, node: onnx.NodeProto) -> Value:
    """A residual sum, or a constant shift."""
    for position in (0, 1):
        shift = importer.constant(node, position)
        if shift is not None and _by_channel(importer.view(node, 1 - position), shift):
            return _affine(importer, node, 1 - position, np.ones(1), shift)
        if shift is not None:
            view = importer.view(node, 1 - position)
            values = np.broadcast_to(shift, view.shape)[0]
            return importer.emit(
                node, "add", (importer.laid_out(node, view), importer.hold(node, values)), {}
            )
    sources = [importer.laid_out(node, importer.view(node, i)) for i in (0, 1)]
    return importer.emit(node, "add", (sources[0], sources[1]), {})


def read_mul(importer: Importer, node: onnx.NodeProto) -> Value:
    """A constant scale."""
    position = 0 if importer.constant(node, 0) is not None else 1
    scale = importer.required(node, position)
    return _affine(importer, node, 1 - position, scale, np.zeros(1))


def read_div(importer: Importer, node: onnx.NodeProto) -> Value:
    """A constant divisor."""
    divisor = importer.required(node, 1).astype(np.float64)
    return _affine(importer, node, 0, 1 / divisor, np.zeros(1))


def _affine(
    importer: Importer,
    node: onnx.NodeProto,
    position: int,
    scale: NDArray[Any],
    shift: NDArray[Any],
) -> Value:
    value = importer.values[node.input[position]]
    if isinstance(value, Product) and scale.size == 1 and not shift.any():
        return replace(value, scale=value.scale * float(scale.item()))
    view = importer.view(node, position)
    if scale.size == shift.size == 1:
        # One factor for all: the wiring does not matter.
        made = importer.emit(
            node, "affine", (view.node,), {"scale": scale.ravel(), "shift": shift.ravel()}
        )
        return replace(view, node=made.node)
    source = importer.laid_out(node, view)
    if not all(_by_channel(view, vector) for vector in (scale, shift)):
        raise unsupported(node, "scales single positions", "scale whole channels")
    return importer.emit(
        node, "affine", (source,), {"scale": scale.ravel(), "shift": shift.ravel()}
    )


def _by_channel(view: View, vector: NDArray[Any]) -> bool:
    """Whether a constant has one value for all, or one per channel of what it meets."""
    channels, *positions = view.shape[1:]
    aligned = (1,) * (len(view.shape) - vector.ndim) + vector.shape
    return vector.size == 1 or aligned == (1, channels, *[1] * len(positions))


def read_mean(importer: Importer, node: onnx.NodeProto) -> Value:
    """The mean over all positions, or over real time."""
    view = importer.view(node, 0)
    rank = len(view.shape)
    steps = importer.nodes[view.node].output.steps
    axes = importer.constant(node, 1)
    listed = attribute(node, "axes", list(range(2, rank))) if axes is None else axes.tolist()
    if listed == [0] and view.shape[0] == steps > 1 == view.shape[1] and rank > IMAGE_RANK:
        flat = view.reshaped(lambda a: a.reshape(steps, *view.shape[2:]))
        made = importer.emit(node, "time_mean", (importer.laid_out(node, flat),), {})
        return made.reshaped(lambda a: a[None]) if attribute(node, "keepdims", 1) else made
    if sorted(axis % rank for axis in listed) != list(range(2, rank)):
        raise unsupported(node, f"averages axes {listed}", "average over all positions")
    made = importer.emit(node, "mean_pool", (importer.laid_out(node, view),), {})
    if node.op_type == "GlobalAveragePool" or attribute(node, "keepdims", 1):
        return made.reshaped(lambda a: a.reshape(*a.shape, *[1] * (rank - 2)))
    return made


def read_neuron(importer: Importer, node: onnx.NodeProto) -> Value:
    """A neuron, which fires in the order in which its membranes lie in the file."""
    levels = int(attribute(node, "D", 0))
    if not 1 <= levels <= LARGEST_COUNT:
        raise unsupported(node, f"has D = {levels}", f"D must be 1 to {LARGEST_COUNT}")
    norm = float(attribute(node, "norm", 1.0))
    if not (np.isfinite(norm) and norm > 0):
        raise unsupported(node, f"has norm = {norm}", "norm must be positive")
    rounding, timesteps = rule_of(node.op_type)
    if not rounding:
        raise unsupported(node, "is no neuron", f"use one of {', '.join(OPERATORS.values())}")
    constants: dict[str, Any] = {"levels": levels, "norm": norm, "rounding": rounding}
    held = importer.constant(node, 0)
    view = importer.view(node, 0) if held is None else _held(importer, node, held)
    source = importer.laid_out(node, view)
    if timesteps > 1:
        constants["leak_shift"] = _leak_shift(node)
        if importer.nodes[source].output.steps != timesteps:
            raise unsupported(node, f"counts {timesteps} steps", "lay them along the first axis")
    return importer.emit(node, "integer_fire", (source,), {}, **constants)


def _held(importer: Importer, node: onnx.NodeProto, values: NDArray[Any]) -> View:
    """What a neuron fires on for every image, [T, C, ...]."""
    if (values != values[:1]).any():
        raise unsupported(
            node, "fires on constants that change in time", "give it the same at all timesteps"
        )
    held = importer.nodes[importer.hold(node, values[0])]
    view = whole(held.name, held.output)
    return view.rearranged(view.index.repeat(len(values), 0))


def _leak_shift(node: onnx.NodeProto) -> int:
    """S of the leak 2**-s."""
    leak = float(attribute(node, "beta", 0.0))
    mantissa, exponent = np.frexp(leak)
    if mantissa != 0.5 or not -LARGEST_SHIFT <= exponent - 1 < 0:  # noqa: PLR2004
        raise unsupported(node, f"leaks to {leak} of its membrane", "use a leak of 1/2, 1/4, ...")
    return int(1 - exponent)


def read_reshape(importer: Importer, node: onnx.NodeProto) -> Value:
    """Reshape, Flatten, Squeeze and Unsqueeze: the same elements in the same order."""
    view = importer.view(node, 0)
    if node.op_type == "Reshape":
        shape = importer.required(node, 1).tolist()
        if not attribute(node, "allowzero", 0):
            shape = [side or view.shape[i] for i, side in enumerate(shape)]
        return view.reshaped(lambda a: a.reshape(shape))
    if node.op_type == "Flatten":
        axis = attribute(node, "axis", 1)
        rows = int(np.prod(view.shape[:axis], dtype=np.int64))
        return view.reshaped(lambda a: a.reshape(rows, -1))
    axes = tuple(importer.required(node, 1).tolist())
    change = np.squeeze if node.op_type == "Squeeze" else np.expand_dims
    return view.reshaped(lambda a: change(a, axes))


def read_transpose(importer: Importer, node: onnx.NodeProto) -> Value:
    """The same elements in another order."""
    view = importer.view(node, 0)
    order = attribute(node, "perm", list(range(len(view.shape)))[::-1])
    return view.rearranged(view.index.transpose(order))


def read_identity(importer: Importer, node: onnx.NodeProto) -> Value:
    """The tensor itself; dropout at inference."""
    return importer.values[node.input[0]]


READERS: Mapping[str, Reader] = {
    "Conv": read_conv,
    "Gemm": read_gemm,
    "MatMul": read_matmul,
    "BatchNormalization": read_batch_norm,
    "Add": read_add,
    "Mul": read_mul,
    "Div": read_div,
    "ReduceMean": read_mean,
    "GlobalAveragePool": read_mean,
    "Reshape": read_reshape,
    "Flatten": read_reshape,
    "Squeeze": read_reshape,
    "Unsqueeze": read_reshape,
    "Transpose": read_transpose,
    "Concat": read_concat,
    "Resize": read_resize,
    "Upsample": read_resize,
    "MaxPool": read_max_pool,
    "Pad": read_pad,
    "Identity": read_identity,
    "Dropout": read_identity,
    **dict.fromkeys(OPERATORS.values(), read_neuron),
}
