"""Which E-SpikeFormer a state dict belongs to, read off its names and shapes."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypedDict

import torch

from s2f_models.e_spikeformer import ESpikeFormer, ESpikeFormerConfig
from s2f_models.errors import shown
from s2f_models.registry import CONFIGS
from s2f_models.stand_in import RefusedError

Shape = tuple[int, ...]

CUSTOM = "custom"
# Wider than any published network by far; keeps a made-up file from asking for absurd layers.
_MAX_WIDTH = 1 << 16
_BLOCK = re.compile(r"(block[34])\.([0-9]{1,3})\.")
_READABLE = "give an E-SpikeFormer classification checkpoint (SDT-V3, Model_Base)"
# Statistics without influence on an output; some tools strip them.
_COUNTER = ".num_batches_tracked"


class _Visible(TypedDict):
    """The part of a configuration that a state dict shows, classes aside."""

    embed_dims: tuple[int, int, int, int]
    depths: tuple[int, int]
    mlp_ratio: int
    value_ratio: int
    in_channels: int


def class_count(shapes: Mapping[str, Shape]) -> int:
    """Outputs of the classifier.

    Raises:
        RefusedError: there is none, or it has no sensible shape.
    """
    return _sizes(shapes, "head.weight", axes=2)[0]


def infer_config(
    shapes: Mapping[str, Shape],
) -> tuple[str, ESpikeFormerConfig, tuple[str, ...]]:
    """Widths, depths, ratios and classes from a state dict.

    Heads and strides leave no trace in it: they are those of the one network in the registry
    with these widths and depths, else 8 heads and the published strides.

    Returns:
        Name in the registry or ``"custom"``, configuration with D = 4, notices for the user.

    Raises:
        RefusedError: an entry that shows a width is missing or has no sensible shape.
    """
    visible, classes = _visible(shapes), class_count(shapes)
    matches = [name for name, config in CONFIGS.items() if _agrees(config, visible)]
    if len(matches) == 1:
        config = CONFIGS[matches[0]]
        notice = f"widths and depths are those of {matches[0]}: {_hidden(config)} taken from there"
        default = _hidden(config) == _hidden(CONFIGS["e_spikeformer_t"])
        return matches[0], replace(config, num_classes=classes), () if default else (notice,)
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


def _visible(shapes: Mapping[str, Shape]) -> _Visible:
    stages = ("downsample1_2", "downsample2", "downsample3", "downsample4")
    c0, c1, c2, c3 = (_sizes(shapes, f"{name}.encode_conv.weight", 4)[0] for name in stages)
    hidden, narrow = _sizes(shapes, "ConvBlock1_1.0.conv1.weight", 4)[:2]
    values, keys = _sizes(shapes, "block3.0.attn.v_conv.0.weight", 4)[:2]
    return _Visible(
        embed_dims=(c0, c1, c2, c3),
        depths=(_depth(shapes, "block3"), _depth(shapes, "block4")),
        # A ratio that is not whole shows as a wrong shape later.
        mlp_ratio=max(hidden // narrow, 1),
        value_ratio=max(values // keys, 1),
        in_channels=_sizes(shapes, "downsample1_1.encode_conv.weight", 4)[1],
    )


def _sizes(shapes: Mapping[str, Shape], name: str, axes: int) -> Shape:
    if name not in shapes:
        raise RefusedError(f"the file has no entry {name}, so this is no E-SpikeFormer", _READABLE)
    shape = shapes[name]
    if len(shape) != axes or not all(1 <= size <= _MAX_WIDTH for size in shape):
        raise RefusedError(
            f"{name} has shape {shape}, expected {axes} axes of 1 to {_MAX_WIDTH:,}", _READABLE
        )
    return shape


def _depth(shapes: Mapping[str, Shape], stage: str) -> int:
    """Blocks of a stage; a gap in the numbers shows as missing entries later."""
    matches = (_BLOCK.match(name) for name in shapes)
    return len({match[2] for match in matches if match and match[1] == stage})


def match_entries(config: ESpikeFormerConfig, shapes: Mapping[str, Shape]) -> ESpikeFormer:
    """The network without memory for its weights, once every entry is known to fit.

    Raises:
        RefusedError: names the first entry that is missing, of another shape, or of no layer.
    """
    # Nothing is allocated: a made-up file cannot ask for more memory than it has itself.
    with torch.device("meta"):
        model = ESpikeFormer(config)
    problems = list(_problems(model, shapes))
    if problems:
        others = f", and {len(problems) - 1} more entries do not fit" if problems[1:] else ""
        raise RefusedError(
            f"{problems[0]}{others}",
            f"name the network it was trained as with arch, or {_READABLE}",
        )
    return model


def _problems(model: ESpikeFormer, shapes: Mapping[str, Shape]) -> Iterator[str]:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, shape in expected.items():
        if name not in shapes:
            if not name.endswith(_COUNTER):
                yield f"the file has no entry {name}, expected one of shape {shape}"
        elif shapes[name] != shape:
            yield f"{name} has shape {shapes[name]}, expected {shape}"
    for name in shapes:
        if name not in expected:
            yield f"the entry {shown(name)} belongs to no layer of this network"
