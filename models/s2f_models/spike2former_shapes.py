"""The sizes of a Spike2Former, read off the names and shapes of a state dict."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

from s2f_models.entry_shapes import CUSTOM, Shapes, depth, sizes
from s2f_models.pixel_decoder import KERNEL
from s2f_models.spike2former import Spike2FormerConfig
from s2f_models.stand_in import RefusedError

_Entry = TypeVar("_Entry")

HEAD_ENTRY = "decode_head.query_feat.weight"
_sizes = partial(sizes, family="Spike2Former")
_ENCODER = "decode_head.pixel_decoder.encoder.layers"
_DECODER = "decode_head.transformer_decoder.layers"
# A later release of the official code names the layers of one MLP by their places.
_RENAMED = {
    f"decode_head.mask_embed.{place}.{kind}": f"decode_head.mask_embed.{name}.{kind}"
    for place, name in (("0", "fc1"), ("2", "fc2"), ("4", "fc_out"))
    for kind in ("weight", "bias")
}


def renamed(entries: Mapping[str, _Entry]) -> dict[str, _Entry]:
    """The entries of a state dict under the names of the first release."""
    names = {name: _RENAMED.get(name, name) for name in entries}
    return {
        # Where both releases' names are there, one of them belongs to no layer.
        name if names[name] in entries else names[name]: entry
        for name, entry in entries.items()
    }


def infer_spike2former(
    shapes: Shapes, published: Mapping[str, Spike2FormerConfig], named: int | None
) -> tuple[str, Spike2FormerConfig, tuple[str, ...]]:
    """All sizes; heads and the grid of offsets leave no trace: they are those of published ones.

    Args:
        shapes: of the state dict.
        published: networks by name.
        named: how many classes the file names, if it does; further outputs are dead.

    Returns:
        Name of the network or ``"custom"``, configuration with D = 4, notices for the user.

    Raises:
        RefusedError: an entry that shows a size is missing or has no sensible shape.
    """
    try:
        config = with_named(_visible(shapes), named)
    except ValueError as error:
        raise RefusedError(str(error), "name the network it is with arch") from None
    seen = {name: _without_traceless(known) for name, known in published.items()}
    alike = [name for name, known in seen.items() if _all_alive(known) == _all_alive(config)]
    exact = [name for name in alike if seen[name] == config]
    if not exact:
        return CUSTOM, config, (f"a state dict does not say heads: {config.num_heads} assumed",)
    notice = f"{' and '.join(alike)} have the same shapes; {exact[0]} assumed: else say arch"
    return exact[0], published[exact[0]], (notice,) if named is None and alike[1:] else ()


def with_named(config: Spike2FormerConfig, named: int | None) -> Spike2FormerConfig:
    """The network with as many classes alive as a file names."""
    if named is None or named > config.num_classes:
        return config
    return replace(config, live_classes=named if named < config.num_classes else None)


def _without_traceless(config: Spike2FormerConfig) -> Spike2FormerConfig:
    """As the shapes of its weights show it."""
    return replace(config, num_heads=Spike2FormerConfig().num_heads, offset_bits=0)


def _all_alive(config: Spike2FormerConfig) -> Spike2FormerConfig:
    return replace(config, live_classes=None)


def _visible(shapes: Shapes) -> Spike2FormerConfig:
    stages = ("downsample1_2", "downsample2", "downsample3", "downsample4")
    c0, c1, c2, c3 = (_sizes(shapes, f"{name}.encode_conv.weight", axes=4)[0] for name in stages)
    queries, channels = _sizes(shapes, HEAD_ENTRY, axes=2)
    weights = _sizes(shapes, f"{_ENCODER}.0.dcn.mask.0.weight", axes=4)[0]
    hidden = _sizes(shapes, f"{_ENCODER}.0.ffn.fc1_conv.weight", axes=3)[0]
    return Spike2FormerConfig(
        backbone="sdtv3" if "block3.0.conv.pwconv1.0.weight" in shapes else "sdtv2",
        embed_dims=(c0, c1, c2, c3),
        depths=(depth(shapes, "block3"), depth(shapes, "block4")),
        in_channels=_sizes(shapes, "downsample1_1.encode_conv.weight", axes=4)[1],
        num_classes=classes(shapes),
        num_queries=queries,
        channels=channels,
        # What is not whole shows as a wrong shape later.
        groups=max(weights // (KERNEL * KERNEL), 1),
        mlp_ratio=max(hidden // channels, 1),
        encoder_layers=depth(shapes, _ENCODER),
        decoder_layers=depth(shapes, _DECODER),
        decoder_hidden=_sizes(shapes, f"{_DECODER}.0.ffn.fc1.weight", axes=3)[0],
    )


def classes(shapes: Shapes) -> int:
    """Outputs, "no object" not counted.

    Raises:
        RefusedError: there is no classifier, or it has no sensible shape.
    """
    rows = _sizes(shapes, Spike2FormerConfig.class_entry, axes=2)[0]
    if rows == 1:
        raise RefusedError(
            'the only class of this network is "no object"', "train it with classes to find"
        )
    return rows - 1
