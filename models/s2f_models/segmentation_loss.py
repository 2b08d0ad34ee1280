"""The training loss of Spike2Former: one query for every class that is in a picture.

Queries before and behind every decoder layer are judged alike. Each is matched to at most one
class; a matched query shall name its class and cover its pixels, the others shall name none.
Beside what was published there is a loss on the composed map, the one that is deployed: from few
pictures, matching alone teaches slowly.

Source: Cheng et al. 2021 (MaskFormer), arXiv:2107.06278; Lin et al. 2017 (focal loss),
arXiv:1708.02002; ``spike2former.md`` section 16.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from s2f_models.assignment import assign

IGNORED = -1
# Of the terms, in matching and in the loss alike.
CLASS_WEIGHT, FOCAL_WEIGHT, DICE_WEIGHT = 1.0, 20.0, 1.0
NO_OBJECT_WEIGHT = 0.1
_ALPHA = 0.25
# Of dice: what an empty mask is divided by.
_SMOOTH = 1.0
# Scores of a pixel's classes may all vanish.
_LEAST_SCORE = 1e-4


@dataclass(frozen=True, slots=True)
class SegmentationLoss:
    """Terms as they are weighted, and their sum, of which training takes the gradient."""

    total: Tensor
    classes: Tensor
    focal: Tensor
    dice: Tensor
    pixels: Tensor


@dataclass(frozen=True, slots=True)
class Matches:
    """Queries and the classes they are matched to, one entry for every pair.

    Attributes:
        stage: int64[M], index of the decoder's output.
        picture: int64[M].
        query: int64[M].
        label: int64[M].
    """

    stage: Tensor
    picture: Tensor
    query: Tensor
    label: Tensor


def segmentation_loss(
    class_logits: Tensor,
    mask_logits: Tensor,
    labels: Tensor,
    pixel_weight: float = 0.0,
    *,
    enlarge: bool = True,
    class_weights: Tensor | None = None,
) -> SegmentationLoss:
    """The loss of a batch; terms are summed over the outputs of the decoder's layers.

    Args:
        class_logits: float32[L, B, Q, K + 1], the last for "no object".
        mask_logits: float32[L, B, Q, h, w].
        labels: int64[B, H, W], ``IGNORED`` where nobody is asked.
        pixel_weight: of the composed map's cross-entropy.
        enlarge: whether matched masks are compared at the labels' size, as was published, or, in
            a fraction of the time, labels at the masks'.
        class_weights: float32[K], what a pixel of each class weighs in the composed map's; all
            alike without.
    """
    stages, height, width = len(class_logits), *mask_logits.shape[-2:]
    reduced = _reduced(labels, (height, width))
    with torch.no_grad():
        matches = match(class_logits, mask_logits, reduced)
    classes = CLASS_WEIGHT * _class_loss(class_logits, matches)
    chosen = mask_logits[matches.stage, matches.picture, matches.query][:, None]
    if enlarge:
        chosen = F.interpolate(chosen, labels.shape[1:], mode="bilinear", align_corners=False)
    masks, compared = chosen.flatten(1), (labels if enlarge else reduced).flatten(1)
    asked = (compared != IGNORED).float()[matches.picture]
    target = (compared[matches.picture] == matches.label[:, None]).float()
    mean = stages / max(len(masks), 1)
    focal = FOCAL_WEIGHT * mean * _focal(masks, target, asked).sum()
    dice = DICE_WEIGHT * mean * _dice(masks, target, asked).sum()
    pixels = pixel_weight * _pixel_loss(class_logits, mask_logits, reduced, class_weights)
    return SegmentationLoss(classes + focal + dice + pixels, classes, focal, dice, pixels)


def match(class_logits: Tensor, mask_logits: Tensor, labels: Tensor) -> Matches:
    """The cheapest pairs of queries and classes that are there, for every stage and picture.

    Args:
        class_logits: as of ``segmentation_loss``.
        mask_logits: likewise.
        labels: int64[B, h, w], of the masks' size.
    """
    queries, classes = class_logits.shape[2], class_logits.shape[3] - 1
    asked = (labels != IGNORED).float().flatten(1)
    there = F.one_hot(labels.clamp(min=0).flatten(1), classes).float() * asked[..., None]
    costs = _costs(class_logits, mask_logits.flatten(3), there, asked).double().numpy()
    present = (there.amax(1) > 0).numpy()
    found: list[tuple[int, int, int, int]] = []
    for stage, of_stage in enumerate(costs):
        for picture, cost in enumerate(of_stage):
            # More classes than queries: some stay without.
            wanted = np.flatnonzero(present[picture])
            if len(wanted) <= queries:
                pairs = zip(assign(cost[:, wanted].T), wanted, strict=True)
            else:
                pairs = zip(range(queries), wanted[assign(cost[:, wanted])], strict=True)
            found.extend((stage, picture, int(query), int(label)) for query, label in pairs)
    columns = torch.tensor(found, dtype=torch.int64).reshape(-1, 4).t()
    return Matches(*columns)


def _costs(class_logits: Tensor, masks: Tensor, there: Tensor, asked: Tensor) -> Tensor:
    """What every query costs as every class, float32[L, B, Q, K].

    Args:
        class_logits: float32[L, B, Q, K + 1].
        masks: float32[L, B, Q, h * w], logits.
        there: float32[B, h * w, K], 1 where a pixel is of that class.
        asked: float32[B, h * w], 0 where a pixel is ignored.
    """
    covered = masks.sigmoid()
    # Minus the logarithms of 1 - covered and, once the logit is taken off, of covered.
    outside = F.softplus(masks)
    miss = covered.square().mul_(outside).mul_(1 - _ALPHA)
    hit = (1 - covered).square_().mul_(outside.sub_(masks)).mul_(_ALPHA)
    weights = asked[:, :, None]
    pixels = asked.sum(1).clamp(min=1)[:, None, None]
    focal = (hit @ there + miss @ (weights - there)) / pixels
    overlap = covered @ there
    size = covered @ weights + there.sum(1)[:, None]
    dice = 1 - (2 * overlap + _SMOOTH) / (size + _SMOOTH)
    named = -class_logits.softmax(-1)[..., :-1]
    return CLASS_WEIGHT * named + FOCAL_WEIGHT * focal + DICE_WEIGHT * dice


def _class_loss(class_logits: Tensor, matches: Matches) -> Tensor:
    stages, _, _, outputs = class_logits.shape
    target = torch.full(class_logits.shape[:3], outputs - 1)
    target[matches.stage, matches.picture, matches.query] = matches.label
    weight = torch.ones(outputs)
    weight[-1] = NO_OBJECT_WEIGHT
    losses = [
        F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weight)
        for logits, wanted in zip(class_logits, target, strict=True)
    ]
    assert len(losses) == stages
    return torch.stack(losses).sum()


def _focal(logits: Tensor, target: Tensor, asked: Tensor) -> Tensor:
    """Mean over the pixels asked for, float32[M, P] each -> float32[M]."""
    # The logit of what the pixel is: one logarithm and one sigmoid for both cases.
    sign = 2 * target - 1
    right = logits * sign
    weight = asked * (1 - _ALPHA + (2 * _ALPHA - 1) * target)
    loss = F.softplus(-right) * torch.sigmoid(-right).square() * weight
    return loss.sum(1) / asked.sum(1).clamp(min=1)


def _dice(logits: Tensor, target: Tensor, asked: Tensor) -> Tensor:
    """Float32[M, P] each -> float32[M]."""
    covered = logits.sigmoid() * asked
    overlap = (covered * target).sum(1)
    size = covered.sum(1) + target.sum(1)
    return 1 - (2 * overlap + _SMOOTH) / (size + _SMOOTH)


def _pixel_loss(
    class_logits: Tensor, mask_logits: Tensor, labels: Tensor, class_weights: Tensor | None
) -> Tensor:
    """Cross-entropy of the composed map's shares, at the masks' size, summed over stages."""
    named = class_logits.softmax(-1)[..., :-1]
    scores = named.transpose(2, 3) @ mask_logits.flatten(3).sigmoid()
    stages, batch, classes, pixels = scores.shape
    wanted = labels.flatten(1).expand(stages, batch, pixels)
    weights = (wanted != IGNORED).float()
    if class_weights is not None:
        weights = weights * class_weights[wanted.clamp(min=0)]
    right = scores.gather(2, wanted.clamp(min=0)[:, :, None]).squeeze(2) + _LEAST_SCORE
    share = right / (scores.sum(2) + classes * _LEAST_SCORE)
    # Only where nobody is asked there is nothing to divide by.
    return -(share.log() * weights).sum() * stages / weights.sum().clamp(min=1e-6)


def _reduced(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Every pixel takes the label of the nearest, int64[B, H, W] -> int64[B, *size]."""
    return F.interpolate(labels[:, None].float(), size, mode="nearest")[:, 0].long()
