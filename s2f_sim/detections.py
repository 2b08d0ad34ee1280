"""What a detector found in a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import InputError
from s2f_sim.letterbox import Letterbox
from s2f_sim.prediction import printable

Box = tuple[float, float, float, float]

_RETIRED_CATEGORIES = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
# COCO numbers its 80 classes 1 to 90, with gaps.
COCO_CATEGORIES = tuple(n for n in range(1, 91) if n not in _RETIRED_CATEGORIES)


@dataclass(frozen=True, slots=True)
class Detection:
    """One box.

    Attributes:
        box: left, top, right, bottom in pixels of the original picture.
        score: sigmoid of the class, 0 to 1.
        class_index: of the network's output.
        label: name of the class, ``class 17`` where the network came without names.
    """

    box: Box
    score: float
    class_index: int
    label: str


def detections(
    rows: NDArray[Any], letterbox: Letterbox, classes: Sequence[str] | None
) -> tuple[Detection, ...]:
    """Rows[N, x1 y1 x2 y2 score class] of the network's input -> boxes in the picture.

    Raises:
        InputError: a box is not finite, or a class has no name.
    """
    if not np.isfinite(rows).all():
        raise _impossible("a detection is not a finite number")
    if classes is not None and len(rows) and rows[:, 5].max() >= len(classes):
        raise _impossible(f"class {int(rows[:, 5].max())} is none of {len(classes)} names")
    boxes = letterbox.to_picture(rows[:, :4])
    return tuple(
        Detection(
            (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
            float(score),
            int(index),
            printable(classes[int(index)]) if classes else f"class {int(index)}",
        )
        for box, (score, index) in zip(boxes, rows[:, 4:6], strict=True)
    )


def _impossible(what: str) -> InputError:
    return InputError(what, where="detections", fix="check the network that gave them")


def coco_results(
    image_id: int | str, found: Sequence[Detection], categories: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """Entries of a COCO result file: box as x, y, width, height, rounded as upstream writes it.

    Args:
        image_id: as the annotations number the picture.
        found: boxes in the picture.
        categories: category of each class index, ``COCO_CATEGORIES`` for COCO itself; None: the
            class index.
    """
    return [
        {
            "image_id": image_id,
            "category_id": d.class_index if categories is None else categories[d.class_index],
            "bbox": [round(side, 3) for side in _sides(d.box)],
            "score": round(d.score, 5),
        }
        for d in found
    ]


def _sides(box: Box) -> Box:
    left, top, right, bottom = box
    return left, top, right - left, bottom - top
