"""How well a network tells the class of every pixel, from nothing but the log of an evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import InputError
from s2f_sim.evaluation_score import Results, damaged_result
from s2f_sim.labelled_sample import Classes, LabelledSample

_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class PixelTally:
    """One class.

    Attributes:
        pixels: annotated with it.
        answered: of all annotated pixels, those that the network says it of.
        right: both.
        iou: ``right`` of all that are either.
    """

    index: int
    label: str
    pixels: int
    answered: int
    right: int
    iou: float


@dataclass(frozen=True, slots=True)
class SegmentationScore:
    """How often the class of a pixel is right.

    Attributes:
        samples: pictures.
        pixels: annotated in them, without ignored ones.
        miou: mean over the classes.
        pixel_accuracy: share of the pixels.
        classes: those that are annotated, or were answered where they are not.
    """

    samples: int
    pixels: int
    miou: float
    pixel_accuracy: float
    classes: tuple[PixelTally, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        classes = [asdict(tally) for tally in self.classes]
        return asdict(self) | {"classes": [{"class": c.pop("index"), **c} for c in classes]}


def confusion(truth: NDArray[np.int64], labels: NDArray[Any], classes: int) -> list[list[int]]:
    """What was answered where: annotated class, answered class, pixels; for all that occur.

    >>> confusion(np.array([[0, 1, -1]]), np.array([[0, 0, 2]]), 3)
    [[0, 0, 1], [1, 0, 1]]
    """
    asked = truth >= 0
    pairs, pixels = np.unique(
        truth[asked] * classes + labels[asked].astype(np.int64), return_counts=True
    )
    rows = zip(pairs.tolist(), pixels.tolist(), strict=True)
    return [[pair // classes, pair % classes, count] for pair, count in rows]


def score_pixels(
    samples: Sequence[LabelledSample], results: Results, classes: Classes
) -> SegmentationScore:
    """Count right answers; a class counts as soon as it is annotated or answered anywhere.

    Raises:
        ArtefactError: a result is none of such a network.
        InputError: nothing is annotated.

    Source: mmsegmentation's IoUMetric.
    """
    counts = np.zeros((classes.count, classes.count), np.int64)
    for sample, result in zip(samples, results, strict=True):
        rows = _rows(result, sample.key, classes.count)
        np.add.at(counts, (rows[:, 0], rows[:, 1]), rows[:, 2])
    total = int(counts.sum())
    if not total:
        raise InputError(
            "no pixel of the samples is annotated with a class",
            where="the data set",
            fix="take more samples, or ignore less",
        )
    pixels, answered, right = counts.sum(1), counts.sum(0), counts.diagonal()
    union = pixels + answered - right
    tallies = tuple(
        PixelTally(
            int(i),
            classes.label(int(i)),
            int(pixels[i]),
            int(answered[i]),
            int(right[i]),
            float(right[i] / union[i]),
        )
        for i in np.flatnonzero(union)
    )
    miou = sum(tally.iou for tally in tallies) / len(tallies)
    return SegmentationScore(len(samples), total, miou, int(right.sum()) / total, tallies)


def _rows(result: Mapping[str, Any], key: str, classes: int) -> NDArray[np.int64]:
    try:
        rows = np.array(result["confusion"], np.int64).reshape(-1, _COLUMNS)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise damaged_result(key) from error
    if (rows < 0).any() or (rows[:, :2] >= classes).any():
        raise damaged_result(key)
    return rows
