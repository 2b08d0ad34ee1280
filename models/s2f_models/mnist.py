"""Handwritten digits (MNIST): their own files, and showing them differently.

Source: LeCun, Cortes and Burges, the MNIST database (IDX files of unsigned bytes).
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 28
# Bytes before the content: a word that names the type, then one per axis.
_HEADS = {"images-idx3": 16, "labels-idx1": 8}
# Largest changes of a digit that is shown differently: degrees, shares, pixels.
_TURN, _SHEAR, _ZOOM, _SHIFT, _BEND = 12.0, 0.15, 0.12, 2.5, 0.6
_BEND_POINTS = 4


@dataclass(frozen=True, eq=False, slots=True)
class Digits:
    """Pictures and what they show.

    Attributes:
        pictures: uint8[N, 28, 28], 0 for paper.
        labels: int64[N].
    """

    pictures: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def without(self, first: int, end: int) -> "Digits":
        """All but ``first`` to ``end - 1``."""
        kept = torch.cat((torch.arange(first), torch.arange(end, len(self))))
        return Digits(self.pictures[kept], self.labels[kept])


def read_digits(folder: Path, split: str) -> Digits:
    """The digits of ``train`` or ``t10k``, from that split's two uncompressed files.

    Raises:
        FileNotFoundError: the folder lacks one of them.
        ValueError: they do not belong together.
    """
    stored = {}
    for kind, head in _HEADS.items():
        content = np.fromfile(folder / f"{split}-{kind}-ubyte", np.uint8)[head:]
        stored[kind] = torch.from_numpy(content)
    pictures, labels = stored.values()
    if len(pictures) != len(labels) * SIDE * SIDE:
        raise ValueError(f"{len(labels)} labels for {len(pictures) / SIDE**2:g} digits in {folder}")
    return Digits(pictures.view(-1, SIDE, SIDE), labels.long())


def framed(pictures: Tensor, side: int) -> Tensor:
    """uint8[N, 28, 28] -> float32[N, 1, side, side] from 0 to 1, each in the middle."""
    margin = (side - SIDE) // 2
    return F.pad(pictures.float() / 255, (margin,) * 4)[:, None]


def distorted(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture turned, sheared, zoomed, bent and shifted by its own draws.

    Args:
        pictures: float32[N, 1, S, S].
        generator: draws them.
    """
    count, _, side, _ = pictures.shape
    # Coordinates of the sampling grid go from -1 to 1.
    pixel = 2 / side
    draws = 2 * torch.rand(6, count, generator=generator) - 1
    angle = math.radians(_TURN) * draws[0]
    cos, sin, shear = angle.cos(), angle.sin(), _SHEAR * draws[1]
    wide, high = 1 + _ZOOM * draws[2], 1 + _ZOOM * draws[3]
    shift = _SHIFT * pixel * draws[4:]
    rows = ((cos * wide, (shear - sin) * high, shift[0]), (sin * wide, cos * high, shift[1]))
    grid = F.affine_grid(
        torch.stack([torch.stack(row, 1) for row in rows], 1),
        list(pictures.shape),
        align_corners=False,
    )
    bends = torch.randn(count, 2, _BEND_POINTS, _BEND_POINTS, generator=generator)
    bend = F.interpolate(bends, (side, side), mode="bicubic", align_corners=True)
    grid = grid + _BEND * pixel * bend.permute(0, 2, 3, 1)
    return F.grid_sample(pictures, grid, align_corners=False)
