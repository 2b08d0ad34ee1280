"""How well a segmentation network does on annotated pictures, measured while it is trained."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from s2f_models.segmentation import class_scores, segment
from s2f_models.segmentation_loss import IGNORED
from s2f_models.spike2former import Spike2Former

# Of ImageNet, for pixels from 0 to 255; what segmentation networks were published with.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@dataclass(frozen=True, eq=False, slots=True)
class Annotated:
    """A picture and the class of every pixel.

    Attributes:
        pixels: uint8[3, H, W].
        labels: int64[H, W], ``IGNORED`` where nobody is asked.
    """

    pixels: Tensor
    labels: Tensor


def normalise(pixels: Tensor) -> Tensor:
    """Pixels from 0 to 255, any dtype [..., 3, H, W] -> float32 of the same shape."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (pixels.float() - mean) / std


def scaled(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Another size as deployment makes it, uint8[3, H, W] -> uint8[3, *size]."""
    if pixels.shape[1:] == size:
        return pixels
    resized = F.interpolate(pixels[None].float(), size, mode="bilinear", align_corners=False)
    return resized[0].round().to(torch.uint8)


def confusion(truth: Tensor, answer: Tensor, classes: int) -> Tensor:
    """Pixels by annotated and by answered class, int64[classes, classes].

    >>> confusion(torch.tensor([0, 1, -1]), torch.tensor([0, 0, 2]), 3).tolist()
    [[1, 0, 0], [1, 0, 0], [0, 0, 0]]
    """
    asked = truth != IGNORED
    pairs = truth[asked] * classes + answer[asked]
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def overlaps(counts: Tensor) -> list[float | None]:
    """Intersection over union of every class, None where neither annotated nor answered.

    >>> overlaps(torch.tensor([[1, 0, 0], [1, 2, 0], [0, 0, 0]]))
    [0.5, 0.6666666666666666, None]
    """
    right = counts.diagonal().tolist()
    either = (counts.sum(0) + counts.sum(1) - counts.diagonal()).tolist()
    return [r / e if e else None for r, e in zip(right, either, strict=True)]


def mean_overlap(counts: Tensor) -> float:
    """MIoU: the mean over classes that are annotated or answered anywhere."""
    found = [overlap for overlap in overlaps(counts) if overlap is not None]
    return sum(found) / max(len(found), 1)


def measure(
    model: Spike2Former, pictures: Sequence[Annotated], size: tuple[int, int], batch: int = 10
) -> Tensor:
    """Confusion over all pictures, in evaluation mode and float32.

    Args:
        model: left in evaluation mode.
        pictures: all of one shape that ``size`` is proportional to.
        size: rows and columns of the network's input.
        batch: pictures at a time.
    """
    model.eval()
    classes = model.config.named_classes
    total = torch.zeros(classes, classes, dtype=torch.int64)
    with torch.inference_mode():
        for first in range(0, len(pictures), batch):
            part = pictures[first : first + batch]
            x = normalise(torch.stack([scaled(p.pixels, size) for p in part]))
            truth = torch.stack([p.labels for p in part])
            of_queries, masks = model(x)
            scores = class_scores(of_queries, masks, size, model.config.live_classes)
            rows, columns = truth.shape[1:]
            total += confusion(truth, segment(scores, size, (rows, columns)), classes)
    return total
