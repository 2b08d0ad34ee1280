"""From a score per anchor and class to the few boxes that are reported."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import InputError

# More than any side of an input, so that boxes of two classes never meet.
_CLASS_OFFSET = 7680
_MOST_CANDIDATES = 30_000
_BOX = 4
_PLANE = 2


@dataclass(frozen=True, slots=True)
class Suppression:
    """Which candidates become detections.

    Attributes:
        confidence: a candidate's score is strictly above it.
        iou: of two boxes of one class that overlap strictly more, the better one stays.
        most: detections per picture.
        multi_label: every class of an anchor is a candidate, not only its best one.
    """

    confidence: float = 0.25
    iou: float = 0.7
    most: int = 300
    multi_label: bool = False


# Source: ``spike_yolo.md`` section 4.
PREDICTION = Suppression()
VALIDATION = Suppression(confidence=0.001, multi_label=True)


def suppress(prediction: NDArray[Any], rule: Suppression = PREDICTION) -> NDArray[Any]:
    """Decoded prediction[4 + C, anchors] of one picture -> rows[N, x1 y1 x2 y2 score class].

    Best first; equal scores stay in the order of their anchors, then classes. Arithmetic is that
    of the prediction's type: class offsets round float32 corners, here as in the published code.

    Raises:
        InputError: the prediction has another shape.

    Source: ``spike_yolo.md`` section 4.
    """
    if prediction.ndim != _PLANE or len(prediction) <= _BOX:
        raise InputError(
            f"a prediction of shape {list(prediction.shape)} is not [4 + classes, anchors]",
            where="suppression",
            fix="give the decoded prediction of one picture",
        )
    rows = _candidates(prediction, rule)
    shifted = rows[:, :_BOX] + rows[:, 5:] * _CLASS_OFFSET
    return rows[_survivors(shifted, rule)]


def _candidates(prediction: NDArray[Any], rule: Suppression) -> NDArray[Any]:
    """Rows above the confidence, best first, as many as may be looked at."""
    with np.errstate(invalid="ignore"):
        possible = prediction[:, prediction[_BOX:].max(axis=0) > rule.confidence].T
    scores = possible[:, _BOX:]
    if rule.multi_label:
        anchor, label = np.nonzero(scores > rule.confidence)
    else:
        anchor, label = np.arange(len(scores)), scores.argmax(axis=1)
    best = np.argsort(-scores[anchor, label], kind="stable")[:_MOST_CANDIDATES]
    anchor, label = anchor[best], label[best]
    centre, half = possible[anchor, :2], possible[anchor, 2:_BOX] / 2
    named = label.astype(prediction.dtype)
    return np.column_stack((centre - half, centre + half, scores[anchor, label], named))


def _survivors(boxes: NDArray[Any], rule: Suppression) -> list[int]:
    """Positions that greedy suppression keeps; ``boxes`` are sorted, best first."""
    x1, y1, x2, y2 = boxes.T
    left = np.arange(len(boxes))
    # One contiguous row per quantity, shortened with what is left: several times faster.
    columns = np.stack((x1, y1, x2, y2, (x2 - x1) * (y2 - y1)))
    kept: list[int] = []
    while len(left) and len(kept) < rule.most:
        kept.append(int(left[0]))
        best, columns, left = columns[:, 0], columns[:, 1:], left[1:]
        width = np.minimum(columns[2], best[2]) - np.maximum(columns[0], best[0])
        height = np.minimum(columns[3], best[3]) - np.maximum(columns[1], best[1])
        inner = np.maximum(width, 0) * np.maximum(height, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            # Boxes without an area overlap by 0 / 0, which is not above anything.
            suppressed = inner / (best[4] + columns[4] - inner) > rule.iou
        if suppressed.any():
            columns, left = columns[:, ~suppressed], left[~suppressed]
    return kept
