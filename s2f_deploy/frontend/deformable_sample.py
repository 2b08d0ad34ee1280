"""Deformable sampling in ONNX: functions of the domain ``s2f`` whose bodies are standard operators.

``DeformableSample(X, offsets, weights)`` reads an image at learned positions between its pixels,
as DCNv3 does, and sums what it finds, weighted; see ``s2f_models.deformable_sampling``, which the
bodies repeat step by step. Any ONNX runtime executes them as they are; the importer knows a
sampling when it sees one. Offsets as they are and offsets rounded to a grid are two operators,
because a function body cannot branch on an attribute.

    X: float[B, C, H, W]
    offsets: float[B, H, W, groups * kernel² * 2], in pixels, x before y
    weights: float[B, H, W, groups * kernel²]

Attributes: ``groups`` of channels, ``kernel``, the side of the square of taps, and ``bits``, the
fraction bits that offsets are rounded to, halves up, or 0.
"""

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import helper

from s2f_deploy.frontend.integer_fire import DOMAIN, OPSET

# The name under which models export it; the rounding rule then becomes part of the name.
EXACT = "DeformableSample"
DYADIC = "DeformableSampleDyadic"
_ATTRIBUTES = ("groups", "kernel", "bits")


def sampling_operator(bits: int) -> str:
    """Name of the operator.

    >>> sampling_operator(0), sampling_operator(8)
    ('DeformableSample', 'DeformableSampleDyadic')
    """
    return DYADIC if bits else EXACT


class _Body:
    """The nodes of a function body, written one after the other."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []

    def __call__(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Append a node with one output, which is returned."""
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def attribute(self, name: str) -> str:
        """An attribute of the function's call: int64[1], called as it is."""
        number = helper.make_node("Constant", [], [f"{name}_scalar"])
        number.attribute.append(
            onnx.AttributeProto(
                name="value_int", ref_attr_name=name, type=onnx.AttributeProto.AttributeType.INT
            )
        )
        self.nodes.append(number)
        return self("Reshape", [f"{name}_scalar", "one"], name)

    def integers(self, values: Sequence[int], name: str) -> str:
        """int64 constants."""
        return self("Constant", [], name, value_ints=list(values))

    def real(self, value: float, name: str) -> str:
        """A constant of the element type of X."""
        self("Constant", [], f"{name}_float", value_float=value)
        return self("CastLike", [f"{name}_float", "X"], name)

    def count(self, size: str, name: str) -> str:
        """0, 1, ... below a size given as int64[1]."""
        self("Squeeze", [size], f"{name}_end")
        return self("Range", ["zero_scalar", f"{name}_end", "one_scalar"], name)

    def shape(self, sizes: Sequence[str], name: str) -> str:
        """A shape from sizes given as int64[1]."""
        return self("Concat", sizes, name, axis=0)


def sampling_function(bits: int) -> onnx.FunctionProto:
    """The function of one rounding rule, for all shapes and numbers of bits."""
    body = _Body()
    _sizes(body)
    offsets = _rounded(body) if bits else "offsets"
    _positions(body, offsets)
    _corners(body)
    _gathered(body)
    return helper.make_function(
        DOMAIN,
        sampling_operator(bits),
        ["X", "offsets", "weights"],
        ["output"],
        body.nodes,
        [helper.make_opsetid("", OPSET)],
        list(_ATTRIBUTES),
    )


def _sizes(body: _Body) -> None:
    """Sizes as int64[1]: batch, channels, height, width; groups, taps, positions, maps."""
    body.integers([1], "one")
    body.integers([2], "two")
    body.integers([4], "four")
    body("Constant", [], "zero_scalar", value_int=0)
    body("Constant", [], "one_scalar", value_int=1)
    for axis, name in enumerate(("batch", "channels", "height", "width")):
        body("Shape", ["X"], name, start=axis, end=axis + 1)
    body.attribute("groups")
    body.attribute("kernel")
    body("Mul", ["kernel", "kernel"], "taps")
    body("Mul", ["height", "width"], "positions")
    body("Mul", ["batch", "groups"], "maps")
    body("Div", ["channels", "groups"], "map_channels")


def _rounded(body: _Body) -> str:
    """Offsets on the grid of 2 to the power of ``-bits``: floor(offset * 2**bits + 1/2)."""
    body.attribute("bits")
    body.real(2.0, "base")
    body("CastLike", ["bits", "X"], "exponent")
    body("Pow", ["base", "exponent"], "grid")
    body.real(0.5, "half")
    body("Mul", ["offsets", "grid"], "offset_grid")
    body("Add", ["offset_grid", "half"], "offset_raised")
    body("Floor", ["offset_raised"], "offset_units")
    return body("Div", ["offset_units", "grid"], "offsets_rounded")


