"""The loss of a detector: how well scores, boxes and distributions over distances fit.

Source: Feng et al. 2021 (TOOD), arXiv:2108.07755; Zheng et al. 2020 (CIoU), arXiv:1911.08287;
Li et al. 2020 (distribution focal loss), arXiv:2006.04388.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from s2f_models.boxes import complete_iou
from s2f_models.detection_head import BINS, SIDES, anchor_points
from s2f_models.task_aligned_assigner import Objects, assign

BOX_GAIN, SCORE_GAIN, DISTANCE_GAIN = 7.5, 0.5, 1.5


@dataclass(frozen=True, eq=False, slots=True)
class DetectionLoss:
    """The parts of the loss, each a scalar times its gain.

    Attributes:
        box: of the overlap of boxes.
        score: of the classes.
        distance: of the distributions over distances.
    """

    box: Tensor
    score: Tensor
    distance: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.box + self.score + self.distance


def detection_loss(
    maps: Sequence[Tensor], objects: Objects, class_weights: Tensor | None = None
) -> DetectionLoss:
    """Compare raw maps of the head, see ``Detect.forward``, with what is in the images.

    Args:
        maps: of B images.
        objects: in them.
        class_weights: float[classes], how much an anchor that has an object of a class counts;
            default 1.
    """
    points, strides = anchor_points([(x.shape[2], x.shape[3]) for x in maps], maps[0].float())
    flat = torch.cat([x.float().flatten(2) for x in maps], 2).transpose(1, 2)
    bins = flat[..., : SIDES * BINS].unflatten(-1, (SIDES, BINS))  # type: ignore[no-untyped-call]
    logits = flat[..., SIDES * BINS :]
    points, strides = points.T, strides[:, None]
    distances = bins.softmax(-1) @ torch.arange(BINS, dtype=bins.dtype)
    boxes = torch.cat((points - distances[..., :2], points + distances[..., 2:]), -1) * strides
    wanted = assign(points * strides, boxes.detach(), logits.detach().sigmoid(), objects)

    if class_weights is None:
        class_weights = torch.ones(logits.shape[2])
    weighed = wanted.scores * class_weights
    total = weighed.sum().clamp(min=1)
    score = F.binary_cross_entropy_with_logits(
        logits,
        wanted.scores,
        torch.where(wanted.scores > 0, class_weights, 1.0),
        reduction="sum",
    )
    chosen, weight = wanted.chosen, weighed.sum(-1)[wanted.chosen]
    overlap = complete_iou(boxes[chosen], wanted.boxes[chosen])
    box = ((1 - overlap) * weight).sum() / total
    corners = wanted.boxes / strides
    to_sides = torch.cat((points - corners[..., :2], corners[..., 2:] - points), -1)
    misplaced = _distribution_loss(bins[chosen], to_sides[chosen])
    distance = (misplaced * weight).sum() / total
    return DetectionLoss(BOX_GAIN * box, SCORE_GAIN * score / total, DISTANCE_GAIN * distance)


def _distribution_loss(bins: Tensor, distance: Tensor) -> Tensor:
    """Cross entropy with the two bins around each distance; float[N, 4, 16], float[N, 4] -> [N]."""
    distance = distance.clamp(0, BINS - 1.01)
    low = distance.long()
    above = distance - low
    log = bins.log_softmax(-1)
    below_loss = -log.gather(-1, low[..., None])[..., 0] * (1 - above)
    above_loss = -log.gather(-1, low[..., None] + 1)[..., 0] * above
    return (below_loss + above_loss).mean(-1)
