"""The networks this package can build, by name."""

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial
from typing import TypeAlias

import torch

from s2f_models.e_spikeformer import ESpikeFormer, ESpikeFormerConfig
from s2f_models.errors import ModelError, shown
from s2f_models.event_classifier import EventClassifier, EventClassifierConfig
from s2f_models.layer_table import changed_table, published_table
from s2f_models.spike2former import Spike2Former, Spike2FormerConfig
from s2f_models.spike_yolo import SpikeYolo, SpikeYoloConfig

Config: TypeAlias = (
    ESpikeFormerConfig | SpikeYoloConfig | EventClassifierConfig | Spike2FormerConfig
)
Network: TypeAlias = ESpikeFormer | SpikeYolo | EventClassifier | Spike2Former

_COCO, _COCO_LARGE = published_table(), published_table(last_ratio=2)
_GEN1 = partial(
    SpikeYoloConfig, published_table(deep_repeats=1), num_classes=2, timesteps=2, variant="gen1"
)

# What the fields of a configuration are called where the caller states them.
_ARGUMENTS = {"levels": "D", "timesteps": "T"}

# Trained with the outputs of another data set; those behind the first 21 are dead.
_VOC = partial(Spike2FormerConfig, num_classes=150, live_classes=21)

# Small enough to train on one core and to travel: blocks as wide as their input, fewer of them.
_BCCD = changed_table(
    published_table(),
    {
        2: (1, (2, 7)),
        4: (1, (2, 7)),
        6: (2, (1, 7)),
        7: (1, (768, 3, 2, 1, 0)),
        8: (1, (1, 7)),
        9: (1, (768, 5)),
        10: (1, (384, 1, 1)),
        12: (1, (1, 7)),
        16: (1, (2, 7)),
        19: (1, (2, 7)),
        22: (1, (1, 7)),
        23: (1, (384, 3, 2)),
    },
)

# Small enough to train on one core and to travel; what is sampled between pixels is so on a grid.
_SMALL_SPIKE2FORMER = partial(
    Spike2FormerConfig,
    embed_dims=(16, 24, 48, 48),
    depths=(1, 1),
    num_heads=4,
    num_classes=11,
    channels=32,
    groups=4,
    encoder_layers=1,
    decoder_layers=2,
    decoder_hidden=256,
    offset_bits=4,
)

CONFIGS: Mapping[str, Config] = {
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
    "spike_yolo_n": SpikeYoloConfig(_COCO, 0.33, 0.375, 1024),
    # The network published as 23M; m is 48M and l is 69M.
    "spike_yolo_s": SpikeYoloConfig(_COCO, 0.33, 0.5, 1024),
    "spike_yolo_m": SpikeYoloConfig(_COCO_LARGE, 0.5, 0.625, 7024),
    "spike_yolo_l": SpikeYoloConfig(_COCO_LARGE, 0.5, 0.75, 1024),
    "spike_yolo_bccd": SpikeYoloConfig(_BCCD, 1, 0.0625, 1024, num_classes=3),
    "spike_yolo_gen1_n": _GEN1(0.33, 0.25, 1024),
    "spike_yolo_gen1_s": _GEN1(0.33, 0.5, 1024),
    "spike_yolo_gen1_m": _GEN1(0.67, 0.75, 768),
    "spike_yolo_gen1_l": _GEN1(1, 1, 512),
    "spike_yolo_gen1_x": _GEN1(1, 1.25, 512),
    "spike2former_ade20k": Spike2FormerConfig(),
    "spike2former_ade20k_v3": Spike2FormerConfig("sdtv3"),
    "spike2former_ade20k_large": Spike2FormerConfig(num_queries=200, mlp_ratio=8, decoder_layers=9),
    "spike2former_voc": _VOC(),
    "spike2former_voc_v3": _VOC("sdtv3"),
    "spike2former_cityscapes": Spike2FormerConfig(num_classes=19, mlp_ratio=8),
    "spike2former_cityscapes_v3": Spike2FormerConfig("sdtv3", num_classes=19),
    "spike2former_cocostuff": Spike2FormerConfig(num_classes=171),
    # Digits on photographs and the background, and the street scenes of CamVid.
    "spike2former_digits": _SMALL_SPIKE2FORMER(num_queries=20),
    "spike2former_digits_v3": _SMALL_SPIKE2FORMER("sdtv3", num_queries=20),
    "spike2former_camvid": _SMALL_SPIKE2FORMER(num_queries=24),
    "spike2former_camvid_v3": _SMALL_SPIKE2FORMER("sdtv3", num_queries=24),
    # Recordings of 34x34 pixels, one frame for each of the camera's three movements.
    "event_classifier_nmnist": EventClassifierConfig((24, 40, 48), (2, 2, 2), (1, 1, 1)),
}


def list_models() -> list[str]:
    """Names that ``create`` takes."""
    return list(CONFIGS)


def find_config(name: str) -> Config:
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
    T: int | None = None,
    norm: int | None = None,
    offset_bits: int | None = None,
    in_channels: int | None = None,
    embed_dims: tuple[int, int, int, int] | None = None,
    depths: tuple[int, int] | None = None,
    num_heads: int | None = None,
    strides: tuple[int, int, int, int, int] | None = None,
    depth: float | None = None,
    width: float | None = None,
) -> Network:
    """A freshly initialised network in float32, training mode.

    Every argument but the name, one of ``list_models()``, replaces what the network was
    published with: see ``ESpikeFormerConfig``, ``SpikeYoloConfig`` and ``Spike2FormerConfig``.
    ``D`` is the largest count of every neuron, ``T`` the number of real time steps.

    Raises:
        ModelError: no such network, or it has nothing of that name.
        ValueError: widths that the heads do not divide, or offsets too fine.
    """
    given = {
        "num_classes": num_classes,
        "levels": D,
        "timesteps": T,
        "norm": norm,
        "offset_bits": offset_bits,
        "in_channels": in_channels,
        "embed_dims": embed_dims,
        "depths": depths,
        "num_heads": num_heads,
        "strides": strides,
        "depth": depth,
        "width": width,
    }
    overrides = {key: value for key, value in given.items() if value is not None}
    return adapt(name, find_config(name), overrides).build()


def adapt(name: str, config: Config, overrides: Mapping[str, object]) -> Config:
    """A configuration with other values.

    Raises:
        ModelError: the network has nothing of that name; its one time step may be stated.
    """
    known = {field.name for field in fields(config)}
    # A network without time steps runs in one.
    changes = {
        key: value
        for key, value in overrides.items()
        if key in known or (key, value) != ("timesteps", config.timesteps)
    }
    if unknown := sorted(changes.keys() - known):
        argument = _ARGUMENTS.get(unknown[0], unknown[0])
        why = config.why_absent.get(unknown[0]) if isinstance(config, Spike2FormerConfig) else None
        raise ModelError(
            f"{shown(name)} has no {argument} to choose" + (f": {why}" if why else ""),
            where=f"the argument {argument}",
            fix="leave it out",
        )
    return replace(config, **changes)  # type: ignore[arg-type]
