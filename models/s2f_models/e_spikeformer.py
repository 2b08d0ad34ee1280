"""E-SpikeFormer (Spike-Driven Transformer V3), the classification network trained from scratch.

Every branch begins with a neuron and ends with a batch norm; the residual stream is real valued.
Module names are upstream's, so that published state dicts load as they are.

Source: Yao et al. 2025, arXiv:2411.16061.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol

from torch import Tensor, nn

from s2f_models.neuron import IntegerFire


@dataclass(frozen=True, slots=True)
class ESpikeFormerConfig:
    """Everything that fixes the network besides its weights.

    Attributes:
        embed_dims: channels of the four stages; the first convolution has half of the first.
        depths: transformer blocks of the third and the fourth stage.
        strides: of the five downsampling convolutions; published networks use the default.
        levels: ``D`` of every neuron; ``Norm`` equals it, except 1 at the classifier.
    """

    embed_dims: tuple[int, int, int, int]
    depths: tuple[int, int] = (6, 2)
    num_heads: int = 8
    mlp_ratio: int = 4
    value_ratio: int = 4
    in_channels: int = 3
    num_classes: int = 1000
    levels: int = 4
    strides: tuple[int, int, int, int, int] = (2, 2, 2, 2, 1)

    task: ClassVar[str] = "classification"
    timesteps: ClassVar[int] = 1
    # The entry of a state dict whose first axis is the classes.
    class_entry: ClassVar[str] = "head.weight"

    def __post_init__(self) -> None:
        if self.embed_dims[0] % 2:
            raise ValueError(f"the first width is {self.embed_dims[0]}, but it must be even")
        for width in self.embed_dims[2:]:
            if width % self.num_heads:
                raise ValueError(f"a width of {width} does not divide by {self.num_heads} heads")

    @property
    def neuron(self) -> partial[IntegerFire]:
        """Constructor of every neuron but the classifier's."""
        return partial(IntegerFire, self.levels, self.levels)

    def input_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Of one sample, ``(1, C, H, W)``."""
        return (1, self.in_channels, height, width)

    def build(self) -> "ESpikeFormer":
        """A freshly initialised network."""
        return ESpikeFormer(self)


class BlockConfig(Protocol):
    """What a block takes from the configuration of its network."""

    @property
    def neuron(self) -> Callable[[], IntegerFire]:
        """Constructor of every neuron."""

    @property
    def mlp_ratio(self) -> int:
        """Hidden channels of an MLP for each of its channels."""


def conv_norm(
    in_channels: int, out_channels: int, kernel: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution of stride 1 that keeps the size, without bias, then batch norm."""
    conv = nn.Conv2d(
        in_channels, out_channels, kernel, padding=kernel // 2, groups=groups, bias=False
    )
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