def _positions(body: _Body, offsets: str) -> None:
    """``columns`` and ``rows`` of every tap, [B, G, H, W, K]."""
    body.count("taps", "tap")
    body("Div", ["kernel", "two"], "reach")
    # x is the slow index.
    body("Div", ["tap", "kernel"], "tap_column")
    body("Mod", ["tap", "kernel"], "tap_row")
    for name in ("tap_column", "tap_row"):
        body("Sub", [name, "reach"], f"{name}_centred")
    body.integers([-1], "last")
    for name in ("tap_column", "tap_row"):
        body("Unsqueeze", [f"{name}_centred", "last"], f"{name}_listed")
    body("Concat", ["tap_column_listed", "tap_row_listed"], "tap_moves", axis=1)
    body("CastLike", ["tap_moves", "X"], "moves")

    body.shape(["batch", "height", "width", "groups", "taps", "two"], "offsets_shape")
    body("Reshape", [offsets, "offsets_shape"], "offsets_split")
    body("Add", ["offsets_split", "moves"], "moved")
    body("Transpose", ["moved"], "moved_first", perm=[5, 0, 3, 1, 2, 4])
    for index, (name, size, axes) in enumerate(
        (("columns", "width", [1]), ("rows", "height", [1, 2]))
    ):
        body("Constant", [], f"{name}_index", value_int=index)
        body("Gather", ["moved_first", f"{name}_index"], f"{name}_moved", axis=0)
        body.count(size, f"{name}_count")
        body.integers(axes, f"{name}_axes")
        body("Unsqueeze", [f"{name}_count", f"{name}_axes"], f"{name}_integers")
        body("CastLike", [f"{name}_integers", "X"], f"{name}_pixels")
        body("Add", [f"{name}_moved", f"{name}_pixels"], name)


def _corners(body: _Body) -> None:
    """``pixels`` and ``shares`` of the four corners of every tap, [B, G, H, W, K, 4].

    A corner outside of the image has a share of zero, and some pixel's number.
    """
    body.real(1.0, "unit")
    body.real(0.0, "nothing")
    body("CastLike", ["width", "X"], "stride")
    for axis, size in (("columns", "width"), ("rows", "height")):
        body("Sub", [size, "one"], f"{axis}_last_integer")
        body("Squeeze", [f"{axis}_last_integer"], f"{axis}_last_scalar")
        body("CastLike", [f"{axis}_last_scalar", "X"], f"{axis}_last")
        body("Floor", [axis], f"{axis}_0")
        body("Add", [f"{axis}_0", "unit"], f"{axis}_1")
        body("Sub", [axis, f"{axis}_0"], f"{axis}_share_1")
        body("Sub", ["unit", f"{axis}_share_1"], f"{axis}_share_0")
        for side in (0, 1):
            end = f"{axis}_{side}"
            body("Clip", [end, "nothing", f"{axis}_last"], f"{end}_clipped")
            body("Equal", [end, f"{end}_clipped"], f"{end}_is_inside")
            body("CastLike", [f"{end}_is_inside", "X"], f"{end}_inside")
            body("Mul", [f"{axis}_share_{side}", f"{end}_inside"], f"{end}_share")
    found: dict[str, list[str]] = {"pixel": [], "share": []}
    for y in (0, 1):
        for x in (0, 1):
            body("Mul", [f"rows_{y}_clipped", "stride"], f"row_start_{y}{x}")
            pixel = body("Add", [f"row_start_{y}{x}", f"columns_{x}_clipped"], f"pixel_{y}{x}")
            share = body("Mul", [f"rows_{y}_share", f"columns_{x}_share"], f"share_{y}{x}")
            for kind, value in (("pixel", pixel), ("share", share)):
                found[kind].append(body("Unsqueeze", [value, "last"], f"{value}_listed"))
    for kind, corners in found.items():
        body("Concat", corners, f"{kind}s", axis=-1)


def _gathered(body: _Body) -> None:
    """The weighted sum of what lies at the corners: ``output``, [B, C, H, W]."""
    body.shape(["batch", "height", "width", "groups", "taps"], "weights_shape")
    body("Reshape", ["weights", "weights_shape"], "weights_split")
    body("Transpose", ["weights_split"], "attention", perm=[0, 3, 1, 2, 4])
    body("Unsqueeze", ["attention", "last"], "attention_listed")
    body("Mul", ["shares", "attention_listed"], "factors")
    body("Mul", ["taps", "four"], "corners")
    body.shape(["maps", "positions", "one", "corners"], "factors_shape")
    body("Reshape", ["factors", "factors_shape"], "factor_rows")

    # All maps of all groups one after the other, one row of channels for each pixel.
    body.shape(["maps", "map_channels", "positions"], "maps_shape")
    body("Reshape", ["X", "maps_shape"], "x_maps")
    body("Transpose", ["x_maps"], "x_pixels", perm=[0, 2, 1])
    body.shape(["last", "map_channels"], "table_shape")
    body("Reshape", ["x_pixels", "table_shape"], "table")
    body.count("maps", "map")
    body("Mul", ["map", "positions"], "map_first")
    body("Unsqueeze", ["map_first", "last"], "map_first_listed")
    body("Cast", ["pixels"], "pixel_numbers", to=onnx.TensorProto.INT64)
    body.shape(["maps", "last"], "index_shape")
    body("Reshape", ["pixel_numbers", "index_shape"], "pixel_rows")
    body("Add", ["pixel_rows", "map_first_listed"], "index")
    body("Gather", ["table", "index"], "corner_list", axis=0)
    body.shape(["maps", "positions", "corners", "map_channels"], "values_shape")
    body("Reshape", ["corner_list", "values_shape"], "corner_values")

    body("MatMul", ["factor_rows", "corner_values"], "sums")
    body.shape(["maps", "positions", "map_channels"], "sums_shape")
    body("Reshape", ["sums", "sums_shape"], "sum_rows")
    body("Transpose", ["sum_rows"], "sum_maps", perm=[0, 2, 1])
    body("Shape", ["X"], "x_shape")
    body("Reshape", ["sum_maps", "x_shape"], "output")
