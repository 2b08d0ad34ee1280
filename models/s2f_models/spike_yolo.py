"""SpikeYOLO: object detection with integer neurons, from images or from events.

A network is built from a layer table and a scale. The COCO variant repeats an image in every
time step; the Gen1 variant takes frames of events and has a neuron with another leak.

Source: Luo et al. 2024 (SpikeYOLO), arXiv:2407.20708.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from s2f_models.detection_head import Detect
from s2f_models.layer_table import BLOCKS, DETECT, Row, Table
from s2f_models.neuron import IntegerFire
from s2f_models.spike_yolo_blocks import (
    AllConvBlock,
    ConvBlock,
    Downsample,
    PyramidPooling,
    StandardConv,
)

Variant = Literal["coco", "gen1"]

# Halving what comes in and what is left is upstream's v + (x - v) / 2.
_LEAKS: dict[Variant, tuple[float, float]] = {"coco": (0.25, 1.0), "gen1": (0.5, 0.5)}
_CHANNEL_STEP, _LEAST_CHANNELS = 8, 4


@dataclass(frozen=True, slots=True)
class SpikeYoloConfig:
    """Everything that fixes the network besides its weights.

    Attributes:
        table: the layers.
        depth: factor of the number of blocks of a stage.
        width: factor of all channels.
        max_channels: of a layer before ``width``; downsampling layers are free of it.
        levels: ``D`` of every neuron; counts are handed on as they are.
        timesteps: real time steps, ``T``.
        variant: ``"coco"`` takes images, ``"gen1"`` frames of events.
    """

    table: Table
    depth: float
    width: float
    max_channels: int
    num_classes: int = 80
    in_channels: int = 3
    levels: int = 4
    timesteps: int = 1
    variant: Variant = "coco"

    task: ClassVar[str] = "detection"
    num_heads: ClassVar[int] = 0

    def __post_init__(self) -> None:
        narrowest = min((self.channels(row) for row in self.table if row.sets_channels), default=8)
        if narrowest < _LEAST_CHANNELS:
            raise ValueError(f"a layer has {narrowest} channels, fewer than {_LEAST_CHANNELS}")

    @property
    def neuron(self) -> partial[IntegerFire]:
        """Constructor of every neuron."""
        leak, gain = _LEAKS[self.variant]
        return partial(IntegerFire, self.levels, 1, timesteps=self.timesteps, leak=leak, gain=gain)

    @property
    def embed_dims(self) -> tuple[int, ...]:
        """Channels behind each downsampling."""
        return tuple(self.channels(row) for row in self.table if row.kind == "MS_DownSampling")

    @property
    def depths(self) -> tuple[int, ...]:
        """Blocks of each stage before the pooling."""
        kinds = [row.kind for row in self.table]
        backbone = self.table[: kinds.index("SpikeSPPF")] if "SpikeSPPF" in kinds else self.table
        return tuple(self.repeats(row) for row in backbone if row.kind in BLOCKS)

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the downsampling layers."""
        return tuple(int(row.args[2]) for row in self.table if row.kind == "MS_DownSampling")

    @property
    def class_entry(self) -> str:
        """The entry of a state dict whose first axis is the classes."""
        return f"model.{len(self.table) - 1}.cv3.0.2.conv.weight"

    def input_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Of one sample: ``(1, C, H, W)``, frames of events ``(1, T, C, H, W)``."""
        frames = (self.timesteps,) if self.variant == "gen1" else ()
        return (1, *frames, self.in_channels, height, width)

    def build(self) -> "SpikeYolo":
        """A freshly initialised network."""
        return SpikeYolo(self)

    def repeats(self, row: Row) -> int:
        """Blocks of a stage."""
        return max(round(row.repeats * self.depth), 1) if row.repeats > 1 else row.repeats

    def channels(self, row: Row) -> int:
        """What a layer gives that sets its own number of channels.

        >>> row = Row((8,), 1, "SpikeSPPF", (1024, 5))
        >>> SpikeYoloConfig((), 0.33, 0.3, 1024).channels(row)
        312
        """
        wanted = row.args[0]
        if row.kind == "MS_DownSampling":
            return int(wanted * self.width)
        if row.kind == "SpikeSPPF":
            return math.ceil(min(wanted, self.max_channels) * self.width / _CHANNEL_STEP) * (
                _CHANNEL_STEP
            )
        return min(int(wanted * self.width), int(self.max_channels * self.width))


class TimeSteps(nn.Module):
    """Gives every time step its input: the same image, or its own frame of events."""

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        self.timesteps = timesteps

    def forward(self, image: Tensor) -> Tensor:
        """float[B, C, H, W] or float[B, T, C, H, W] -> float[T * B, C, H, W]."""
        if image.ndim == 4:  # noqa: PLR2004 (images have no axis of time)
            return image if self.timesteps == 1 else torch.cat([image] * self.timesteps)
        if image.shape[1] != self.timesteps:
            raise ValueError(
                f"{image.shape[1]} frames for a network of {self.timesteps} time steps"
            )
        return image.transpose(0, 1).flatten(0, 1)


class Join(nn.Module):
    """Concatenates channels."""

    def forward(self, values: list[Tensor]) -> Tensor:
        """float[B, C_i, H, W] -> float[B, sum of C_i, H, W]."""
        return torch.cat(values, 1)


def _layer(config: SpikeYoloConfig, row: Row, widths: list[int]) -> tuple[nn.Module, int]:
    """One row of the table on sources of these widths, and its own width."""
    neuron, source = config.neuron, widths[0]
    # Ratios may be fractions, everything else is a whole number.
    numbers = [int(arg) for arg in row.args]
    match row.kind:
        case "MS_GetT":
            return TimeSteps(config.timesteps), source
        case "MS_AllConvBlock" | "MS_ConvBlock":
            block = AllConvBlock if row.kind == "MS_AllConvBlock" else ConvBlock
            made = [
                block(neuron, source, row.args[0], numbers[1]) for _ in range(config.repeats(row))
            ]
            return made[0] if len(made) == 1 else nn.Sequential(*made), source
        case "nn.Upsample":
            return nn.Upsample(scale_factor=2, mode="nearest"), source
        case "Concat":
            return Join(), sum(widths)
        case "SpikeDetect":
            return Detect(neuron, tuple(widths), config.num_classes, config.timesteps), 0
        case _:
            width = config.channels(row)
            return _convolution(config, row.kind, (source, width), numbers[1:]), width


def _convolution(
    config: SpikeYoloConfig, kind: str, channels: tuple[int, int], numbers: list[int]
) -> nn.Module:
    neuron = config.neuron
    match kind, numbers:
        case "MS_DownSampling", (kernel, stride, padding, first):
            return Downsample(neuron, channels, kernel, stride, padding, first=bool(first))
        case "MS_StandardConv", (kernel, stride):
            return StandardConv(neuron, channels, kernel, stride)
        case "SpikeSPPF", (window,):
            return PyramidPooling(neuron, *channels, window)
        case _:
            raise ValueError(f"no layer is called {kind} and takes {len(numbers) + 1} numbers")


class SpikeYolo(nn.Module):
    """The whole detector: an image or frames in, a box and scores for every anchor out."""

    def __init__(self, config: SpikeYoloConfig) -> None:
        super().__init__()
        self.config = config
        self.model = nn.ModuleList()
        widths: list[int] = []
        for row in config.table:
            sources = [widths[i] if i >= 0 else config.in_channels for i in row.sources]
            layer, width = _layer(config, row, sources)
            self.model.append(layer)
            widths.append(width)

    def maps(self, image: Tensor) -> list[Tensor]:
        """Raw numbers of the head, float[B, 64 + classes, H / s, W / s] for s = 8, 16, 32."""
        values: list[Tensor] = []
        for row, layer in zip(self.config.table, self.model, strict=True):
            read = [values[i] if i >= 0 else image for i in row.sources]
            values.append(layer(read if row.kind in ("Concat", DETECT) else read[0]))
        # The head, which is last, gives a list.
        maps: list[Tensor] = list(values[-1])
        return maps

    def forward(self, image: Tensor) -> Tensor:
        """Predictions, see ``Detect.decode``.

        Args:
            image: float[B, C, H, W], or frames of events float[B, T, C, H, W]; sides are
                multiples of 32.
        """
        head = self.model[-1]
        assert isinstance(head, Detect)
        return head.decode(self.maps(image))
