"""What a network answers about one sample: its class, the things in it, or a class per pixel."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from s2f_deploy.errors import ArtefactError
from s2f_sim.detections import COCO_CATEGORIES, Detection, coco_results, detections
from s2f_sim.prediction import ClassScore, top_classes
from s2f_sim.sample import Sample
from s2f_sim.segmented import Colour, Segmented
from s2f_sim.suppression import PREDICTION, suppress

CLASSIFICATION, DETECTION, SEGMENTATION = "classification", "detection", "segmentation"
TASKS = (CLASSIFICATION, DETECTION, SEGMENTATION)
_SHOWN_BOXES = 20
# Above the scores in a detector's output.
_BOX_ROWS = 4


@dataclass(frozen=True, slots=True)
class Classified:
    """The best classes, best first."""

    scores: tuple[ClassScore, ...]

    columns: ClassVar[Mapping[str, str]] = {"class": "left", "softmax": "right", "logit": "right"}

    def rows(self) -> list[list[str]]:
        """As a table for people, with ``columns``."""
        return [[s.label, f"{s.probability:.1%}", f"{s.logit:.3f}"] for s in self.scores]

    def summary(self) -> str | None:
        """What the rows leave out."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "prediction": [
                {"class": s.index, "label": s.label, "logit": s.logit, "probability": s.probability}
                for s in self.scores
            ]
        }


@dataclass(frozen=True, slots=True)
class Found:
    """Boxes in the original picture, best first.

    Attributes:
        things: what was found.
        image_id: how COCO result files number the picture.
        coco: whether the classes are COCO's, whose numbers have gaps.
    """

    things: tuple[Detection, ...]
    image_id: int | str
    coco: bool

    columns: ClassVar[Mapping[str, str]] = {
        "object": "left",
        "score": "right",
        "left": "right",
        "top": "right",
        "right": "right",
        "bottom": "right",
    }

    def rows(self) -> list[list[str]]:
        """As a table for people, with ``columns``; the best ones."""
        return [
            [d.label, f"{d.score:.1%}", *(f"{side:.1f}" for side in d.box)]
            for d in self.things[:_SHOWN_BOXES]
        ]

    def summary(self) -> str | None:
        """What the rows leave out."""
        more = len(self.things) - _SHOWN_BOXES
        if more > 0:
            return f"and {more:,} weaker objects"
        return None if self.things else "nothing was found"

    def results(self) -> list[dict[str, Any]]:
        """Entries of a COCO result file."""
        return coco_results(self.image_id, self.things, COCO_CATEGORIES if self.coco else None)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "detections": [
                {"class": d.class_index, "label": d.label, "score": d.score, "box": list(d.box)}
                for d in self.things
            ]
        }


Answer = Classified | Found | Segmented


def class_count(task: str, output: Sequence[int]) -> int:
    """How many classes a network has whose output has this shape, without the batch.

    >>> class_count(DETECTION, (84, 8400)), class_count(SEGMENTATION, (150, 512, 512))
    (80, 150)
    """
    if task == DETECTION:
        return output[0] - _BOX_ROWS
    return output[0] if task == SEGMENTATION else math.prod(output)


def answer(
    outputs: Mapping[str, NDArray[Any]],
    sample: Sample,
    task: str,
    classes: Sequence[str] | None,
    confidence: float = PREDICTION.confidence,
    palette: Sequence[Colour] | None = None,
) -> Answer:
    """What a run's outputs of one sample say.

    Args:
        outputs: by name, with a batch axis of one.
        sample: what it is about; boxes are given in its pixels.
        task: one of ``TASKS``.
        classes: names of the network's classes, if it has names.
        confidence: scores of boxes are above it.
        palette: colours of the classes, for label maps.

    Raises:
        ArtefactError: the outputs are not those of such a network.
    """
    name, values = next(iter(outputs.items()))
    if task == CLASSIFICATION:
        return Classified(top_classes(values, classes))
    if task == SEGMENTATION:
        if sample.fit is None or values.ndim != 4:  # noqa: PLR2004 (batch, classes, rows, columns)
            raise _senseless(name, values, sample, "scores of the pixels of a picture")
        return Segmented.of(sample.fit.labels(values[0]), classes, palette)
    if sample.letterbox is None or values.ndim != 3:  # noqa: PLR2004 (batch, rows, anchors)
        raise _senseless(name, values, sample, "boxes in a picture")
    rows = suppress(values[0], replace(PREDICTION, confidence=confidence))
    things = detections(rows, sample.letterbox, classes)
    of_coco = values.shape[1] - _BOX_ROWS == len(COCO_CATEGORIES)
    return Found(things, image_number(sample.path), of_coco)


def _senseless(name: str, values: NDArray[Any], sample: Sample, wanted: str) -> ArtefactError:
    return ArtefactError(
        f"the output {name} is {list(values.shape)}: no {wanted}",
        where=str(sample.path),
        fix="export the network again as what it is, with --task",
    )


def image_number(path: Path) -> int | str:
    """How COCO numbers an image file: by the number it is named, else its name.

    >>> image_number(Path("val2017/000000000139.jpg"))
    139
    """
    return int(path.stem) if path.stem.isdecimal() else path.stem
