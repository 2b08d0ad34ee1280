"""Boxes as corners ``x1, y1, x2, y2``: overlap, distance, and which of many to keep.

Source: Zheng et al. 2020 (CIoU), arXiv:1911.08287.
"""

import math

import torch
from torch import Tensor

_TINY = 1e-7


def corners(centred: Tensor) -> Tensor:
    """Centre x, centre y, width, height -> corners, on the last axis.

    >>> corners(torch.tensor([10.0, 20.0, 4.0, 6.0])).tolist()
    [8.0, 17.0, 12.0, 23.0]
    """
    centre, half = centred[..., :2], centred[..., 2:] / 2
    return torch.cat((centre - half, centre + half), -1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union; both float[..., 4], broadcast over all axes but the last."""
    # Coordinate by coordinate: loops over a last axis of two are slow.
    (ax, ay, au, av), (bx, by, bu, bv) = a.unbind(-1), b.unbind(-1)
    width = (torch.minimum(au, bu) - torch.maximum(ax, bx)).clamp(min=0)
    height = (torch.minimum(av, bv) - torch.maximum(ay, by)).clamp(min=0)
    shared = width * height
    union = (au - ax) * (av - ay) + (bu - bx) * (bv - by) - shared
    return shared / (union + _TINY)


def complete_iou(a: Tensor, b: Tensor) -> Tensor:
    """CIoU: the overlap less a distance of the centres and a difference of the proportions.

    Both float[..., 4], broadcast over all axes but the last; 1 for equal boxes, above -2.
    """
    overlap = iou(a, b)
    (ax, ay, au, av), (bx, by, bu, bv) = a.unbind(-1), b.unbind(-1)
    width = torch.maximum(au, bu) - torch.minimum(ax, bx)
    height = torch.maximum(av, bv) - torch.minimum(ay, by)
    diagonal = width.square() + height.square() + _TINY
    centres = ((ax + au - bx - bu).square() + (ay + av - by - bv).square()) / 4
    angle = torch.atan((au - ax) / (av - ay + _TINY)) - torch.atan((bu - bx) / (bv - by + _TINY))
    proportion = 4 / math.pi**2 * angle.square()
    with torch.no_grad():
        weight = proportion / (proportion - overlap + 1 + _TINY)
    return overlap - centres / diagonal - weight * proportion


def suppress(boxes: Tensor, scores: Tensor, threshold: float, most: int) -> Tensor:
    """Indices of the boxes kept, best first: each drops all worse ones it overlaps by more.

    At most ``most`` are kept; of equal scores the first is the better.

    >>> boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 5], [9, 9, 12, 12]])
    >>> suppress(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.7, 9).tolist()
    [1, 2]
    """
    waiting = scores.argsort(descending=True, stable=True)
    kept: list[Tensor] = []
    while len(waiting) and len(kept) < most:
        best = waiting[0]
        kept.append(best)
        waiting = waiting[1:]
        waiting = waiting[iou(boxes[best], boxes[waiting]) <= threshold]
    return torch.stack(kept) if kept else waiting[:0]
