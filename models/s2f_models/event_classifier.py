"""A small classifier of event camera recordings, with real time steps.

Counts of events enter as spikes: the first layer is a neuron, which hands integers on as they are
and remembers nothing of them. So does every other layer begin with a neuron, and none multiplies.

Source: Luo et al. 2024 (I-LIF), arXiv:2407.20708.
"""

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from s2f_models.neuron import IntegerFire
from s2f_models.spike_yolo import TimeSteps
from s2f_models.spike_yolo_blocks import Neuron, StandardConv

_FIRST_KERNEL, _KERNEL = 5, 3


@dataclass(frozen=True, slots=True)
class EventClassifierConfig:
    """Everything that fixes the network besides its weights.

    Attributes:
        embed_dims: channels of the stages.
        strides: by which each stage divides the size it is given.
        depths: residual convolutions of each stage behind the one that sets its channels.
        sensor: width and height of a frame; the head has a weight for each place.
        in_channels: polarities; the first is darker, the second brighter.
        levels: ``D`` of every neuron; counts are handed on as they are.
        timesteps: real time steps, ``T``, one frame each.
    """

    embed_dims: tuple[int, ...]
    strides: tuple[int, ...]
    depths: tuple[int, ...]
    sensor: tuple[int, int] = (34, 34)
    num_classes: int = 10
    in_channels: int = 2
    levels: int = 4
    timesteps: int = 3

    task: ClassVar[str] = "classification"
    num_heads: ClassVar[int] = 0
    # The entry of a state dict whose first axis is the classes.
    class_entry: ClassVar[str] = "head.conv.weight"

    def __post_init__(self) -> None:
        if not 1 <= len(self.embed_dims) == len(self.strides) == len(self.depths):
            raise ValueError(
                f"{len(self.embed_dims)} widths, {len(self.strides)} strides and "
                f"{len(self.depths)} depths are not one of each per stage"
            )

    @property
    def neuron(self) -> partial[IntegerFire]:
        """Constructor of every neuron."""
        return partial(IntegerFire, self.levels, 1, timesteps=self.timesteps)

    @property
    def last_plane(self) -> tuple[int, int]:
        """Rows and columns behind the last stage: each stage rounds up."""
        width, height = self.sensor
        for stride in self.strides:
            width, height = math.ceil(width / stride), math.ceil(height / stride)
        return height, width

    def input_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Of one sample, ``(1, T, C, H, W)``; one time step has no axis of its own."""
        frames = (self.timesteps,) if self.timesteps > 1 else ()
        return (1, *frames, self.in_channels, height, width)

    def build(self) -> "EventClassifier":
        """A freshly initialised network."""
        return EventClassifier(self)


class Stage(nn.Module):
    """A convolution that sets size and channels, then residual ones that keep them."""

    def __init__(
        self, neuron: Neuron, channels: tuple[int, int], kernel: int, stride: int, depth: int
    ) -> None:
        super().__init__()
        width = channels[1]
        self.entry = StandardConv(neuron, channels, kernel, stride)
        self.blocks = nn.ModuleList(
            StandardConv(neuron, (width, width), _KERNEL, 1) for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> float[B, C', H / stride, W / stride], rounded up."""
        y: Tensor = self.entry(x)
        for block in self.blocks:
            y = block(y) + y
        return y


class Head(nn.Module):
    """Neuron, then a fully connected layer, as a convolution whose kernel is the whole plane."""

    def __init__(
        self, neuron: Neuron, channels: int, plane: tuple[int, int], num_classes: int
    ) -> None:
        super().__init__()
        self.lif = neuron()
        self.conv = nn.Conv2d(channels, num_classes, plane)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] of just that plane -> float[B, classes, 1, 1]."""
        y: Tensor = self.conv(self.lif(x))
        return y


class EventClassifier(nn.Module):
    """The whole classifier: frames of counts in, one logit per class out."""

    def __init__(self, config: EventClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.frames = TimeSteps(config.timesteps)
        widths = (config.in_channels, *config.embed_dims)
        kernels = (_FIRST_KERNEL, *[_KERNEL] * (len(config.embed_dims) - 1))
        self.stages = nn.Sequential(
            *(
                Stage(config.neuron, *sizes)
                for sizes in zip(
                    pairwise(widths), kernels, config.strides, config.depths, strict=True
                )
            )
        )
        self.head = Head(config.neuron, widths[-1], config.last_plane, config.num_classes)

    def forward(self, frames: Tensor) -> Tensor:
        """Counts of events to a logit for each class.

        Args:
            frames: integers 0..D as float[B, T, in_channels, H, W], oldest first.

        Returns:
            float[B, classes], the mean over time.

        Raises:
            ValueError: frames of another sensor, or another number of them.
        """
        width, height = self.config.sensor
        if frames.shape[-2:] != (height, width):
            raise ValueError(
                f"frames of {frames.shape[-1]}x{frames.shape[-2]} pixels for a network of "
                f"{width}x{height} pixels"
            )
        maps: Tensor = self.head(self.stages(self.frames(frames)))
        steps = self.config.timesteps
        if steps > 1:
            maps = maps.reshape(steps, -1, *maps.shape[1:]).mean(0)
        return maps.flatten(1)
