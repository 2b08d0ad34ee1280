"""What a SpikeYOLO is made of: convolutions behind neurons, and residual blocks of them.

Every branch begins with a neuron and ends with a batch norm; residual sums, concatenation,
upsampling and pooling act on the real values between. Time steps lie one after the other on the
batch axis. Module names are upstream's, so that published weights load as they are.

Source: Luo et al. 2024 (SpikeYOLO), arXiv:2407.20708.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2f_models.neuron import IntegerFire

NORM_EPSILON, NORM_MOMENTUM = 1e-3, 0.03

Neuron = Callable[[], IntegerFire]
Norm = Callable[[int], nn.BatchNorm2d]


def norm(channels: int) -> nn.BatchNorm2d:
    """The batch norm of all layers."""
    return nn.BatchNorm2d(channels, NORM_EPSILON, NORM_MOMENTUM)


def conv(in_channels: int, out_channels: int, kernel: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size, without bias."""
    return nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)


def depthwise(channels: int, kernel: int, padding: int) -> nn.Conv2d:
    """One kernel for each channel, without bias."""
    return nn.Conv2d(channels, channels, kernel, padding=padding, groups=channels, bias=False)


class NormAndPad(nn.Module):
    """Batch norm, then a border of one pixel that holds what the norm gives for zero."""

    def __init__(self, channels: int, norm: Norm = norm) -> None:
        super().__init__()
        self.bn = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> float[B, C, H + 2, W + 2]."""
        if not self.training:
            # The same values: a border of zeros that the norm shifts along.
            y: Tensor = self.bn(F.pad(x, (1, 1, 1, 1)))
            return y
        # The border must stay out of the statistics of the batch.
        mean, var = self.bn.running_mean, self.bn.running_var
        assert mean is not None
        assert var is not None
        inner: Tensor = self.bn(x)
        border = self.bn.bias - mean * self.bn.weight * (var + self.bn.eps).rsqrt()
        border = border.detach().to(inner.dtype)[:, None, None]
        return F.pad(inner - border, (1, 1, 1, 1)) + border


class SepRepConv(nn.Module):
    """Linear: padding norm, 1x1 convolution, depthwise 3x3 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        linear = nn.Sequential(conv(in_channels, out_channels), depthwise(out_channels, 3, 0))
        self.body = nn.Sequential(NormAndPad(in_channels), linear)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> float[B, C', H, W]."""
        y: Tensor = self.body(x)
        return y


class RepConv(nn.Module):
    """Linear: 1x1 convolution, padding norm, depthwise 3x3 and 1x1 convolutions, norm."""

    def __init__(self, in_channels: int, out_channels: int, norm: Norm = norm) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(in_channels, in_channels),
            NormAndPad(in_channels, norm),
            nn.Sequential(
                depthwise(in_channels, 3, 0), conv(in_channels, out_channels), norm(out_channels)
            ),
        )

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> float[B, C', H, W]."""
        y: Tensor = self.body(x)
        return y


class SepConv(nn.Module):
    """Inverted separable convolution with a neuron before each of its three parts."""

    def __init__(self, neuron: Neuron, channels: int, kernel: int) -> None:
        super().__init__()
        hidden = 2 * channels
        self.lif1, self.lif2, self.lif3 = neuron(), neuron(), neuron()
        self.pwconv1 = conv(channels, hidden)
        self.dwconv2 = depthwise(hidden, kernel, kernel // 2)
        self.pwconv3 = SepRepConv(hidden, channels)
        self.bn1, self.bn2, self.bn3 = norm(hidden), norm(hidden), norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> the same shape."""
        x = self.bn1(self.pwconv1(self.lif1(x)))
        x = self.bn2(self.dwconv2(self.lif2(x)))
        y: Tensor = self.bn3(self.pwconv3(self.lif3(x)))
        return y


class StandardConv(nn.Module):
    """Neuron, convolution, batch norm; the size is divided by the stride."""

    def __init__(self, neuron: Neuron, channels: tuple[int, int], kernel: int, stride: int) -> None:
        super().__init__()
        self.lif = neuron()
        self.conv = nn.Conv2d(*channels, kernel, stride, kernel // 2, bias=False)
        self.bn = norm(channels[1])

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> float[B, C', H / stride, W / stride]."""
        y: Tensor = self.bn(self.conv(self.lif(x)))
        return y


class LastConv(nn.Module):
    """Neuron, then a 1x1 convolution with bias whose output nothing normalises."""

    def __init__(self, neuron: Neuron, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.lif = neuron()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> float[B, C', H, W]."""
        y: Tensor = self.conv(self.lif(x))
        return y


class Downsample(nn.Module):
    """[Neuron unless first] -> strided convolution with bias -> batch norm."""

    def __init__(
        self,
        neuron: Neuron,
        channels: tuple[int, int],
        kernel: int,
        stride: int,
        padding: int,
        *,
        first: bool,
    ) -> None:
        super().__init__()
        self.encode_conv = nn.Conv2d(*channels, kernel, stride, padding)
        self.encode_bn = norm(channels[1])
        self.encode_lif = nn.Identity() if first else neuron()

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> float[B, C', H / stride, W / stride]."""
        y: Tensor = self.encode_bn(self.encode_conv(self.encode_lif(x)))
        return y


class AllConvBlock(nn.Module):
    """SepConv, then two full 3x3 convolutions through ``ratio`` times the channels."""

    def __init__(self, neuron: Neuron, channels: int, ratio: float, kernel: int) -> None:
        super().__init__()
        hidden = int(channels * ratio)
        self.Conv = SepConv(neuron, channels, kernel)
        self.conv1 = StandardConv(neuron, (channels, hidden), 3, 1)
        self.conv2 = StandardConv(neuron, (hidden, channels), 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> the same shape."""
        x = self.Conv(x) + x
        y: Tensor = self.conv2(self.conv1(x)) + x
        return y


class ConvBlock(nn.Module):
    """SepConv, then two linear chains through ``ratio`` times the channels."""

    def __init__(self, neuron: Neuron, channels: int, ratio: float, kernel: int) -> None:
        super().__init__()
        hidden = int(channels * ratio)
        self.Conv = SepConv(neuron, channels, kernel)
        self.lif1, self.lif2 = neuron(), neuron()
        self.conv1 = RepConv(channels, hidden)
        self.bn1 = norm(hidden)
        self.conv2 = RepConv(hidden, channels)
        self.bn2 = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> the same shape."""
        x = self.Conv(x) + x
        h = self.bn1(self.conv1(self.lif1(x)))
        y: Tensor = self.bn2(self.conv2(self.lif2(h))) + x
        return y


class PyramidPooling(nn.Module):
    """A convolution, three max poolings of real values one after the other, a convolution."""

    def __init__(self, neuron: Neuron, in_channels: int, out_channels: int, window: int) -> None:
        super().__init__()
        hidden = in_channels // 2
        self.cv1 = StandardConv(neuron, (in_channels, hidden), 1, 1)
        self.cv2 = StandardConv(neuron, (4 * hidden, out_channels), 1, 1)
        self.m = nn.MaxPool2d(window, 1, window // 2)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, C, H, W] -> float[B, C', H, W]."""
        levels = [self.cv1(x)]
        for _ in range(3):
            levels.append(self.m(levels[-1]))
        y: Tensor = self.cv2(torch.cat(levels, 1))
        return y
