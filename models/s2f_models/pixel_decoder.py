"""The pixel decoder of Spike2Former: four maps in, three levels and the mask features out.

Every convolution reads counts; residual sums, upsampling and sampling act on real values. Module
names are upstream's, so that published weights load as they are.

Source: Lei et al. 2025, arXiv:2412.14587.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2f_models.deformable_sampling import DeformableSample
from s2f_models.e_spikeformer import MLP, BlockConfig, SepConv, conv_norm
from s2f_models.neuron import IntegerFire
from s2f_models.reread import Reread

# Taps of the sampling, and the depthwise convolutions around it.
KERNEL, WIDE_KERNEL = 3, 5
FIRST_GAMMA = 1e-6


class PixelDecoderConfig(BlockConfig, Protocol):
    """What the pixel decoder takes from the configuration of the network."""

    @property
    def channels(self) -> int:
        """Of everything in here."""

    @property
    def groups(self) -> int:
        """Of channels that are sampled together."""

    @property
    def offset_bits(self) -> int:
        """Fraction bits of offsets, 0 for offsets as they are."""

    @property
    def encoder_layers(self) -> int:
        """Layers on the coarsest map."""


def biased_conv_norm(in_channels: int, out_channels: int) -> nn.Sequential:
    """1x1 convolution with bias, then batch norm."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels))


class DeformableAttention(nn.Module):
    """SDDA: real values sampled where spikes say, once for every attention spike."""

    def __init__(self, config: PixelDecoderConfig) -> None:
        super().__init__()
        channels = config.channels
        taps = config.groups * KERNEL * KERNEL
        self.dw_spike = config.neuron()
        self.dw_conv = conv_norm(channels, channels, WIDE_KERNEL, groups=channels)
        self.offset_spike = config.neuron()
        self.offset = biased_conv_norm(channels, 2 * taps)
        self.mask = biased_conv_norm(channels, taps)
        self.mask_spike = config.neuron()
        self.input_proj = SepConv(config, channels, WIDE_KERNEL)
        self.output_proj = SepConv(config, channels, WIDE_KERNEL)
        self.reread_offset = Reread()
        self.reread_mask = Reread()
        self.sampler = DeformableSample(config.groups, KERNEL, config.offset_bits)
        # No attention at first: training begins as if there were no sampling.
        for parameter in (*self.offset[0].parameters(), *self.mask[0].parameters()):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> the same shape."""
        projected = self.input_proj(x)
        spikes = self.offset_spike(self.dw_conv(self.dw_spike(x)))
        offsets = self.reread_offset(self.offset(spikes))
        attention = self.mask_spike(self.reread_mask(self.mask(spikes)))
        y: Tensor = self.output_proj(self.sampler(projected, offsets, attention))
        return y


class EncoderLayer(nn.Module):
    """SDTE: separable convolution, SDDA and MLP, each scaled by channel, added to the stream."""

    def __init__(self, config: PixelDecoderConfig) -> None:
        super().__init__()
        channels = config.channels
        self.gamma1, self.gamma2, self.gamma3 = (
            nn.Parameter(torch.full((channels,), FIRST_GAMMA)) for _ in range(3)
        )
        self.Conv = SepConv(config, channels, KERNEL)
        self.dcn = DeformableAttention(config)
        self.ffn = MLP(config, channels)
        self.reread_ffn = Reread()

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> the same shape."""
        x = x + self.gamma1[:, None, None] * self.Conv(x)
        x = x + self.gamma2[:, None, None] * self.dcn(x)
        # The last factor belongs to the channel that a value is read as, not that it came from.
        mixed: Tensor = self.reread_ffn(self.ffn(x))
        return x + self.gamma3[:, None, None] * mixed.permute(0, 3, 1, 2)


class Encoder(nn.Module):
    """SDTE layers one after the other."""

    def __init__(self, config: PixelDecoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList([EncoderLayer(config) for _ in range(config.encoder_layers)])

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> the same shape."""
        for layer in self.layers:
            x = layer(x)
        return x


class PixelDecoder(nn.Module):
    """SDTE layers on the coarsest map, then a feature pyramid up to half the image's size.

    Args:
        config: of the network.
        widths: channels of the four maps, the finest first.
    """

    def __init__(self, config: PixelDecoderConfig, widths: Sequence[int]) -> None:
        super().__init__()
        *fine, coarse = widths
        channels = config.channels
        self.lateral_convs = nn.ModuleList([biased_conv_norm(width, channels) for width in fine])
        self.output_convs = nn.ModuleList(
            [conv_norm(channels, channels, KERNEL, groups=channels) for _ in fine]
        )
        self.lateral_convs_spike = _neurons(config.neuron, len(fine))
        self.output_convs_spike = _neurons(config.neuron, len(fine))
        self.mask_feature = nn.Conv2d(channels, channels, 1)
        self.mask_feature_spike = config.neuron()
        self.encoder = Encoder(config)
        self.last_feat_conv_spike = config.neuron()
        self.encoder_in_proj = biased_conv_norm(coarse, channels)
        self.encoder_out_proj_spike = config.neuron()
        self.encoder_out_proj = biased_conv_norm(channels, channels)

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Four maps, the finest first, each half as large as the one before.

        Returns:
            All but the finest level, the coarsest first, and the mask features, float[B, C, H, W]
            each.
        """
        *fine, coarse = maps
        y = self.encoder(self.encoder_in_proj(self.last_feat_conv_spike(coarse)))
        y = self.encoder_out_proj(self.encoder_out_proj_spike(y))
        levels = []
        for i in reversed(range(len(fine))):
            levels.append(y)
            lateral = self.lateral_convs[i](self.lateral_convs_spike[i](fine[i]))
            size = lateral.shape[2:]
            y = lateral + F.interpolate(y, size, mode="bilinear", align_corners=False)
            y = self.output_convs[i](self.output_convs_spike[i](y))
        return levels, self.mask_feature(self.mask_feature_spike(y))


def _neurons(neuron: Callable[[], IntegerFire], count: int) -> nn.ModuleList:
    return nn.ModuleList([neuron() for _ in range(count)])
