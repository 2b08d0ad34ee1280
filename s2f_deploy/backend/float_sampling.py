"""Reading between pixels in plain float operators, without a rounding."""

import numpy as np
from onnx import TensorProto

from s2f_deploy.backend.onnx_writer import OnnxWriter
from s2f_deploy.ir.graph import Node, TensorType
from s2f_deploy.ops.bilinear_upsample import along
from s2f_deploy.ops.deformable_sample import tap_moves, taps_of


def read_between(out: OnnxWriter, node: Node, source: TensorType, *, wide: bool) -> None:
    """Append a bilinear_upsample, or a deformable_sample with rounded offsets, ``bits`` > 0.

    Args:
        out: the model under construction.
        node: which of the two.
        source: type of the image.
        wide: whether float32 would round its sums.
    """
    if node.op == "bilinear_upsample":
        _interpolate(out, node, source, wide=wide)
    else:
        _sample(out, node, source, wide=wide)


def _interpolate(out: OnnxWriter, node: Node, source: TensorType, *, wide: bool) -> None:
    """One axis after the other, its shares of so many bits.

    Not one Resize, which no runtime has in double precision.
    """
    value, one = out.cast(node.inputs[0], wide=wide), 1 << node["bits"]
    kind = np.float64 if wide else np.float32
    for axis, stem in ((2, f"{node.name}.rows"), (3, node.name)):
        lower, upper, share = along(source.shape[axis - 1], node["plane"][axis - 2], node["bits"])
        parts = []
        for part, pixels, weight in (("near", lower, one - share), ("far", upper, share)):
            index = out.constant(f"{stem}.{part}_pixels", pixels, np.int64)
            by_axis = (weight / one).reshape((-1, 1) if axis == 2 else -1)  # noqa: PLR2004
            factor = out.constant(f"{stem}.{part}_weight", by_axis, kind)
            name = f"{stem}.{part}"
            seen = out.op("Gather", [value, index], f"{name}_seen", wide=wide, axis=axis)
            parts.append(out.op("Mul", [seen, factor], name, wide=wide))
        value = out.op("Add", parts, stem, wide=wide)


def _sample(out: OnnxWriter, node: Node, source: TensorType, *, wide: bool) -> None:
    """Corners of all taps, gathered from a table of pixels and summed, group by group.

    Positions are worked out in double precision, where they are exact.
    """
    name, groups = node.name, node["groups"]
    positions, channels = source.positions, source.channels // groups
    pixels, shares = _corners(out, node)
    factors = _factors(out, node, shares, wide=wide)
    seen = _gathered(out, node, pixels, channels, wide=wide)
    product = out.op("MatMul", [factors, seen], f"{name}.product", wide=wide)
    flat = out.constant(f"{name}.flat", [0, groups, positions, channels], np.int64)
    product = out.op("Reshape", [product, flat], f"{name}.sums", wide=wide)
    turned = out.op("Transpose", [product], f"{name}.sums_turned", wide=wide, perm=[0, 1, 3, 2])
    dims = out.constant(f"{name}.shape", [0, *node.output.shape], np.int64)
    signed = out.op("Reshape", [turned, dims], f"{name}.signed", wide=wide)
    # A sum of nothing but -0, should a runtime give one: an integer has one zero.
    zero = out.number(f"{name}.zero", 0, wide=wide)
    none = out.op("Equal", [signed, zero], f"{name}.is_zero")
    out.op("Where", [none, zero, signed], name, wide=wide)


def _corners(out: OnnxWriter, node: Node) -> tuple[str, str]:
    """Numbers and shares of the pixels around all taps, [B, G, K · 4, H · W], in double precision.

    The four corners of one tap lie K apart.
    """
    name, (height, width) = node.name, node.output.plane
    columns, rows = (_axis(out, node, axis, side) for axis, side in ((0, width), (1, height)))
    stride = out.number(f"{name}.stride", width, wide=True)
    pixels, shares = [], []
    for down, (row, share_down) in enumerate(rows):
        first = out.op("Mul", [row, stride], f"{name}.row{down}_first", wide=True)
        for across, (column, share_across) in enumerate(columns):
            at = f"{name}.corner{down}{across}"
            pixels.append(out.op("Add", [first, column], f"{at}.pixel", wide=True))
            shares.append(out.op("Mul", [share_down, share_across], f"{at}.share", wide=True))
    return (
        out.op("Concat", pixels, f"{name}.pixels", wide=True, axis=2),
        out.op("Concat", shares, f"{name}.shares", wide=True, axis=2),
    )


def _factors(out: OnnxWriter, node: Node, shares: str, *, wide: bool) -> str:
    """Shares times attention, a row for every position: [B, G, H · W, 1, K · 4]."""
    name, groups, taps = node.name, node["groups"], taps_of(node)
    positions = node.output.positions
    by_tap = out.constant(f"{name}.by_tap", [0, groups, taps, positions], np.int64)
    attention = out.cast(node.inputs[2], wide=True)
    attention = out.op("Reshape", [attention, by_tap], f"{name}.attention", wide=True)
    attention = out.op("Concat", [attention] * 4, f"{name}.attention4", wide=True, axis=2)
    factors = out.op("Mul", [shares, attention], f"{name}.factors", wide=True)
    factors = out.cast(factors, wide=wide)
    turned = out.op("Transpose", [factors], f"{name}.factors_turned", wide=wide, perm=[0, 1, 3, 2])
    row = out.constant(f"{name}.row", [0, groups, positions, 1, taps * 4], np.int64)
    return out.op("Reshape", [turned, row], f"{name}.factor_rows", wide=wide)


