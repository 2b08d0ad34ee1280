"""Street scenes with the class of every pixel (CamVid): reading them, showing them differently.

The archive has ``{train,val,test}/<name>.jpg`` and ``{train,val,test}annot/<name>.png``, whose
pixels are the index of a class, or 11 where nobody knows.

Source: Brostow, Fauqueur and Cipolla 2009; the eleven classes are those of Badrinarayanan et al.
2017 (SegNet), arXiv:1511.00561.
"""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from s2f_models.pixel_score import MEAN, Annotated
from s2f_models.segmentation_loss import IGNORED

CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
# In which the data set draws them.
PALETTE = (
    (128, 128, 128),
    (128, 0, 0),
    (192, 192, 128),
    (128, 64, 128),
    (0, 0, 192),
    (128, 128, 0),
    (192, 128, 128),
    (64, 64, 128),
    (64, 0, 128),
    (64, 64, 0),
    (0, 128, 192),
)
# Of the network's input, in proportion to the pictures; multiples of 16.
HEIGHT, WIDTH = 192, 256
# Changes of a picture that is shown differently: of its size, and of contrast, light and colours.
_ZOOM = 0.8, 1.6
_CONTRAST, _BRIGHTNESS, _TINT = 0.3, 30.0, 0.1


def read_archive(archive: Path, split: str) -> list[Annotated]:
    """All pictures of ``train``, ``val`` or ``test``, in the order of their names."""
    with zipfile.ZipFile(archive) as members:
        names = sorted(name for name in members.namelist() if name.startswith(f"{split}/"))
        pictures = []
        for name in names:
            if not name.endswith(".jpg"):
                continue
            with Image.open(io.BytesIO(members.read(name))) as image:
                pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
            annotation = f"{split}annot/{Path(name).stem}.png"
            with Image.open(io.BytesIO(members.read(annotation))) as image:
                labels = torch.from_numpy(np.array(image)).long()
            labels[labels >= len(CLASSES)] = IGNORED
            pictures.append(Annotated(pixels.contiguous(), labels))
    return pictures


def augmented(picture: Annotated, generator: torch.Generator) -> Annotated:
    """Another zoom, another part, mirrored or not, in other light; of the network's size.

    Where the picture ends there is nothing: the mean of all colours, and no label.
    """

    def draw(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    _, height, width = picture.pixels.shape
    zoom = min(HEIGHT / height, WIDTH / width) * draw(*_ZOOM)
    rows, columns = round(height * zoom), round(width * zoom)
    pixels = F.interpolate(
        picture.pixels[None].float(), (rows, columns), mode="bilinear", antialias=zoom < 1
    )[0]
    labels = F.interpolate(picture.labels[None, None].float(), (rows, columns), mode="nearest")
    top = round(draw(*sorted((0, HEIGHT - rows))))
    left = round(draw(*sorted((0, WIDTH - columns))))
    light = 2 * torch.rand(5, generator=generator) - 1
    mean = pixels.mean()
    pixels = (pixels - mean) * (1 + _CONTRAST * light[0]) + mean + _BRIGHTNESS * light[1]
    pixels = (pixels * (1 + _TINT * light[2:, None, None])).round().clamp(0, 255)
    # Of 8 bits, like the pictures.
    filled = torch.tensor(MEAN).round()[:, None, None].expand(3, HEIGHT, WIDTH)
    placed = _placed(pixels, filled.clone(), top, left).to(torch.uint8)
    nobody = torch.full((1, HEIGHT, WIDTH), float(IGNORED))
    named = _placed(labels[0], nobody, top, left)[0].long()
    if draw(0, 1) < 0.5:  # noqa: PLR2004 (a fair coin)
        placed, named = placed.flip(2), named.flip(1)
    return Annotated(placed, named)


def _placed(source: Tensor, canvas: Tensor, top: int, left: int) -> Tensor:
    """``source`` with its corner at ``top, left`` of ``canvas``, in place; the rest is cut."""
    inner = source[:, max(-top, 0) : HEIGHT - top, max(-left, 0) : WIDTH - left]
    _, rows, columns = inner.shape
    top, left = max(top, 0), max(left, 0)
    canvas[:, top : top + rows, left : left + columns] = inner
    return canvas


def batches(
    pictures: list[Annotated], batch: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of augmented batches in random order; the incomplete last is left."""
    order = torch.randperm(len(pictures), generator=generator).tolist()
    for first in range(0, len(order) - batch + 1, batch):
        shown = [augmented(pictures[i], generator) for i in order[first : first + batch]]
        yield torch.stack([p.pixels for p in shown]), torch.stack([p.labels for p in shown])
