"""How good a detector is: mean average precision as COCO computes it.

Source: Lin et al. 2014 (COCO), arXiv:1405.0312.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pycocotools.coco import COCO  # type: ignore[import-untyped]
from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]
from torch import Tensor

from s2f_models.boxes import corners, suppress

CONFIDENCE, OVERLAP, MOST_BOXES = 0.001, 0.7, 300
# Further apart than any two boxes of an image: boxes of different classes never overlap.
_CLASS_OFFSET = 7680
_MOST_CANDIDATES = 30_000


@dataclass(frozen=True, eq=False, slots=True)
class Boxes:
    """Boxes of one image: corners float[N, 4], classes int64[N], scores float[N]."""

    corners: Tensor
    labels: Tensor
    scores: Tensor


def detections(prediction: Tensor, confidence: float = CONFIDENCE) -> Boxes:
    """What a network finds in one image: every pair of anchor and class above ``confidence``.

    Args:
        prediction: float[4 + classes, A], as ``SpikeYolo`` gives it.
        confidence: least score.
    """
    scores = prediction[4:].T
    anchor, label = (scores > confidence).nonzero().unbind(1)
    found = scores[anchor, label]
    best = found.argsort(descending=True, stable=True)[:_MOST_CANDIDATES]
    anchor, label, found = anchor[best], label[best], found[best]
    boxes = corners(prediction[:4].T)[anchor]
    kept = suppress(boxes + label[:, None] * _CLASS_OFFSET, found, OVERLAP, MOST_BOXES)
    return Boxes(boxes[kept], label[kept], found[kept])


def mean_average_precision(found: Sequence[Boxes], truth: Sequence[Boxes]) -> tuple[float, float]:
    """MAP at an overlap of 0.5, and the mean over 0.5, 0.55, ..., 0.95; image by image."""
    rows = np.concatenate([_rows(i, boxes) for i, boxes in enumerate(found, 1)])
    if not len(rows):
        return 0.0, 0.0
    # pycocotools prints its progress.
    with contextlib.redirect_stdout(io.StringIO()):
        annotated = COCO()
        annotated.dataset = _dataset(truth)
        annotated.createIndex()
        scored = COCOeval(annotated, annotated.loadRes(rows), "bbox")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return float(scored.stats[1]), float(scored.stats[0])


def _rows(image: int, boxes: Boxes) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """float64[N, 7]: image, x, y, width, height, score, class, each numbered from 1."""
    low, high = boxes.corners[:, :2], boxes.corners[:, 2:]
    columns = (low, high - low, boxes.scores[:, None], boxes.labels[:, None] + 1)
    table = torch.cat([x.double() for x in columns], 1).numpy()
    return np.insert(table, 0, image, axis=1)


def _dataset(truth: Sequence[Boxes]) -> dict[str, object]:
    annotations: list[dict[str, object]] = []
    for image, boxes in enumerate(truth, 1):
        for _, x, y, width, height, _, label in _rows(image, boxes).tolist():
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(label),
                    "bbox": [x, y, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                }
            )
    labels = {int(label) + 1 for boxes in truth for label in boxes.labels}
    return {
        "info": {},
        "images": [{"id": image} for image in range(1, len(truth) + 1)],
        "categories": [{"id": label, "name": str(label)} for label in sorted(labels)],
        "annotations": annotations,
    }