def _axis(out: OnnxWriter, node: Node, axis: int, side: int) -> list[tuple[str, str]]:
    """Along one axis the pixels before and behind every tap, inside the image, and their shares.

    All are [B, G, K, H · W] in double precision. A share outside of the image is 0.
    """
    stem = f"{node.name}.{'xy'[axis]}"
    height, width = node.output.plane
    places = np.indices((height, width))[1 - axis].reshape(-1)
    base = tap_moves(node["kernel"])[axis][:, None] + places
    position = out.op(
        "Add",
        [
            _rounded(out, node, axis, stem),
            out.constant(f"{stem}.places", base[None, None], np.float64),
        ],
        f"{stem}.position",
        wide=True,
    )

    def limited(value: str, low: int, high: int, name: str) -> str:
        ends = [
            out.number(f"{name}_{end}", n, wide=True) for end, n in (("low", low), ("high", high))
        ]
        return out.op("Clip", [value, *ends], name, wide=True)

    # From -1 and from ``side`` on, nothing inside has a share.
    position = limited(position, -1, side, f"{stem}.limited")
    one = out.number(f"{stem}.one", 1, wide=True)
    cell = out.op("Floor", [position], f"{stem}.cell", wide=True)
    share = out.op("Sub", [position, cell], f"{stem}.share", wide=True)
    rest = out.op("Sub", [one, share], f"{stem}.rest", wide=True)
    following = out.op("Add", [cell, one], f"{stem}.following", wide=True)
    none = out.number(f"{stem}.none", 0, wide=True)
    found = []
    for number, (pixel, weight) in enumerate(((cell, rest), (following, share))):
        at = f"{stem}{number}"
        near = limited(pixel, 0, side - 1, f"{at}.near")
        inside = out.op("Equal", [pixel, near], f"{at}.inside")
        found.append((near, out.op("Where", [inside, weight, none], f"{at}.seen", wide=True)))
    return found


def _rounded(out: OnnxWriter, node: Node, axis: int, stem: str) -> str:
    """Offsets of one axis, [B, G, K, H · W], rounded to multiples of 2**-bits, halves up.

    floor(v + 1/2) is floor((floor(2v) + 1) / 2), in which double precision rounds nothing.
    """
    groups, taps, positions = node["groups"], taps_of(node), node.output.positions
    dims = out.constant(f"{stem}.dims", [0, groups, taps, 2, positions], np.int64)
    offsets = out.cast(node.inputs[1], wide=True)
    value = out.op("Reshape", [offsets, dims], f"{stem}.both", wide=True)
    index = out.constant(f"{stem}.axis", axis, np.int64)
    value = out.op("Gather", [value, index], f"{stem}.offsets", wide=True, axis=3)
    for op, number, name in (
        ("Mul", 2.0 ** (node["bits"] + 1), "halves"),
        ("Floor", None, "halves_below"),
        ("Add", 1.0, "halves_above"),
        ("Mul", 0.5, "raised"),
        ("Floor", None, "units"),
        ("Mul", 2.0 ** -node["bits"], "rounded"),
    ):
        operands = [value]
        if number is not None:
            operands.append(out.number(f"{stem}.{name}_by", number, wide=True))
        value = out.op(op, operands, f"{stem}.{name}", wide=True)
    return value


def _gathered(out: OnnxWriter, node: Node, pixels: str, channels: int, *, wide: bool) -> str:
    """What lies at the corners: [B, G, H · W, K · 4, C / G]."""
    name, groups, corners = node.name, node["groups"], 4 * taps_of(node)
    positions = node.output.positions
    split = out.constant(f"{name}.split", [0, groups, channels, positions], np.int64)
    source = out.cast(node.inputs[0], wide=wide)
    table = out.op("Reshape", [source, split], f"{name}.channels", wide=wide)
    table = out.op("Transpose", [table], f"{name}.table", wide=wide, perm=[0, 1, 3, 2])
    turned = out.op("Transpose", [pixels], f"{name}.pixels_turned", perm=[0, 1, 3, 2])
    whole = out.op("Cast", [turned], f"{name}.pixel_numbers", to=TensorProto.INT64)
    column = out.constant(f"{name}.column", [0, groups, positions * corners, 1], np.int64)
    index = out.op("Reshape", [whole, column], f"{name}.index")
    listed = out.op("GatherND", [table, index], f"{name}.listed", wide=wide, batch_dims=2)
    dims = out.constant(f"{name}.seen_shape", [0, groups, positions, corners, channels], np.int64)
    return out.op("Reshape", [listed, dims], f"{name}.seen", wide=wide)
