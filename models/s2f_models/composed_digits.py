"""Digits of MNIST on photographs: pictures to segment, as many as one likes.

    python -m s2f_models.composed_digits --mnist mnist/ --photographs photographs/ --out digits/

writes pictures of the test digits and the class of every pixel beside them: ``test/00000.png``
and ``testannot/00000.png``. The photographs should be none that a network was trained with.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from s2f_models.mnist import SIDE as DIGIT_SIDE
from s2f_models.mnist import Digits, read_digits

CLASSES = ("background", *"0123456789")
SIDE = 128
HELD_OUT = 500
SUFFIXES = (".jpg", ".jpeg", ".png")
# In a picture.
FEWEST, MOST = 2, 5
# Of the square that MNIST fitted the ink into, of its own 20 pixels, in pixels of the picture.
_INK, _SMALLEST, _LARGEST = 20, 20.0, 56.0
_TURN = math.radians(30)
# Brighter than this is a digit's stroke; a label is so much wider than the stroke on each side.
_STROKE, _WIDER = 0.25, 2
# Places and colours to choose from: far from the digits before, unlike what is behind.
_PLACES, _COLOURS = 8, 3
_OPACITY = 0.75, 1.0
# Of the crop of a photograph: side in pixels, and changes of contrast, brightness and colours.
_CROP = 64, 256
_CONTRAST, _BRIGHTNESS, _TINT = 0.4, 40.0, 0.15
_GRAIN = 6.0


@dataclass(frozen=True, eq=False, slots=True)
class Scenes:
    """Pictures and the class of every pixel.

    Attributes:
        pictures: uint8[N, 3, SIDE, SIDE].
        labels: int64[N, SIDE, SIDE], 0 for the photograph, else the digit plus 1.
    """

    pictures: Tensor
    labels: Tensor


def read_photographs(folder: Path) -> list[Tensor]:
    """The pictures of a folder in the order of their names, uint8[3, H, W] each.

    Raises:
        ValueError: there are none, or a side is shorter than the smallest crop.
    """
    photographs = []
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES):
        with Image.open(path) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB")))
        if min(pixels.shape[:2]) < _CROP[0]:
            raise ValueError(f"{path.name} is smaller than {_CROP[0]}x{_CROP[0]} pixels")
        photographs.append(pixels.permute(2, 0, 1).contiguous())
    if not photographs:
        raise ValueError(f"there are no photographs in {folder}")
    return photographs


def compose(
    digits: Digits, photographs: list[Tensor], count: int, generator: torch.Generator
) -> Scenes:
    """So many pictures; what is in them depends on the generator alone."""
    canvas = torch.stack([_background(photographs, generator) for _ in range(count)])
    labels = torch.zeros(count, SIDE, SIDE, dtype=torch.int64)
    numbers = torch.randint(FEWEST, MOST + 1, (count,), generator=generator)
    chosen = torch.randint(0, len(digits), (count, MOST), generator=generator)
    sizes = _SMALLEST + (_LARGEST - _SMALLEST) * torch.rand(count, MOST, generator=generator)
    centres = _places(sizes, generator)
    for i in range(int(numbers.max())):
        (there,) = torch.nonzero(numbers > i, as_tuple=True)
        which = chosen[there, i]
        ink = _drawn(digits.pictures[which], sizes[there, i], centres[there, i], generator)
        stroke = _widened(ink) > _STROKE
        label = digits.labels[which][:, None, None] + 1
        labels[there] = torch.where(stroke, label, labels[there])
        below = canvas[there]
        colour = _colours(below, stroke, generator)
        canvas[there] = below + ink[:, None] * (colour[:, :, None, None] - below)
    canvas += (
        _GRAIN
        * torch.rand(count, 1, 1, 1, generator=generator)
        * torch.randn(canvas.shape, generator=generator)
    )
    return Scenes(canvas.round().clamp(0, 255).to(torch.uint8), labels)


def _background(photographs: list[Tensor], generator: torch.Generator) -> Tensor:
    """A part of a photograph in another light, float32[3, SIDE, SIDE] from 0 to 255."""

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    photograph = photographs[draw(0, len(photographs) - 1)]
    _, height, width = photograph.shape
    side = draw(_CROP[0], min(_CROP[1], height, width))
    top, left = draw(0, height - side), draw(0, width - side)
    crop = photograph[None, :, top : top + side, left : left + side].float()
    pixels = F.interpolate(crop, (SIDE, SIDE), mode="bilinear", antialias=side > SIDE)[0]
    if draw(0, 1):
        pixels = pixels.flip(2)
    light = 2 * torch.rand(5, generator=generator) - 1
    mean = pixels.mean()
    pixels = (pixels - mean) * (1 + _CONTRAST * light[0]) + mean + _BRIGHTNESS * light[1]
    return (pixels * (1 + _TINT * light[2:, None, None])).clamp(0, 255)


def _places(sizes: Tensor, generator: torch.Generator) -> Tensor:
    """Centres of digits, as far from those before as some drawn places allow.

    Args:
        sizes: float32[N, MOST].
        generator: draws them.

    Returns:
        float32[N, MOST, 2], x before y, in pixels; every digit's square is inside the picture.
    """
    count = len(sizes)
    drawn = torch.rand(count, MOST, _PLACES, 2, generator=generator)
    half = sizes[:, :, None, None] / 2
    places = half + drawn * (SIDE - 2 * half)
    centres = places[:, :1, 0]
    for i in range(1, MOST):
        gaps = (places[:, i, :, None] - centres[:, None]).norm(dim=3)
        gaps = gaps - (sizes[:, i, None, None] + sizes[:, None, :i]) / 2
        best = gaps.amin(2).argmax(1)
        centres = torch.cat((centres, places[torch.arange(count), i, best][:, None]), 1)
    return centres


def _drawn(pictures: Tensor, sizes: Tensor, centres: Tensor, generator: torch.Generator) -> Tensor:
    """Ink on an empty picture each, float32[N, SIDE, SIDE] from 0 to 1.

    Args:
        pictures: uint8[N, 28, 28].
        sizes: float32[N], of the ink's square.
        centres: float32[N, 2].
        generator: draws how far they are turned, and how opaque they are.
    """
    count = len(pictures)
    turn = _TURN * (2 * torch.rand(count, generator=generator) - 1)
    low, high = _OPACITY
    opacity = low + (high - low) * torch.rand(count, 1, 1, generator=generator)
    # From coordinates of the picture, -1 to 1, to those of the digit's own.
    zoom = SIDE * _INK / (sizes * DIGIT_SIDE)
    cos, sin = zoom * turn.cos(), zoom * turn.sin()
    x, y = (2 * centres / SIDE - 1).unbind(1)
    rows = ((cos, -sin, sin * y - cos * x), (sin, cos, -sin * x - cos * y))
    matrix = torch.stack([torch.stack(row, 1) for row in rows], 1)
    grid = F.affine_grid(matrix, [count, 1, SIDE, SIDE], align_corners=False)
    ink = F.grid_sample(pictures[:, None].float() / 255, grid, align_corners=False)
    return ink[:, 0] * opacity


def _widened(ink: Tensor) -> Tensor:
    """The most ink in a square around every pixel, float32[N, SIDE, SIDE]."""
    across = F.max_pool2d(ink[:, None], (1, 2 * _WIDER + 1), 1, (0, _WIDER))
    return F.max_pool2d(across, (2 * _WIDER + 1, 1), 1, (_WIDER, 0))[:, 0]


def _colours(below: Tensor, stroke: Tensor, generator: torch.Generator) -> Tensor:
    """Of some drawn colours the one most unlike what it will cover, float32[N, 3]."""
    count = len(below)
    drawn = 255 * torch.rand(count, _COLOURS, 3, generator=generator)
    covered = (below * stroke[:, None]).sum((2, 3)) / stroke.sum((1, 2)).clamp(min=1)[:, None]
    best = (drawn - covered[:, None]).norm(dim=2).argmax(1)
    return drawn[torch.arange(count), best]


def write_scenes(scenes: Scenes, folder: Path, split: str) -> None:
    """PNG files of pictures, and of classes by their index: ``test/`` and ``testannot/``."""
    pictures, annotations = folder / split, folder / f"{split}annot"
    for part in (pictures, annotations):
        part.mkdir(parents=True, exist_ok=True)
    for i, (pixels, labels) in enumerate(zip(scenes.pictures, scenes.labels, strict=True)):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(pictures / f"{i:05}.png")
        Image.fromarray(labels.to(torch.uint8).numpy()).save(annotations / f"{i:05}.png")


def held_out(mnist: Path, photographs: Path, count: int, seed: int = 0) -> Scenes:
    """Pictures of test digits; the same for the same arguments."""
    digits = read_digits(mnist, "t10k")
    generator = torch.Generator().manual_seed(seed)
    return compose(digits, read_photographs(photographs), count, generator)


def main() -> None:
    """Write held-out pictures and their labels."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=HELD_OUT)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    write_scenes(held_out(args.mnist, args.photographs, args.count, args.seed), args.out, "test")


if __name__ == "__main__":
    main()
