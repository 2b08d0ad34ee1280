"""The detection head: three maps of numbers, and the boxes and scores they stand for.

Source: Li et al. 2020 (distribution focal loss), arXiv:2006.04388; Luo et al. 2024 (SpikeYOLO),
arXiv:2407.20708.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from s2f_models.layer_table import STRIDES
from s2f_models.spike_yolo_blocks import LastConv, Neuron, StandardConv

BINS, SIDES = 16, 4
_LEAST_BOX_CHANNELS, _MOST_CLASS_CHANNELS = 64, 100
# What an untrained head expects: so many objects in an image of so many pixels.
_USUAL_OBJECTS, _USUAL_PIXELS = 5, 640 * 640
# From bin to bin: a distance of two cells is expected, as objects of every level have it.
_BOX_BIAS_STEP = -0.4


class Expectation(nn.Module):
    """The mean bin of a distribution, as a convolution with the fixed weights 0..15."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(BINS, 1, 1, bias=False)
        self.conv.weight.requires_grad_(False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.arange(BINS).view(1, BINS, 1, 1))

    def forward(self, logits: Tensor) -> Tensor:
        """float[B, 4 * 16, A] -> float[B, 4, A], in units of a cell."""
        batch, _, anchors = logits.shape
        bins = logits.reshape(batch, SIDES, BINS, anchors).transpose(1, 2)
        expected: Tensor = self.conv(bins.softmax(1))
        return expected.reshape(batch, SIDES, anchors)


def anchor_points(shapes: Sequence[tuple[int, int]], like: Tensor) -> tuple[Tensor, Tensor]:
    """Cell centres in cells, float[2, A] as x and y, and the stride of each cell, float[A].

    Rows of a map follow each other, and the levels follow each other.
    """
    centres, strides = [], []
    for (height, width), stride in zip(shapes, STRIDES, strict=True):
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        centres.append(torch.stack((x.flatten(), y.flatten())))
        strides.append(torch.full((height * width,), stride))
    points = torch.cat(centres, 1).to(like) + 0.5
    return points, torch.cat(strides).to(like)


class Detect(nn.Module):
    """A box branch and a class branch on each of three levels.

    Args:
        neuron: constructor of the neurons.
        channels: of the three levels.
        num_classes: scores of a cell.
        timesteps: real time steps on the batch axis; the maps are their mean.
    """

    def __init__(
        self, neuron: Neuron, channels: tuple[int, ...], num_classes: int, timesteps: int
    ) -> None:
        super().__init__()
        box = max(channels[0] // 4, _LEAST_BOX_CHANNELS)
        score = max(channels[0], min(num_classes, _MOST_CLASS_CHANNELS))

        def branch(width: int, hidden: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(
                StandardConv(neuron, (width, hidden), 3, 1),
                StandardConv(neuron, (hidden, hidden), 3, 1),
                LastConv(neuron, hidden, outputs),
            )

        self.timesteps = timesteps
        self.num_classes = num_classes
        self.cv2 = nn.ModuleList(branch(width, box, SIDES * BINS) for width in channels)
        self.cv3 = nn.ModuleList(branch(width, score, num_classes) for width in channels)
        self.dfl = Expectation()
        self.expect(_USUAL_OBJECTS, _USUAL_PIXELS)

    def expect(self, objects: float, pixels: int) -> None:
        """Biases of an untrained head: boxes of four cells, scores as rare as objects are.

        Args:
            objects: in an image, of all classes.
            pixels: of an image.
        """
        for boxes, scores, stride in zip(self.cv2, self.cv3, STRIDES, strict=True):
            rare = math.log(objects / self.num_classes / (pixels / stride**2))
            near = (torch.arange(BINS) * _BOX_BIAS_STEP).repeat(SIDES)
            for part, bias in ((boxes, near), (scores, torch.full((self.num_classes,), rare))):
                assert isinstance(part, nn.Sequential)
                last = part[-1]
                assert isinstance(last, LastConv)
                assert last.conv.bias is not None
                with torch.no_grad():
                    last.conv.bias.copy_(bias)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """float[T * B, C_i, H_i, W_i] -> raw maps, float[B, 64 + classes, H_i, W_i]."""
        maps = []
        for x, boxes, scores in zip(levels, self.cv2, self.cv3, strict=True):
            joined = torch.cat((boxes(x), scores(x)), 1)
            if self.timesteps > 1:
                joined = joined.reshape(self.timesteps, -1, *joined.shape[1:]).mean(0)
            maps.append(joined)
        return maps

    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        """Raw maps -> float[B, 4 + classes, A].

        The first four numbers of an anchor are a box: centre x, centre y, width and height in
        pixels of the input; the others are scores in 0..1.
        """
        shapes = [(x.shape[2], x.shape[3]) for x in maps]
        flat = torch.cat([x.flatten(2) for x in maps], 2)
        points, strides = anchor_points(shapes, flat)
        distances = self.dfl(flat[:, : SIDES * BINS])
        low, high = points - distances[:, :2], points + distances[:, 2:]
        boxes = torch.cat(((low + high) / 2, high - low), 1) * strides
        return torch.cat((boxes, flat[:, SIDES * BINS :].sigmoid()), 1)
