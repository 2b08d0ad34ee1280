"""Backbones for segmentation: an image in, four maps of real values out.

Meta-SpikeFormer is the Spike-Driven Transformer V2, here with integer neurons, E-SpikeFormer the
third version of it. Both have one macro layout. The second version has one neuron less in a
separable convolution, and linear chains (RepConv) where the third has 1x1 convolutions.

Source: Yao et al. 2024, arXiv:2404.03663; Yao et al. 2025, arXiv:2411.16061.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from s2f_models.e_spikeformer import (
    MLP,
    Backbone,
    BlockConfig,
    ConvBlock,
    ESpikeFormerConfig,
)
from s2f_models.neuron import IntegerFire
from s2f_models.spike_yolo_blocks import RepConv, conv, depthwise


@dataclass(frozen=True, slots=True)
class BackboneConfig(ESpikeFormerConfig):
    """Widths, depths and neurons of a backbone, which has no classes of its own.

    Attributes:
        norm: divisor of every count.
    """

    norm: int = 4

    @property
    def neuron(self) -> partial[IntegerFire]:
        """Constructor of every neuron."""
        return partial(IntegerFire, self.levels, self.norm)


class ShortSepConv(nn.Module):
    """Inverted separable convolution whose depthwise part feeds the last 1x1 convolution."""

    def __init__(self, config: BlockConfig, channels: int, kernel: int) -> None:
        super().__init__()
        hidden = 2 * channels
        self.spike1 = config.neuron()
        self.pwconv1 = conv(channels, hidden)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.spike2 = config.neuron()
        self.dwconv = depthwise(hidden, kernel, kernel // 2)
        self.pwconv2 = conv(hidden, channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> the same shape."""
        x = self.bn1(self.pwconv1(self.spike1(x)))
        y: Tensor = self.bn2(self.pwconv2(self.dwconv(self.spike2(x))))
        return y


def _rep_conv(channels: int) -> nn.Sequential:
    norm: Callable[[int], nn.BatchNorm2d] = nn.BatchNorm2d
    return nn.Sequential(RepConv(channels, channels, norm), norm(channels))


class RepAttention(nn.Module):
    """Spiking self-attention without softmax: ``q (kᵀ v)`` of counts behind linear chains."""

    def __init__(self, config: ESpikeFormerConfig, channels: int) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.scale = (channels // config.num_heads) ** -0.5
        self.head_spike = config.neuron()
        self.q_conv = _rep_conv(channels)
        self.k_conv = _rep_conv(channels)
        self.v_conv = _rep_conv(channels)
        self.q_spike = config.neuron()
        self.k_spike = config.neuron()
        self.v_spike = config.neuron()
        self.attn_spike = config.neuron()
        self.proj_conv = _rep_conv(channels)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> the same shape."""
        batch, channels = x.shape[:2]
        spikes = self.head_spike(x)
        q, k, v = self.q_conv(spikes), self.k_conv(spikes), self.v_conv(spikes)
        q, k, v = (
            fired.reshape(batch, self.num_heads, channels // self.num_heads, -1).transpose(2, 3)
            for fired in (self.q_spike(q), self.k_spike(k), self.v_spike(v))
        )
        attended = q @ (k.transpose(2, 3) @ v) * self.scale
        fired = self.attn_spike(attended.transpose(2, 3).flatten(1, 2))
        y: Tensor = self.proj_conv(fired.reshape(x.shape))
        return y


class RepBlock(nn.Module):
    """Transformer block: attention and MLP, each added to the stream."""

    def __init__(self, config: ESpikeFormerConfig, channels: int) -> None:
        super().__init__()
        self.attn = RepAttention(config, channels)
        self.mlp = MLP(config, channels)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> the same shape."""
        x = x + self.attn(x)
        y: Tensor = x + self.mlp(x)
        return y


class DenseBackbone(Backbone):
    """A backbone as a segmentation network uses it."""

    def forward(self, image: Tensor) -> list[Tensor]:
        """float[B, in_channels, H, W] -> four maps at strides of 2, 4, 8 and 16.

        A side that a stride does not divide is rounded up.
        """
        return self.features(image)


def sdtv2(config: BackboneConfig) -> DenseBackbone:
    """Meta-SpikeFormer; upstream's ``Spiking_vit_MetaFormer``."""
    return DenseBackbone(config, partial(ConvBlock, separable=ShortSepConv), RepBlock)


def sdtv3(config: BackboneConfig) -> DenseBackbone:
    """E-SpikeFormer; upstream's ``Spiking_vit_MetaFormerv2``."""
    return DenseBackbone(config)
