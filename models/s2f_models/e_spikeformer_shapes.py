"""The widths and depths of an E-SpikeFormer, read off the names and shapes of a state dict."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TypedDict

from s2f_models.e_spikeformer import ESpikeFormerConfig
from s2f_models.entry_shapes import CUSTOM, Shapes, depth, sizes
from s2f_models.stand_in import RefusedError

_sizes = partial(sizes, family="E-SpikeFormer")


class _Visible(TypedDict):
    """The part of a configuration that a state dict shows, classes aside."""

    embed_dims: tuple[int, int, int, int]
    depths: tuple[int, int]
    mlp_ratio: int
    value_ratio: int
    in_channels: int


def infer_e_spikeformer(
    shapes: Shapes, published: Mapping[str, ESpikeFormerConfig]
) -> tuple[str, ESpikeFormerConfig, tuple[str, ...]]:
    """Widths, depths, ratios and classes from a state dict.

    Heads and strides leave no trace in it: they are those of the one published network with
    these widths and depths, else 8 heads and the usual strides.

    Returns:
        Name of the network or ``"custom"``, configuration with D = 4, notices for the user.

    Raises:
        RefusedError: an entry that shows a width is missing or has no sensible shape.
    """
    visible = _visible(shapes)
    classes = _sizes(shapes, ESpikeFormerConfig.class_entry, axes=2)[0]
    matches = [name for name, config in published.items() if _agrees(config, visible)]
    if len(matches) == 1:
        config = published[matches[0]]
        notice = f"widths and depths are those of {matches[0]}: {_hidden(config)} taken from there"
        usual = _hidden(config) == _hidden(ESpikeFormerConfig(config.embed_dims))
        return matches[0], replace(config, num_classes=classes), () if usual else (notice,)
    try:
        config = ESpikeFormerConfig(**visible, num_classes=classes)
    except ValueError as error:
        raise RefusedError(str(error), "name the network it is with arch") from None
    return (
        CUSTOM,
        config,
        (f"a state dict does not say heads and strides: {_hidden(config)} assumed",),
    )


def _agrees(config: ESpikeFormerConfig, visible: _Visible) -> bool:
    return all(getattr(config, name) == value for name, value in visible.items())


def _hidden(config: ESpikeFormerConfig) -> str:
    strides = ", ".join(str(stride) for stride in config.strides)
    return f"{config.num_heads} heads and strides {strides}"


def _visible(shapes: Shapes) -> _Visible:
    stages = ("downsample1_2", "downsample2", "downsample3", "downsample4")
    c0, c1, c2, c3 = (_sizes(shapes, f"{name}.encode_conv.weight", axes=4)[0] for name in stages)
    hidden, narrow = _sizes(shapes, "ConvBlock1_1.0.conv1.weight", axes=4)[:2]
    values, keys = _sizes(shapes, "block3.0.attn.v_conv.0.weight", axes=4)[:2]
    return _Visible(
        embed_dims=(c0, c1, c2, c3),
        depths=(depth(shapes, "block3"), depth(shapes, "block4")),
        # A ratio that is not whole shows as a wrong shape later.
        mlp_ratio=max(hidden // narrow, 1),
        value_ratio=max(values // keys, 1),
        in_channels=_sizes(shapes, "downsample1_1.encode_conv.weight", axes=4)[1],
    )
