"""Readers of what reads an image between its pixels."""

from collections.abc import Callable, Mapping, Sequence

import onnx

from s2f_deploy.frontend.deformable_sample import DYADIC, EXACT
from s2f_deploy.frontend.importer import Importer, attribute, unsupported
from s2f_deploy.frontend.views import Value, View
from s2f_deploy.ops.bilinear_upsample import TWOFOLD_BITS
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
    """Bilinear upsampling of a batch of images; shares of other ratios than two as they are."""
    if list(factors[:2]) != [1, 1] or min(factors[2:]) < 1:
        raise unsupported(node, f"interpolates by {factors}", "enlarge rows and columns alone")
    rows, columns = (round(side * f) for side, f in zip(view.shape[2:], factors[2:], strict=True))
    twofold = list(factors[2:]) == [2, 2]
    return importer.emit(
        node,
        "bilinear_upsample",
        (importer.laid_out(node, view),),
        {},
        plane=(rows, columns),
        bits=TWOFOLD_BITS if twofold else 0,
    )


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
