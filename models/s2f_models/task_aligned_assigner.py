"""Which anchor learns which object: the task-aligned assignment.

Source: Feng et al. 2021 (TOOD), arXiv:2108.07755.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from s2f_models.boxes import iou

# Exponents of score and overlap, and anchors per object, as the published trainings have them.
ALPHA, BETA, CANDIDATES = 0.5, 6.0, 10
_TINY = 1e-9


@dataclass(frozen=True, eq=False, slots=True)
class Objects:
    """What is in a batch of images, padded to the fullest.

    Attributes:
        labels: int64[B, M], classes.
        boxes: float[B, M, 4], corners in pixels.
        real: bool[B, M], false where there is only padding.
    """

    labels: Tensor
    boxes: Tensor
    real: Tensor


@dataclass(frozen=True, eq=False, slots=True)
class Assignment:
    """What every anchor is to learn.

    Attributes:
        chosen: bool[B, A], anchors that have an object.
        boxes: float[B, A, 4], of their objects.
        scores: float[B, A, classes], in 0..1; zero for anchors without object.
    """

    chosen: Tensor
    boxes: Tensor
    scores: Tensor


@torch.no_grad()
def assign(points: Tensor, boxes: Tensor, scores: Tensor, objects: Objects) -> Assignment:
    """Give each object the anchors inside it that find and place it best.

    Args:
        points: float[A, 2], anchors in pixels.
        boxes: float[B, A, 4], predicted corners in pixels.
        scores: float[B, A, classes], predicted, in 0..1.
        objects: M of them in each image.
    """
    classes = scores.shape[2]
    inside = _inside(points, objects)
    overlap = iou(objects.boxes[:, :, None], boxes[:, None]) * inside
    index = objects.labels[:, None].expand(-1, len(points), -1)
    found = scores.gather(2, index).transpose(1, 2)
    aligned = found.pow(ALPHA) * overlap.pow(BETA) * inside
    candidates = _best(aligned) & inside
    # An anchor can learn one object only: the one it overlaps most.
    owner = (overlap * candidates).argmax(1, keepdim=True)
    candidates &= torch.zeros_like(candidates).scatter_(1, owner, value=True)
    aligned, overlap = aligned * candidates, overlap * candidates
    # The best anchor of an object is to score as high as its overlap.
    # However badly all anchors fit: a small object would never be learned otherwise.
    least = torch.finfo(aligned.dtype).tiny
    scale = overlap.amax(2, keepdim=True) / aligned.amax(2, keepdim=True).clamp(min=least)
    strength = (aligned * scale).amax(1)
    owner = owner[:, 0]
    label = objects.labels.gather(1, owner)
    wanted = torch.nn.functional.one_hot(label, classes) * strength[..., None]
    placed = objects.boxes.gather(1, owner[..., None].expand(-1, -1, 4))
    return Assignment(candidates.any(1), placed, wanted.to(scores.dtype))


def _inside(points: Tensor, objects: Objects) -> Tensor:
    """bool[B, M, A]: anchors strictly inside a real object."""
    (x, y), (low_x, low_y, high_x, high_y) = points.T, objects.boxes[..., None].unbind(2)
    across = torch.minimum(x - low_x, high_x - x)
    down = torch.minimum(y - low_y, high_y - y)
    return (torch.minimum(across, down) > _TINY) & objects.real[..., None]


def _best(aligned: Tensor) -> Tensor:
    """bool[B, M, A]: the anchors an object would choose if it were alone."""
    count = min(CANDIDATES, aligned.shape[2])
    index = aligned.topk(count, 2).indices
    return torch.zeros_like(aligned, dtype=torch.bool).scatter_(2, index, value=True)
