"""Readers of what rearranges whole planes: concatenation, upsampling, pooling, padding."""

from typing import Any

import numpy as np
import onnx

from s2f_deploy.frontend.importer import Importer, attribute, unsupported
from s2f_deploy.frontend.sampling_readers import interpolates, read_interpolation
from s2f_deploy.frontend.views import Value

IMAGE_RANK = 4  # batch, channels, rows, columns
# What of these an ONNX Resize may say and still copy element y // factor to row y.
_NEAREST = {
    ("asymmetric", "floor"),
    ("half_pixel", "round_prefer_floor"),
    ("pytorch_half_pixel", "round_prefer_floor"),
}


def read_concat(importer: Importer, node: onnx.NodeProto) -> Value:
    """Concatenation along channels; along the first axis, of one result with itself."""
    views = [importer.view(node, i) for i in range(len(node.input))]
    if attribute(node, "axis", 0) == 0 and len({view.node for view in views}) == 1:
        return views[0].rearranged(np.concatenate([view.index for view in views]))
    if attribute(node, "axis", 0) % len(views[0].shape) != 1:
        raise unsupported(node, "concatenates positions", "concatenate along channels, axis 1")
    if len(views) == 1:
        return views[0]
    sources = tuple(importer.laid_out(node, view) for view in views)
    return importer.emit(node, "concat", sources, {})


def read_resize(importer: Importer, node: onnx.NodeProto) -> Value:
    """Nearest upsampling by whole factors, bilinear upsampling by two."""
    view = importer.view(node, 0)
    if interpolates(node) and len(view.shape) == IMAGE_RANK:
        return read_interpolation(importer, node, view, _factors(importer, node, view.shape))
    how = (
        attribute(node, "coordinate_transformation_mode", "half_pixel"),
        attribute(node, "nearest_mode", "round_prefer_floor"),
    )
    nearest = attribute(node, "mode", "nearest") == "nearest"
    if not nearest or (node.op_type == "Resize" and how not in _NEAREST):
        raise unsupported(node, "interpolates", 'enlarge by torch.nn.Upsample(mode="nearest")')
    factors = _factors(importer, node, view.shape)
    if len(factors) != IMAGE_RANK or factors[:2] != [1, 1] or any(f % 1 or f < 1 for f in factors):
        raise unsupported(node, f"resizes by {factors}", "enlarge rows and columns, wholly")
    source = importer.laid_out(node, view)
    rows, columns = int(factors[2]), int(factors[3])
    return importer.emit(node, "upsample", (source,), {}, factors=(rows, columns))


def _factors(importer: Importer, node: onnx.NodeProto, shape: tuple[int, ...]) -> list[float]:
    position = 1 if node.op_type == "Upsample" else 2
    scales = importer.constant(node, position)
    if scales is not None and scales.size:
        factors = [float(scale) for scale in scales]
    else:
        factors = [
            int(n) / side for n, side in zip(importer.required(node, 3), shape, strict=False)
        ]
    axes = attribute(node, "axes", None)
    if axes is None:
        return factors
    by_axis = dict(zip((axis % len(shape) for axis in axes), factors, strict=False))
    return [by_axis.get(axis, 1.0) for axis in range(len(shape))]


def read_max_pool(importer: Importer, node: onnx.NodeProto) -> Value:
    """The largest element under each window of an image."""
    view = importer.view(node, 0)
    kernel = tuple(attribute(node, "kernel_shape", []))
    dilated = any(d != 1 for d in attribute(node, "dilations", []))
    automatic = attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    plain = len(node.output) == 1 and not dilated and not automatic
    if not plain or len(view.shape) != IMAGE_RANK or len(kernel) != IMAGE_RANK - 2:
        raise unsupported(
            node,
            "is dilated, not 2-D, pads automatically or returns indices",
            "pool with torch.nn.MaxPool2d(kernel, stride, padding)",
        )
    stride = tuple(attribute(node, "strides", [1, 1]))
    padding = list(attribute(node, "pads", [0] * 4))
    if attribute(node, "ceil_mode", 0):
        for axis in (0, 1):
            padding[axis + 2] += _overhang(
                view.shape[axis + 2], kernel[axis], stride[axis], padding[axis], padding[axis + 2]
            )
    source = importer.laid_out(node, view)
    constants: dict[str, Any] = {"kernel": kernel, "stride": stride, "padding": tuple(padding)}
    return importer.emit(node, "max_pool", (source,), {}, **constants)


def _overhang(side: int, kernel: int, stride: int, before: int, after: int) -> int:
    """Positions by which a last window, rounded up to, reaches over the padded end.

    >>> _overhang(4, 3, 2, 0, 0), _overhang(5, 3, 2, 0, 0), _overhang(3, 1, 3, 0, 0)
    (1, 0, 0)
    """
    windows = -(-(side + before + after - kernel) // stride) + 1
    if (windows - 1) * stride >= side + before:
        # It would lie wholly on the padding.
        windows -= 1
    return max((windows - 1) * stride + kernel - side - before - after, 0)


def read_pad(importer: Importer, node: onnx.NodeProto) -> Value:
    """Zeros around an image."""
    view = importer.view(node, 0)
    filling = importer.constant(node, 2) if len(node.input) > 2 and node.input[2] else None  # noqa: PLR2004
    zeros = filling is None or not filling.any()
    if attribute(node, "mode", "constant") != "constant" or not zeros:
        raise unsupported(node, "pads with what is not zero", "pad by zeros, then normalise")
    pads = _by_axis(importer, node, len(view.shape))
    if len(view.shape) != IMAGE_RANK or any(pads[0]) or any(pads[1]) or np.min(pads) < 0:
        raise unsupported(node, f"pads by {pads}", "pad rows and columns")
    (top, bottom), (left, right) = pads[2:]
    source = importer.laid_out(node, view)
    return importer.emit(node, "pad", (source,), {}, padding=(top, left, bottom, right))


def _by_axis(importer: Importer, node: onnx.NodeProto, rank: int) -> list[tuple[int, int]]:
    """Before and after every axis."""
    amounts = [int(n) for n in importer.required(node, 1)]
    given = importer.constant(node, 3)
    axes = range(rank) if given is None else [int(axis) % rank for axis in given]
    found = dict(
        zip(axes, zip(amounts[: len(axes)], amounts[len(axes) :], strict=False), strict=False)
    )
    return [found.get(axis, (0, 0)) for axis in range(rank)]
