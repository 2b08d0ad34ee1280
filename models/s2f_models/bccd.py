"""The blood cell pictures of BCCD: reading them, and showing them in other ways.

The archive has ``BCCD/JPEGImages/<name>.jpg``, ``BCCD/Annotations/<name>.xml`` in the format of
PASCAL VOC, and lists of names in ``BCCD/ImageSets/Main/<split>.txt``.
"""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from s2f_models.task_aligned_assigner import Objects

CLASSES = ("RBC", "WBC", "Platelets")
HEIGHT, WIDTH = 256, 320
PADDING = 114
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_ZOOM = (0.75, 1.6)
# Of the brightness, of the contrast and of each colour.
_JITTER = (0.25, 0.25, 0.12)
# An object of which less is left in the picture is no longer one to be found.
_LEAST_LEFT, _LEAST_SIDE = 0.3, 3


@dataclass(frozen=True, eq=False, slots=True)
class Picture:
    """One annotated picture: uint8[3, H, W], float32[N, 4] corners in pixels, int64[N] classes."""

    pixels: Tensor
    boxes: Tensor
    labels: Tensor


def read_archive(archive: Path, split: str) -> list[Picture]:
    """All pictures of one split, ``trainval`` or ``test``, in the order of its list."""
    with zipfile.ZipFile(archive) as members:
        names = members.read(f"BCCD/ImageSets/Main/{split}.txt").decode().split()
        return [_read(members, name) for name in names]


def _read(members: zipfile.ZipFile, name: str) -> Picture:
    with Image.open(io.BytesIO(members.read(f"BCCD/JPEGImages/{name}.jpg"))) as image:
        pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    boxes, labels = [], []
    for found in ET.fromstring(members.read(f"BCCD/Annotations/{name}.xml")).iter("object"):
        corners = [float(found.findtext(f"bndbox/{key}", "0")) for key in _CORNERS]
        if corners[0] < corners[2] and corners[1] < corners[3]:
            boxes.append(corners)
            labels.append(CLASSES.index(found.findtext("name", "")))
    return Picture(pixels.contiguous(), torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels))


def fitted(picture: Picture) -> Picture:
    """The whole picture in the middle of a grey one of the network's size."""
    _, h, w = picture.pixels.shape
    scale = min(HEIGHT / h, WIDTH / w)
    return _placed(picture, scale, (WIDTH - w * scale) / 2, (HEIGHT - h * scale) / 2)


def _placed(picture: Picture, scale: float, left: float, top: float) -> Picture:
    """Scaled, with its corner at ``left, top`` of a grey picture; what lies outside is cut."""
    _, h, w = picture.pixels.shape
    x, y, new_w, new_h = (round(v) for v in (left, top, w * scale, h * scale))
    small = F.interpolate(
        picture.pixels[None].float(), (new_h, new_w), mode="bilinear", antialias=True
    )[0]
    canvas = torch.full((3, HEIGHT, WIDTH), PADDING, dtype=torch.uint8)
    inner = small[:, max(-y, 0) : HEIGHT - y, max(-x, 0) : WIDTH - x].round().clamp(0, 255)
    _, rows, columns = inner.shape
    canvas[:, max(y, 0) : max(y, 0) + rows, max(x, 0) : max(x, 0) + columns] = inner.to(torch.uint8)
    scales = torch.tensor([new_w / w, new_h / h]).repeat(2)
    moved = picture.boxes * scales + torch.tensor([x, y, x, y])
    limits = torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
    cut = moved.clamp(min=torch.zeros(4), max=limits)
    sides, whole = cut[:, 2:] - cut[:, :2], moved[:, 2:] - moved[:, :2]
    left_over = sides.prod(1) / whole.prod(1).clamp(min=1)
    keep = (left_over >= _LEAST_LEFT) & (sides.amin(1) >= _LEAST_SIDE)
    return Picture(canvas, cut[keep], picture.labels[keep])


def augmented(picture: Picture, generator: torch.Generator) -> Picture:
    """Another zoom, another part, mirrored or not, in other light."""

    def draw(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    _, h, w = picture.pixels.shape
    scale = min(HEIGHT / h, WIDTH / w) * draw(*_ZOOM)
    left = draw(*sorted((0.0, WIDTH - w * scale)))
    top = draw(*sorted((0.0, HEIGHT - h * scale)))
    placed = _placed(picture, scale, left, top)
    pixels, boxes = placed.pixels.float(), placed.boxes
    if draw(0, 1) < 0.5:  # noqa: PLR2004 (a fair coin)
        pixels = pixels.flip(2)
        boxes = torch.stack((WIDTH - boxes[:, 2], boxes[:, 1], WIDTH - boxes[:, 0], boxes[:, 3]), 1)
    if draw(0, 1) < 0.5:  # noqa: PLR2004 (a fair coin)
        pixels = pixels.flip(1)
        boxes = torch.stack(
            (boxes[:, 0], HEIGHT - boxes[:, 3], boxes[:, 2], HEIGHT - boxes[:, 1]), 1
        )
    brightness, contrast, colour = _JITTER
    tint = 1 + colour * (2 * torch.rand(3, 1, 1, generator=generator) - 1)
    mean = pixels.mean()
    pixels = (pixels - mean) * draw(1 - contrast, 1 + contrast) + mean
    pixels = (pixels * tint * draw(1 - brightness, 1 + brightness)).round().clamp(0, 255)
    return Picture(pixels.to(torch.uint8), boxes, placed.labels)


def collate(pictures: list[Picture]) -> tuple[Tensor, Objects]:
    """A batch, float32[B, 3, H, W] in 0..1, and what is in it."""
    most = max(1, *(len(picture.labels) for picture in pictures))
    boxes = torch.zeros(len(pictures), most, 4)
    labels = torch.zeros(len(pictures), most, dtype=torch.int64)
    real = torch.zeros(len(pictures), most, dtype=torch.bool)
    for i, picture in enumerate(pictures):
        count = len(picture.labels)
        boxes[i, :count], labels[i, :count], real[i, :count] = picture.boxes, picture.labels, True
    return torch.stack([p.pixels for p in pictures]).float() / 255, Objects(labels, boxes, real)


def batches(
    pictures: list[Picture], batch: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Objects]]:
    """One epoch of augmented batches in random order; the incomplete last is left."""
    order = torch.randperm(len(pictures), generator=generator).tolist()
    for first in range(0, len(order) - batch + 1, batch):
        chosen = order[first : first + batch]
        yield collate([augmented(pictures[i], generator) for i in chosen])
