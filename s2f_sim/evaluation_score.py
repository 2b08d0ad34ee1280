"""Scores of an evaluation, from nothing but what its log holds and the labels of the data set."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import ArtefactError
from s2f_sim.average_precision import AveragePrecision, Truth, average_precision
from s2f_sim.labelled_sample import Classes, LabelledSample
from s2f_sim.suppression import PREDICTION

TOP = 5
# At which a box is counted as found, as in mAP50.
_OVERLAP = 0.5
_COLUMNS = 6

Results = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ClassTally:
    """One class of a classifier: its samples, and those that were answered right."""

    index: int
    label: str
    samples: int
    right: int


@dataclass(frozen=True, slots=True)
class ClassificationScore:
    """How often a classifier is right.

    Attributes:
        samples: that were answered.
        top1: share of those whose class is the best one.
        top5: share of those whose class is among the best five; None where there are no more.
        classes: those that some sample is of.
    """

    samples: int
    top1: float
    top5: float | None
    classes: tuple[ClassTally, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return _document(self)


@dataclass(frozen=True, slots=True)
class ObjectTally:
    """One class of a detector.

    Attributes:
        objects: annotated, without crowds.
        found: of these, by a box that overlaps by half or more and whose score is above that of
            predictions, 0.25.
        wrong: such boxes that hit nothing.
        ap50: average precision at an overlap of 0.5; None where nothing is annotated.
        ap50_95: mean over overlaps of 0.5 to 0.95.
    """

    index: int
    label: str
    objects: int
    found: int
    wrong: int
    ap50: float | None
    ap50_95: float | None


@dataclass(frozen=True, slots=True)
class DetectionScore:
    """How well a detector finds what is annotated, by COCO's rules.

    Attributes:
        samples: pictures or moments.
        objects: annotated, without crowds.
        map50: mean over the annotated classes at an overlap of 0.5.
        map50_95: mean over classes and overlaps of 0.5 to 0.95.
        classes: those that are annotated, or were seen where they are not.
    """

    samples: int
    objects: int
    map50: float
    map50_95: float
    classes: tuple[ObjectTally, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return _document(self)


def _document(score: ClassificationScore | DetectionScore) -> dict[str, Any]:
    classes = [asdict(tally) for tally in score.classes]
    return asdict(score) | {"classes": [{"class": c.pop("index"), **c} for c in classes]}


def score_classes(
    samples: Sequence[LabelledSample], results: Results, classes: Classes
) -> ClassificationScore:
    """Count right answers.

    Raises:
        ArtefactError: a result is none of a classifier.
    """
    asked, right, among = np.zeros((3, classes.count), np.int64)
    for sample, result in zip(samples, results, strict=True):
        assert isinstance(sample.target, int)
        best = _ranked(result, sample.key)
        asked[sample.target] += 1
        right[sample.target] += best[0] == sample.target
        among[sample.target] += sample.target in best
    tallies = tuple(
        ClassTally(int(i), classes.label(int(i)), int(asked[i]), int(right[i]))
        for i in np.flatnonzero(asked)
    )
    total = len(samples)
    top5 = int(among.sum()) / total if classes.count > TOP else None
    return ClassificationScore(total, int(right.sum()) / total, top5, tallies)


def _ranked(result: Mapping[str, Any], key: str) -> list[int]:
    try:
        best = [int(index) for index, _ in result["best"]]
    except (KeyError, TypeError, ValueError) as error:
        raise damaged_result(key) from error
    if not best:
        raise damaged_result(key)
    return best


def score_boxes(
    samples: Sequence[LabelledSample], results: Results, classes: Classes
) -> DetectionScore:
    """Judge boxes.

    What is annotated beyond the borders of a recording is cut, as boxes found are.

    Raises:
        ArtefactError: a result is none of a detector.
        InputError: nothing that could be found is annotated.
    """
    pictures = [_judged(s, r) for s, r in zip(samples, results, strict=True)]
    precision = average_precision(pictures)
    objects, found, wrong = np.zeros((3, classes.count), np.int64)
    for truth, rows in pictures:
        objects += np.bincount(truth.classes[~truth.crowd], minlength=classes.count)
        sure = rows[rows[:, 4] > PREDICTION.confidence]
        for label in np.unique(sure[:, 5]).astype(int):
            hits, misses = _hits(truth, sure, label)
            found[label] += hits
            wrong[label] += misses
    tallies = tuple(
        _tally(int(i), classes, (objects[i], found[i], wrong[i]), precision)
        for i in np.flatnonzero(objects + wrong)
    )
    return DetectionScore(
        len(samples), int(objects.sum()), precision.map50, precision.map50_95, tallies
    )


def _tally(
    index: int, classes: Classes, counts: tuple[Any, Any, Any], precision: AveragePrecision
) -> ObjectTally:
    objects, found, wrong = (int(count) for count in counts)
    ap50, ap50_95 = precision.per_class.get(index, (None, None))
    return ObjectTally(index, classes.label(index), objects, found, wrong, ap50, ap50_95)


def _judged(sample: LabelledSample, result: Mapping[str, Any]) -> tuple[Truth, NDArray[np.float64]]:
    assert isinstance(sample.target, Truth)
    try:
        rows = np.array(result["boxes"], np.float64).reshape(-1, _COLUMNS)
        width, height = (float(side) for side in result["size"])
    except (KeyError, TypeError, ValueError) as error:
        raise damaged_result(sample.key) from error
    truth = sample.target
    return (truth if sample.at_us is None else _cut(truth, width, height)), rows


def _cut(truth: Truth, width: float, height: float) -> Truth:
    boxes = truth.boxes.clip(0, [width, height, width, height])
    left = (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
    return Truth(boxes[left], truth.classes[left], truth.crowd[left])


def _hits(truth: Truth, rows: NDArray[np.float64], label: int) -> tuple[int, int]:
    """Objects of a class that boxes hit, each by one, and boxes that hit none; best box first."""
    here = truth.classes == label
    boxes, free = truth.boxes[here], ~truth.crowd[here]
    crowds = boxes[~free]
    hits = misses = 0
    for overlap, covered in _overlaps(rows[rows[:, 5] == label, :4], boxes, crowds):
        overlap[~free] = 0
        if overlap.size and overlap.max() >= _OVERLAP:
            free[overlap.argmax()] = False
            hits += 1
        elif not (covered >= _OVERLAP).any():
            misses += 1
    return hits, misses


def _overlaps(
    found: NDArray[np.float64], boxes: NDArray[np.float64], crowds: NDArray[np.float64]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Of every box its overlap with each true one, and the share of it in every crowd."""
    for box in found:
        inner = _inner(box, boxes)
        union = _area(box) + _area(boxes) - inner
        yield inner / union, _inner(box, crowds) / max(_area(box), np.spacing(1))


def _inner(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    area: NDArray[np.float64] = sides.clip(0).prod(axis=1)
    return area


def _area(boxes: NDArray[np.float64]) -> Any:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def damaged_result(key: str) -> ArtefactError:
    """The error for a line of the log that this network cannot have written."""
    return ArtefactError(
        "the log holds a result that is none of this network",
        where=key,
        fix="start the evaluation again with --restart",
    )
