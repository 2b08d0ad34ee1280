"""Readers of what reads an image between its pixels."""

from collections.abc import Callable, Mapping, Sequence

import onnx

from s2f_deploy.frontend.deformable_sample import DYADIC, EXACT
from s2f_deploy.frontend.importer import Importer, attribute, unsupported
from s2f_deploy.frontend.views import Value, View
from s2f_deploy.ops.deformable_sample import MOST_BITS

PLANE_RANK = 4  # batch, rows, columns, taps
# Twice the side, so that both put result o at source (o + 1/2) / 2 - 1/2.
_CENTRED = ("half_pixel", "pytorch_half_pixel")


def interpolates(node: onnx.NodeProto) -> bool:
    """Whether a Resize is bilinear, as torch.nn.functional.interpolate writes it."""
    return (
        node.op_type == "Resize"
        and attribute(node, "mode", "nearest") == "linear"
        and attribute(node, "coordinate_transformation_mode", "half_pixel") in _CENTRED
    )


def read_interpolation(
    importer: Importer, node: onnx.NodeProto, view: View, factors: Sequence[float]
) -> Value:
    """Bilinear upsampling of a batch of images to exactly twice the size."""
    if list(factors) != [1, 1, 2, 2]:
        sides = "x".join(map(str, view.shape[2:]))
        raise unsupported(
            node,
            f"interpolates {sides} by {', '.join(f'{f:g}' for f in factors[2:])}, which no shifts "
            "and additions do exactly",
            "use images whose sides are multiples of 16: every map is then enlarged twofold",
        )
    return importer.emit(node, "bilinear_upsample", (importer.laid_out(node, view),), {})


def read_sampling(importer: Importer, node: onnx.NodeProto) -> Value:
    """Deformable sampling: offsets and attention lie behind rows and columns."""
    rounded = node.op_type == DYADIC
    bits, groups, kernel = (int(attribute(node, n, 0)) for n in ("bits", "groups", "kernel"))
    if not rounded <= bits <= (MOST_BITS if rounded else 0) or min(groups, kernel) < 1:
        raise unsupported(
            node,
            f"has {groups} groups, a kernel of {kernel} and offsets of {bits} bits",
            f"{DYADIC} rounds to 1 to {MOST_BITS} bits, {EXACT} to none",
        )
    image = importer.laid_out(node, importer.view(node, 0))
    taps = []
    for position in (1, 2):
        view = importer.view(node, position)
        if len(view.shape) != PLANE_RANK:
            raise unsupported(
                node, f"reads {list(view.shape)}", "lay offsets and weights out as [B, H, W, taps]"
            )
        channels_first = view.rearranged(view.index.transpose(0, 3, 1, 2))
        taps.append(importer.laid_out(node, channels_first))
    return importer.emit(
        node,
        "deformable_sample",
        (image, *taps),
        {},
        groups=groups,
        kernel=kernel,
        bits=bits,
    )


SAMPLINGS: Mapping[str, Callable[[Importer, onnx.NodeProto], Value]] = {
    EXACT: read_sampling,
    DYADIC: read_sampling,
}