class Downsample(nn.Module):
    """[Neuron unless first] -> strided convolution with bias -> batch norm."""

    def __init__(
        self,
        config: ESpikeFormerConfig,
        channels: tuple[int, int],
        kernel: int,
        stride: int,
        *,
        first: bool = False,
    ) -> None:
        super().__init__()
        self.encode_conv = nn.Conv2d(*channels, kernel, stride, kernel // 2)
        self.encode_bn = nn.BatchNorm2d(channels[1])
        self.encode_spike = nn.Identity() if first else config.neuron()

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> float[B, C', H / stride, W / stride]."""
        y: Tensor = self.encode_bn(self.encode_conv(self.encode_spike(x)))
        return y


class SepConv(nn.Module):
    """Inverted separable convolution with a neuron before each of its three parts."""

    def __init__(self, config: BlockConfig, channels: int, kernel: int) -> None:
        super().__init__()
        hidden = 2 * channels
        self.spike1 = config.neuron()
        self.pwconv1 = conv_norm(channels, hidden)
        self.spike2 = config.neuron()
        self.dwconv = conv_norm(hidden, hidden, kernel, groups=hidden)
        self.spike3 = config.neuron()
        self.pwconv2 = conv_norm(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> the same shape."""
        x = self.pwconv1(self.spike1(x))
        x = self.dwconv(self.spike2(x))
        y: Tensor = self.pwconv2(self.spike3(x))
        return y


class ConvBlock(nn.Module):
    """SepConv with a 7x7 kernel, then two 3x3 convolutions through 4x the channels."""

    def __init__(
        self,
        config: BlockConfig,
        channels: int,
        separable: Callable[[BlockConfig, int, int], nn.Module] = SepConv,
    ) -> None:
        super().__init__()
        hidden = config.mlp_ratio * channels
        self.Conv = separable(config, channels, 7)
        self.spike1 = config.neuron()
        self.conv1 = nn.Conv2d(channels, hidden, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.spike2 = config.neuron()
        self.conv2 = nn.Conv2d(hidden, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> the same shape."""
        x = x + self.Conv(x)
        y = self.bn1(self.conv1(self.spike1(x)))
        y = self.bn2(self.conv2(self.spike2(y)))
        total: Tensor = x + y
        return total


class Attention(nn.Module):
    """Spiking self-attention without softmax: ``(q kᵀ) v`` of counts, then a neuron."""

    def __init__(self, config: ESpikeFormerConfig, channels: int) -> None:
        super().__init__()
        values = config.value_ratio * channels
        self.num_heads = config.num_heads
        self.scale = 2 / (channels // config.num_heads) ** 0.5
        self.head_spike = config.neuron()
        self.q_conv = conv_norm(channels, channels)
        self.q_spike = config.neuron()
        self.k_conv = conv_norm(channels, channels)
        self.k_spike = config.neuron()
        self.v_conv = conv_norm(channels, values)
        self.v_spike = config.neuron()
        self.attn_spike = config.neuron()
        self.proj_conv = conv_norm(values, channels)

    def split_heads(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> float[B, heads, H * W, C / heads]."""
        batch, channels, height, width = x.shape
        head_width = channels // self.num_heads
        return x.reshape(batch, self.num_heads, head_width, height * width).transpose(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> the same shape."""
        batch, _, height, width = x.shape
        spikes = self.head_spike(x)
        q, k, v = self.q_conv(spikes), self.k_conv(spikes), self.v_conv(spikes)
        q, k, v = self.q_spike(q), self.k_spike(k), self.v_spike(v)
        q, k, v = self.split_heads(q), self.split_heads(k), self.split_heads(v)
        attended = (q @ k.transpose(2, 3)) @ v * self.scale
        attended = attended.transpose(2, 3).reshape(batch, -1, height * width)
        fired = self.attn_spike(attended).reshape(batch, -1, height, width)
        y: Tensor = self.proj_conv(fired)
        return y


class MLP(nn.Module):
    """Two 1x1 convolutions over tokens with biases, through ``mlp_ratio`` times the channels."""

    def __init__(self, config: BlockConfig, channels: int) -> None:
        super().__init__()
        hidden = config.mlp_ratio * channels
        self.fc1_conv = nn.Conv1d(channels, hidden, 1)
        self.fc1_bn = nn.BatchNorm1d(hidden)
        self.fc1_spike = config.neuron()
        self.fc2_conv = nn.Conv1d(hidden, channels, 1)
        self.fc2_bn = nn.BatchNorm1d(channels)
        self.fc2_spike = config.neuron()

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> the same shape."""
        tokens = self.fc1_spike(x.flatten(2))
        tokens = self.fc1_bn(self.fc1_conv(tokens))
        tokens = self.fc2_bn(self.fc2_conv(self.fc2_spike(tokens)))
        y: Tensor = tokens.reshape(x.shape)
        return y


class Block(nn.Module):
    """Transformer block: separable convolution, attention, MLP, each added to the stream."""

    def __init__(self, config: ESpikeFormerConfig, channels: int) -> None:
        super().__init__()
        self.conv = SepConv(config, channels, kernel=3)
        self.attn = Attention(config, channels)
        self.mlp = MLP(config, channels)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> the same shape."""
        x = x + self.conv(x)
        x = x + self.attn(x)
        y: Tensor = x + self.mlp(x)
        return y


class Backbone(nn.Module):
    """Downsampling and blocks: an image in, real values at four strides out."""

    def __init__(
        self,
        config: ESpikeFormerConfig,
        conv_block: Callable[[ESpikeFormerConfig, int], nn.Module] = ConvBlock,
        block: Callable[[ESpikeFormerConfig, int], nn.Module] = Block,
    ) -> None:
        super().__init__()
        self.config = config
        c0, c1, c2, c3 = config.embed_dims
        s0, s1, s2, s3, s4 = config.strides
        down = partial(Downsample, config)
        self.downsample1_1 = down((config.in_channels, c0 // 2), 7, s0, first=True)
        self.ConvBlock1_1 = nn.ModuleList([conv_block(config, c0 // 2)])
        self.downsample1_2 = down((c0 // 2, c0), 3, s1)
        self.ConvBlock1_2 = nn.ModuleList([conv_block(config, c0)])
        self.downsample2 = down((c0, c1), 3, s2)
        self.ConvBlock2_1 = nn.ModuleList([conv_block(config, c1)])
        self.ConvBlock2_2 = nn.ModuleList([conv_block(config, c1)])
        self.downsample3 = down((c1, c2), 3, s3)
        self.block3 = nn.ModuleList([block(config, c2) for _ in range(config.depths[0])])
        self.downsample4 = down((c2, c3), 3, s4)
        self.block4 = nn.ModuleList([block(config, c3) for _ in range(config.depths[1])])

    def features(self, image: Tensor) -> list[Tensor]:
        """float[B, in_channels, H, W] -> four maps, at published strides of 2, 4, 8 and 16."""
        stages: tuple[tuple[nn.Module, ...], ...] = (
            (self.downsample1_1, *self.ConvBlock1_1),
            (self.downsample1_2, *self.ConvBlock1_2),
            (self.downsample2, *self.ConvBlock2_1, *self.ConvBlock2_2),
            (self.downsample3, *self.block3, self.downsample4, *self.block4),
        )
        maps, x = [], image
        for stage in stages:
            for module in stage:
                x = module(x)
            maps.append(x)
        return maps


class ESpikeFormer(Backbone):
    """The whole classifier: an image in, one logit per class out."""

    def __init__(self, config: ESpikeFormerConfig) -> None:
        super().__init__(config)
        self.spike = IntegerFire(config.levels, norm=1)
        self.head = nn.Linear(config.embed_dims[3], config.num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """float[B, in_channels, H, W] -> float[B, num_classes]."""
        x = self.features(image)[-1]
        logits: Tensor = self.head(self.spike(x.flatten(2).mean(2)))
        return logits
