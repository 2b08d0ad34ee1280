"""The networks this package can build, by name."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from s2f_models.e_spikeformer import ESpikeFormer, ESpikeFormerConfig
from s2f_models.errors import ModelError, shown

CONFIGS: Mapping[str, ESpikeFormerConfig] = {
    "e_spikeformer_t": ESpikeFormerConfig((24, 48, 96, 128)),
    "e_spikeformer_s": ESpikeFormerConfig((32, 64, 128, 192)),
    "e_spikeformer_m": ESpikeFormerConfig((48, 96, 192, 240)),
    "e_spikeformer_l": ESpikeFormerConfig((64, 128, 256, 360)),
    # The bundled model: 32x32 images, so the first convolution keeps the resolution.
    "e_spikeformer_cifar10": ESpikeFormerConfig(
        (16, 32, 64, 64),
        depths=(1, 1),
        num_heads=4,
        num_classes=10,
        strides=(1, 2, 2, 1, 1),
    ),
}


def list_models() -> list[str]:
    """Names that ``create`` takes."""
    return list(CONFIGS)


def find_config(name: str) -> ESpikeFormerConfig:
    """The published configuration of one network.

    Raises:
        ModelError: no such network.
    """
    if name not in CONFIGS:
        raise ModelError(
            f"there is no network called {shown(name)}",
            where="s2f_models.list_models()",
            fix=f"use one of {', '.join(CONFIGS)}",
        )
    return CONFIGS[name]


def count_parameters(name: str) -> int:
    """Parameters of one network, without allocating them.

    Raises:
        ModelError: no such network.
    """
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in create(name).parameters())


def create(
    name: str,
    *,
    num_classes: int | None = None,
    D: int | None = None,
    in_channels: int | None = None,
    embed_dims: tuple[int, int, int, int] | None = None,
    depths: tuple[int, int] | None = None,
    num_heads: int | None = None,
    strides: tuple[int, int, int, int, int] | None = None,
) -> ESpikeFormer:
    """A freshly initialised network in float32, training mode.

    Every argument but the name, one of ``list_models()``, replaces what the network was
    published with: see ``ESpikeFormerConfig``. ``D`` is the largest count of every neuron.

    Raises:
        ModelError: no such network.
        ValueError: widths that the heads do not divide.
    """
    given = {
        "num_classes": num_classes,
        "levels": D,
        "in_channels": in_channels,
        "embed_dims": embed_dims,
        "depths": depths,
        "num_heads": num_heads,
        "strides": strides,
    }
    overrides = {key: value for key, value in given.items() if value is not None}
    return ESpikeFormer(replace(find_config(name), **overrides))  # type: ignore[arg-type]
